"""Evidence of straight lines in pictures.

Here: segments, vanishing points, and their likelihoods of focal length and shift.  Not here: how
evidence is multiplied, which is in `evidence`.
"""
