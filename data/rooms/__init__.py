"""Rendered rooms: random scenes, views of them by ray casting, and raw datasets made of those."""
