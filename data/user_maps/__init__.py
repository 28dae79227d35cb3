"""Depth maps and cameras of users: listed, read, and checked.

Here: what `launch.infer` and `launch.evaluate` read.  Not here: raw datasets.
"""
