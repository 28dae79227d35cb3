"""What libraries of depth networks return, as depth maps and what is known of them.

By their fields alone: none of the libraries is imported.  Read from the code of transformers 4.5
and 5.0, diffusers 0.33, Depth Anything 3 (December 2025), MoGe 1 and 2, UniDepth 2 and Depth Pro.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from train3d_jax.errors import Argument, ArgumentError, one_line
from train3d_jax.geometry.affine import Space
from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.inference.arrays import numbers, read
from train3d_jax.lines.pictures import other_aspect

_NAME = "prediction"

_NEAREST = 1e-6
"""In place of 0 of Marigold, whose maps run from 0 to 1: 0 is its nearest depth, and missing here.
Chosen: far below the steps of float16, which it computes with."""

_SKY = 0.5
"""Probability of sky from which on Depth Anything 3 takes a pixel for it."""

_LARGEST_NORMALISED = 2.0
"""Principal points below this are shares of an image's size, those above are pixels.  Chosen."""

_POST_PROCESS = (
    "give what image_processor.post_process_depth_estimation(outputs, "
    "target_sizes=[(height, width)]) makes of it, or what the pipeline returns"
)


class PredictedMap(NamedTuple):
    """A depth map as a network predicted it.

    Attributes:
      values: float32 (H, W), 0 where missing.
      space: of the values; None where the prediction does not tell.
      metric: they are metres.
      intrinsics: estimated by a network, pixels, (3, 3); None where there are none.
    """

    values: Float32[np.ndarray, "_ _"]
    space: Space | None
    metric: bool = False
    intrinsics: Float64[np.ndarray, "3 3"] | None = None


class Predictions(NamedTuple):
    """The maps of a prediction, and the form of the answer.

    Attributes:
      maps: one or more.
      form: as of `arrays.Maps`.
    """

    maps: list[PredictedMap]
    form: Literal["one", "batch", "list"]


def predictions_of(prediction: Any) -> Predictions:
    """The maps of the argument `prediction` of `predictions.from_prediction`.

    Args:
      prediction: an object or a mapping with the fields of one of the libraries, or a list of them.

    Raises:
      ArgumentError: it is none of them, or holds no depth that can be used.
    """
    if isinstance(prediction, list | tuple):
        if not prediction:
            raise _refused("holds none; give at least one")
        maps = [each for one in prediction for each in _maps_of(one)]
        return Predictions(maps, "list")
    maps = _maps_of(prediction)
    return Predictions(maps, "one" if len(maps) == 1 else "batch")


def _maps_of(given: Any) -> list[PredictedMap]:
    depth = _field(given, "depth")
    if _field(given, "predicted_depth") is not None:
        return [_of_transformers(given)]
    if _field(given, "prediction") is not None:
        return _of_marigold(given)
    if hasattr(depth, "getbands"):
        raise _refused(
            "holds depth as an image of 8 bits only, whose 256 steps bend every surface; "
            "give it with its predicted_depth"
        )
    if depth is not None and _field(given, "focallength_px") is not None:
        return [_of_depth_pro(given)]
    if depth is not None and isinstance(given, Mapping) and "intrinsics" in given:
        return _with_intrinsics(given)
    if depth is not None and hasattr(given, "is_metric"):
        return _of_depth_anything_3(given)
    if hasattr(given, "shape"):
        raise _refused("is an array; give it to recover(), with its space")
    raise _refused(
        f"is {one_line(type(given).__name__)}, without fields of transformers, Marigold, "
        "Depth Anything 3, MoGe, UniDepth or Depth Pro; give its array to recover()"
    )


def _of_transformers(given: Any) -> PredictedMap:
    """A dict of the pipeline or of `post_process_depth_estimation`.

    `predicted_depth` is a tensor (H, W) of the picture's size, of older versions (1, H, W) of the
    network's; `depth` the same as an 8-bit image of the picture's size.  The dicts of Depth Pro
    have a horizontal `field_of_view` in degrees and a `focal_length` in pixels.
    """
    focal = _field(given, "focal_length")
    is_raw = type(given).__name__.endswith("DepthEstimatorOutput")
    if is_raw or (focal is None and _field(given, "field_of_view") is not None):
        raise _refused(f"is the raw output of a network; {_POST_PROCESS}")
    values = _single(numbers(given["predicted_depth"], "predicted_depth"), "predicted_depth")
    height, width = values.shape
    size = getattr(_field(given, "depth"), "size", None)
    if isinstance(size, tuple) and other_aspect(size[::-1], values.shape):
        raise _refused(
            f"has predicted_depth of {width} x {height} pixels for a picture of {size[0]} x "
            f"{size[1]}, as of old versions of transformers; resize it to the picture's size"
        )
    if focal is None:
        return PredictedMap(values, None)
    return PredictedMap(values, "depth", True, _centred(focal, "focal_length", values))


def _of_depth_pro(given: Any) -> PredictedMap:
    """The dict of `depth_pro`'s `infer`: `depth` (H, W) in metres, `focallength_px`."""
    values = _single(numbers(_field(given, "depth"), "depth"), "depth")
    focal = _centred(_field(given, "focallength_px"), "focallength_px", values)
    return PredictedMap(values, "depth", True, focal)


