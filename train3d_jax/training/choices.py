"""What can be chosen for a training, by name; without JAX, because flags need it first."""

from typing import Literal

Range = tuple[float, float]

EncoderName = Literal["surfaces", "points", "serial"]

Precision = Literal["float32", "bfloat16"]

Optimizer = Literal["adamw", "sgd"]

Schedule = Literal["linear", "cosine"]

Loss = Literal["posterior", "l1"]

KINDS = ("bias", "ripple", "blur", "lens", "noise", "quantisation", "outliers", "holes", "reach")
"""Of `augmentation.augment`, in the order of application: errors of a network or a lens, then those
of a sensor.  The place of a kind is the number of its random key."""

AUGMENTATIONS = ("crop", "mirror", *KINDS)
"""All kinds of augmentation; the loader does the first two."""
