"""Prepared samples to batches: split, shuffle, mix, crop, average over blocks (numpy and grain).

Here: everything the host does to a sample.  Not here: canonical form, distortion and labels, which
are computed on the device.
"""
