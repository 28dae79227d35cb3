"""Training runs, for `launch.train`.

Here: flags, the run around the loop, several processes, and the samples of a run.  Not here: the
loop and the network, which are in `train3d_jax.training`.
"""
