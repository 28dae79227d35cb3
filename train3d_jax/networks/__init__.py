"""The encoders: networks from windows or point sets to posteriors.

Here: modules of Flax and the features that they see.  Not here: how they are trained, saved or
asked.
"""
