"""Recover the focal length and the depth shift that straighten a distorted point cloud.

    from train3d_jax import load_model, recover

Importing this package is cheap: JAX is loaded when one of its names is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train3d_jax.api import Recovered as Recovered
    from train3d_jax.api import recover as recover
    from train3d_jax.inference.models import Model as Model
    from train3d_jax.inference.models import load_model as load_model

__version__ = "0.1.0"

_HOME = {
    "Model": "inference.models",
    "Recovered": "api",
    "load_model": "inference.models",
    "recover": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
