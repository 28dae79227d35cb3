"""Decoders of single files: PNG, TIFF, EXR, PFM and the head of .npy.

Here: bytes to arrays, with one error for what is damaged.  Not here: what the values mean.
"""
