"""Recover the focal length and the depth shift that straighten a distorted point cloud."""

__version__ = "0.1.0"
