"""Raw datasets to a prepared set: plan, preparation, quarantine, resume, verify, pictures.

Here: the steps of `launch.prepare`.  Not here: readers and the format of the set.
"""
