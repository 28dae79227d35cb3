"""The demo: renders rooms, trains on them and recovers unseen ones.

Here: the program, `python -m launch.demo`, and its comparison with the truth.  Not here: the rooms,
which are in `data.rooms`.
"""
