"""Measurements of speed, as ratios taken side by side in one run; nothing here asserts a time."""

import os

# Of what is measured nobody wants to see the progress; tqdm reads this when it is imported.
os.environ.setdefault("TQDM_DISABLE", "1")
