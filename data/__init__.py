"""Depth datasets for training and evaluation: raw, prepared, and of users; and rendered rooms.

Here: numpy on the host.  Not here: networks and estimates, which are in `train3d_jax`, and flags.
"""
