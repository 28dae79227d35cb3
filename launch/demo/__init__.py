"""The demo: renders rooms, trains on them and recovers unseen ones.

`python -m launch.demo` runs `__main__.py`.
"""
