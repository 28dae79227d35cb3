"""What `launch.view` is made of: a server, and the controls and clouds of each window.

Here: all that imports viser.  Not here: scores and estimates, which the library computes.
"""
