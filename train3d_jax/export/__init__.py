"""Results as files: JSON, depth, point clouds, and cameras for other programs.

Here: one writer a format.  Not here: pictures.
"""
