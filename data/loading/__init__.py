"""Prepared samples to batches: split, shuffle, mix, crop, average (grain).

Here: numpy on the host.  Not here: distortion and labels, which are made on the device.
"""
