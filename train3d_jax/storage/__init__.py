"""Runs and weights on disk.

Here: the only modules that import Orbax.  Not here: prepared sets, which are in `data`.
"""
