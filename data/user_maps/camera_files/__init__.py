"""Cameras in files as other programs write them, and which of these lies beside a depth map.

Here: one file to cameras, bounded and without pickles; the search for it.  Not here: what a camera
is used for, and EXIF, which is in `train3d_jax.formats`.
"""
