"""Cameras, the canonical form of depth, blocks of pixels, clouds, and errors of what is recovered.

Here: what follows from the definitions of camera and depth alone.  Not here: anything that is
estimated, learned, read or written.
"""
