"""From windows to posteriors: likelihoods, prior, joint posterior, fusion and calibration.

Here: everything that is a probability of shift and focal length and is not learned.  Not here:
networks, which weight the same likelihoods, and files.
"""
