"""Recover the focal length and the depth shift that straighten a distorted point cloud.

    import train3d_jax

    model = train3d_jax.load_model()
    shape = model.recover(train3d_jax.read_depth("depth.png"))
    shape.points, shape.focal_px, shape.focal_interval_px

Importing this package is cheap: JAX is loaded when one of its names is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from train3d_jax.api import Model as Model
    from train3d_jax.api import load_model as load_model
    from train3d_jax.api import read_depth as read_depth
    from train3d_jax.api import recover as recover
    from train3d_jax.errors import UserError as UserError
    from train3d_jax.formats.exif import exif_focal as exif_focal
    from train3d_jax.predictions import from_prediction as from_prediction
    from train3d_jax.shape import Shape as Shape

__version__ = "0.1.0"

_HOME = {
    "Model": "api",
    "Shape": "shape",
    "UserError": "errors",
    "exif_focal": "formats.exif",
    "from_prediction": "predictions",
    "load_model": "api",
    "read_depth": "api",
    "recover": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
