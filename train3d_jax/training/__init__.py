"""Configuration, examples, losses, the compiled step, and the loop around it.

Here: what runs while a network is trained.  Not here: checkpoints, which are in `storage`, and the
loader of prepared sets, which is in `data`.
"""
