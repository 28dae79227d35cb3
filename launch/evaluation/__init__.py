"""Evaluation of networks and geometry on maps with a known truth, for `launch.evaluate`.

Here: configuration and its flags, the methods, the two passes, the report.  Not here: views,
constants and statistics, which are in `train3d_jax.evaluation`.
"""
