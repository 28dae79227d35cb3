"""Recovery where depth is made: from what transformers, diffusers and others return."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from train3d_jax.api import Model, Run, recover
from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.geometry.affine import Space
from train3d_jax.inference.depth_networks import DepthNetwork, network_of
from train3d_jax.inference.known import Clip
from train3d_jax.inference.models import DEFAULT
from train3d_jax.inference.prediction_forms import PredictedMap, predictions_of
from train3d_jax.shape import Shape, metric

CAMERA_SIGMA = 0.05
"""Of log focal length, where a network estimated it.  Chosen: two to three degrees at a field of
view of 60 are 4 to 6 % of the focal length."""


def from_prediction(
    prediction: Any,
    image: Any = None,
    *,
    model_name: str | None = None,
    space: Space | None = None,
    model: Model | Run | Sequence[Run] | None = DEFAULT,
    mask: ArrayLike | Iterable[ArrayLike] | None = None,
    focal_px: ArrayLike | None = None,
    focal_sigma: float | None = None,
    intrinsics: ArrayLike | None = None,
    shift_known: bool | np.bool_ | float | None = None,
    clip: Clip | None = None,
    lines: bool = True,
) -> Shape:
    """Recovers the shape of what a depth network has just predicted, as `Model.recover` does.

    - transformers: the dict of the depth-estimation pipeline, or a list of them; and that of
      `post_process_depth_estimation`, which for Depth Pro has a `focal_length`.
    - diffusers: `MarigoldDepthOutput`; depth unless `space` says otherwise.
    - Depth Anything 3: `Prediction`, with its `intrinsics`; metres where `is_metric`.
    - MoGe, UniDepth and Depth Pro: the dict of `infer`, with its camera.

    A pipeline of transformers does not tell which network it ran.  DPT and Depth Anything predict
    disparity, their metric models depth, so the name of the network is needed, or the space.

    Tensors may lie on any device and have any type, bfloat16 too.  An 8-bit image of depth is never
    used: 256 steps bend every surface.  Sky of Depth Anything 3 and what MoGe masks is missing.

    Args:
      prediction: see above; of one picture or of several.
      image: the picture, or a list of pictures: see `rgb` of `Model.recover`.
      model_name: of the depth network, as `pipe.model.name_or_path`.
      space: of the values, "depth", "disparity" or "log", in place of what name and prediction say.
        Metres are then unknown, but for "depth" of a metric network.
      model: the network that recovers, see `recover`; the weights of the package for the space
        unless given, geometry alone in log space.
      mask: see `Model.recover`, as all that follow; pixels that count beside those of the
        prediction.
      focal_px: known focal length, in place of the prediction's camera.
      focal_sigma: relative error of the focal length.  0.05 for the prediction's camera unless
        given, as a network estimated it: give 0 where that network was told the true camera.
      intrinsics: known camera, in place of the prediction's.
      shift_known: the shift is right; True for metric networks unless given, False for others.
      clip: the maps are the frames of a clip.
      lines: the straight lines of the picture count.

    Returns:
      The shape, without a batch axis for one picture, also where the prediction has an axis of
      length 1.  Where values are metres and the shift is known, `a` is 1 and `depth` is in metres.

    Raises:
      UserError: the space cannot be known, the prediction holds no depth that can be used, or as
        `recover`.
    """
    predicted, form = predictions_of(prediction)
    network = _network(predicted, model_name, space)
    if intrinsics is None and focal_px is None:
        cameras = [each.intrinsics for each in predicted if each.intrinsics is not None]
        if len(cameras) == len(predicted):
            intrinsics = np.stack(cameras)
            focal_sigma = CAMERA_SIGMA if focal_sigma is None else focal_sigma
    if shift_known is None:
        shift_known = network.metric
    if network.space == "log" and isinstance(model, str) and model == DEFAULT:
        model = None  # no network covers it
    maps = [each.values for each in predicted]
    try:
        shape = recover(
            maps[0] if form == "one" else np.stack(maps) if form == "batch" else maps,
            model,
            mask,
            space=network.space,
            focal_px=focal_px,
            focal_sigma=focal_sigma or 0.0,
            intrinsics=intrinsics,
            shift_known=shift_known,
            clip=clip,
            rgb=image,
            lines=lines,
        )
    except ArgumentError as error:
        raise ArgumentError(*map(_as_here, error.args)) from None
    if not (network.metric and np.any(shift_known)):
        return shape
    return metric(shape, np.where(shape.solvable, 1 / shape.a, 1.0)[()])  # `a` becomes 1


def _network(
    predicted: Sequence[PredictedMap], model_name: str | None, space: Space | None
) -> DepthNetwork:
    """What the maps hold, by the argument `space`, the network's name, or the prediction."""
    named = None if model_name is None else network_of(model_name)
    told = {DepthNetwork(each.space, each.metric) for each in predicted if each.space is not None}
    if len(told) > 1:
        raise ArgumentError(
            Argument("prediction"), ": is of several kinds of networks; give those of one at a time"
        )
    network = named or next(iter(told), None)
    if space is not None:
        return network if network and network.space == space else DepthNetwork(space)
    if network is None:
        raise ArgumentError(
            Argument("model_name"),
            ": is needed, because the prediction does not tell whether it is depth or disparity; "
            "give pipe.model.name_or_path, or ",
            Argument("space"),
        )
    return network


def _as_here(part: object) -> object:
    """A part of a message of `recover`, with arguments by their names here."""
    if not isinstance(part, Argument):
        return part
    return part._replace(name={"rgb": "image", "depth": "prediction"}.get(part.name, part.name))
