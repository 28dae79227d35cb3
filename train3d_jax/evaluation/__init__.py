"""Views with a known truth, constant baselines, and statistics of errors over scenes.

Here: what does not depend on the methods that are compared.  Not here: files, and those methods.
"""
