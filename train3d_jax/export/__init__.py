"""Results as files: JSON, depth, point clouds, and cameras for other programs.

Here: one writer for each format.  Not here: pictures.
"""
