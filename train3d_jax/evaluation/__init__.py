"""Views with a known truth, constant baselines, and statistics over scenes.

Here: numpy only.  Not here: the methods that are compared.
"""
