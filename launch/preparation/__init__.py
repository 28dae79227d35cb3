"""Preparation of raw datasets, for `launch.prepare`.

Here: the flags and the configuration that they make.  Not here: the work, which is in
`data.prepare`.
"""
