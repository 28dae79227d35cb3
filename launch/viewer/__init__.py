"""The viewer, `launch.view`: a server, and the controls and clouds of each window.

Here: all that imports viser, and the flags.  Not here: scores and estimates, which
`train3d_jax.inference` computes.
"""
