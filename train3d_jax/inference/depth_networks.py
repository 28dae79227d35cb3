"""Networks from pictures to depth by name: what their maps hold, as their makers say.

Names are those of models on the Hugging Face hub (`pipe.model.name_or_path`), of repositories, or
of the producers of `launch.infer`.
"""

import re
from typing import NamedTuple

from train3d_jax.errors import Argument, ArgumentError
from train3d_jax.geometry.affine import Space


class DepthNetwork(NamedTuple):
    """What the maps of a network hold.

    Attributes:
      space: of the values.
      metric: they are depth in metres: the shift is right, and so is the unit.
    """

    space: Space
    metric: bool = False


_NETWORKS: tuple[tuple[str, DepthNetwork], ...] = (
    (r"prompt-?depth-?anything", DepthNetwork("depth", True)),
    # Of its metric model only the scale is missing, which depends on the focal length.
    (r"\bda3|depth-?anything-?(v)?3", DepthNetwork("depth")),
    (r"metric|zoe-?depth|depth-?pro|uni-?depth|\bglpn\b", DepthNetwork("depth", True)),
    # DPT with DINOv2, trained on either with its metres.
    (r"dinov2.*-(nyu|kitti)\b", DepthNetwork("depth", True)),
    (r"pixel-?perfect-?depth", DepthNetwork("log")),
    (r"disparity", DepthNetwork("disparity")),
    (r"marigold|lotus|geowizard|\bmoge\b", DepthNetwork("depth")),
    (r"depth-?anything|depth-?crafter|midas|\bdpt\b", DepthNetwork("disparity")),
)
"""By a pattern of the name in small letters, with hyphens for spaces and underscores; the first
that is found counts.

DPT, MiDaS and Depth Anything 1 and 2 predict disparity, their metric models depth; GLPN, ZoeDepth,
Depth Pro, Metric3D and UniDepth predict metres; Marigold affine depth, and Lotus either."""


def network_of(model_name: str) -> DepthNetwork:
    """What the maps of a network hold.

    Args:
      model_name: as `depth-anything/Depth-Anything-V2-Small-hf`.

    Raises:
      ArgumentError: its name says nothing.
    """
    name = Argument("model_name", model_name)
    if not isinstance(model_name, str):
        raise ArgumentError(name, ": give the name of a network, as pipe.model.name_or_path")
    spelled = re.sub(r"[\s_]+", "-", model_name.lower())
    for pattern, network in _NETWORKS:
        if re.search(pattern, spelled):
            return network
    raise ArgumentError(
        name,
        ": is no network whose maps are known here; give ",
        Argument("space"),
        ", 'disparity' for inverse depth (near is large), 'depth' else",
    )
