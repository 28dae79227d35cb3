"""Files of depth maps and pictures to arrays: PNG, TIFF, EXR, PFM, .npy and .npz.

Here: reading one file, with one error for what is damaged.  Not here: which files there are, and
what their values mean.
"""
