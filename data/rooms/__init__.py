"""Rendered rooms: random scenes, views of them by ray casting, and raw datasets made of those.

Here: geometry, looks and cameras of made-up places.  Not here: what is done to their depth maps.
"""
