"""Batches of depth maps in, estimates of camera and shift out.

Here: loading models, the recovery of a batch, and flags of maps.  Not here: files of maps, which
are in `data`, and files of results, which are in `export`.
"""
