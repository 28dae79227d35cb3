"""Cameras, the canonical form of depth, blocks of pixels, clouds, depth maps, errors of estimates.

Here: what follows from the definitions of camera and depth.  Not here: anything that is estimated,
learned, read or written.
"""
