"""The weights of the package, made anew, for `launch.weights`.

Here: which rooms are rendered, and how networks are trained on them.  Not here: the network of
depth maps, which `launch.train` trains.
"""
