"""Raw datasets and captures: one reader each, all of the protocol in `data.protocol`.

Here: layouts of ScanNet, 3D Ken Burns and Taskonomy; of a manifest.json, nerfstudio, TUM RGB-D and
Record3D.  Not here: which frames are taken.
"""
