"""The prepared set on disk: written, read, and offered to grain.

Here: the two formats (two files a sample, or shards).  Not here: how a set is made.
"""