def _of_marigold(given: Any) -> list[PredictedMap]:
    """MarigoldDepthOutput of diffusers: `prediction` (N, H, W, 1), or (N, 1, H, W) of tensors.

    Affine depth from 0 to 1, near is 0.  Its outputs for normals and intrinsics (of materials, not
    of cameras) have the same fields.
    """
    kind = type(given).__name__
    array = numbers(_field(given, "prediction"), "prediction")
    other = next((each for each in ("Normals", "Intrinsics") if each in kind), None)
    if other or (array.ndim == 4 and 3 in (array.shape[1], array.shape[-1])):
        raise _refused(
            f"is {kind}, which holds {(other or 'three channels').lower()} and no depth; give what "
            "MarigoldDepthPipeline returns"
        )
    maps = _several(array, "prediction")
    return [PredictedMap(np.where(each == 0, np.float32(_NEAREST), each), "depth") for each in maps]


def _of_depth_anything_3(given: Any) -> list[PredictedMap]:
    """Depth Anything 3's Prediction.

    `depth` (N, H, W) of the processed size; `is_metric` 1 where it is in metres, as of the nested
    models; `sky` (N, H, W) and `intrinsics` (N, 3, 3) in pixels of `depth`, or None.
    """
    maps = _several(numbers(_field(given, "depth"), "depth"), "depth")
    sky = _field(given, "sky")
    if sky is not None:
        is_sky = _several(np.asarray(_numbers_or_truths(sky, "sky") >= _SKY), "sky")
        maps = _visible(maps, [~each for each in is_sky], "sky")
    # Some versions leave an empty dict.
    metric = np.ndim(given.is_metric) == 0 and bool(given.is_metric)
    cameras = _cameras(_field(given, "intrinsics"), len(maps))
    return [
        PredictedMap(values, "depth", metric, camera)
        for values, camera in zip(maps, cameras, strict=True)
    ]


def _with_intrinsics(given: Mapping[str, Any]) -> list[PredictedMap]:
    """The dicts of MoGe's and UniDepth's `infer`.

    MoGe: `depth` (H, W), infinite where masked, `mask`, `intrinsics` normalised by the size of the
    image.  UniDepth: `depth` (B, 1, H, W) in metres, `intrinsics` (B, 3, 3) in pixels.
    """
    maps = _several(numbers(given["depth"], "depth"), "depth")
    if given.get("mask") is not None:
        maps = _visible(
            maps, _several(_numbers_or_truths(given["mask"], "mask") != 0, "mask"), "mask"
        )
    cameras = _cameras(given["intrinsics"], len(maps))
    found = []
    for values, camera in zip(maps, cameras, strict=True):
        normalised = camera is not None and camera[:2, 2].max() < _LARGEST_NORMALISED
        if camera is not None and normalised:
            # Shares count from the corner of the image; pixel centres are at integers here.
            height, width = values.shape
            camera = np.diag([width, height, 1.0]) @ camera
            camera[:2, 2] -= 0.5
        found.append(PredictedMap(values, "depth", not normalised, camera))
    return found


def _numbers_or_truths(values: Any, name: str) -> Shaped[np.ndarray, "..."]:
    """As `arrays.numbers`, of bool too."""
    array = read(values, name, "")
    return array if array.dtype.kind == "b" else numbers(values, name)


def _field(given: Any, name: str) -> Any:
    """A field of a mapping or of an object; None where it has none."""
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def _single(array: np.ndarray, name: str) -> Float32[np.ndarray, "_ _"]:
    maps = _several(array, name)
    if len(maps) != 1:
        raise _refused(f"has {name} of the shape {array.shape}; give (H, W), or a list of several")
    return maps[0]


def _several(array: np.ndarray, name: str) -> list[np.ndarray]:
    """The maps of (N, H, W), (N, 1, H, W), (N, H, W, 1), or (H, W)."""
    shape = array.shape
    if array.ndim == 4 and 1 in (shape[1], shape[-1]):
        array = array.squeeze(1 if shape[1] == 1 else -1)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.size:
        raise _refused(f"has {name} of the shape {shape}; give (N, H, W) or (H, W)")
    return list(array if array.dtype == bool else array.astype(np.float32))


def _visible(maps: list[np.ndarray], masks: list[np.ndarray], name: str) -> list[np.ndarray]:
    """The maps, 0 where masks are False."""
    if [each.shape for each in masks] != [each.shape for each in maps]:
        raise _refused(f"has a {name} of another shape than its depth")
    return [np.where(mask, values, np.float32(0)) for mask, values in zip(masks, maps, strict=True)]


def _cameras(intrinsics: Any, count: int) -> list[Float64[np.ndarray, "3 3"] | None]:
    if intrinsics is None:
        return [None] * count
    matrices = numbers(intrinsics, "intrinsics").astype(np.float64)
    if matrices.shape not in ((3, 3), (count, 3, 3)):
        raise _refused(f"has intrinsics of the shape {matrices.shape} for {count} maps")
    return list(np.broadcast_to(matrices, (count, 3, 3)))


def _centred(focal: Any, name: str, values: np.ndarray) -> Float64[np.ndarray, "3 3"]:
    """The camera of a focal length, a number or an array of one, with square pixels."""
    found = numbers(focal, name)
    if found.size != 1:
        raise _refused(f"has a {name} of the shape {found.shape}; give one number")
    height, width = values.shape
    return np.asarray(centred_intrinsics(float(found.reshape(())), height, width))


def _refused(reason: str) -> ArgumentError:
    return ArgumentError(Argument(_NAME), f": {reason}")
