"""Recovery of a folder of depth maps, for `launch.infer` and `launch.view`.

Here: configuration and its flags; reading, solving, saving and reporting.  Not here: estimates,
which are computed in `train3d_jax.inference`.
"""
