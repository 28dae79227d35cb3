"""Work done in order by threads, processes or a Dask cluster.

Here: how work is spread.  Not here: what the work is.
"""
