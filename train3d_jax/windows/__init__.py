"""Quadrics fitted to windows of the image, and what planes imply for shift and focal length.

Here: fits, their residuals, and constraints between planes.  Not here: probabilities, which are in
`evidence`.
"""
