"""Results as pictures: sheets and turntables of maps, plots of clouds, of errors and of a training.

Here: drawing.  Not here: computing what is drawn.
"""
