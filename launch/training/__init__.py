"""What `launch.train` is made of: flags, processes, and which samples a run trains on.

Here: what surrounds the loop of `train3d_jax.training`.  Not here: the loop.
"""
