"""Raw datasets: one reader each, all of the protocol in `data.protocol`.

Here: layouts of ScanNet, 3D Ken Burns and Taskonomy.  Not here: which frames are taken.
"""
