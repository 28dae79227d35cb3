"""Results as pictures: sheets and turntables of maps, plots of errors and of a training.

Here: drawing.  Not here: what is drawn.
"""
