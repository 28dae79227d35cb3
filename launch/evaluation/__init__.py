"""What `launch.evaluate` is made of.

Here: configuration, methods, the two passes and the report.  Not here: statistics, which are in
`train3d_jax.evaluation`.
"""
