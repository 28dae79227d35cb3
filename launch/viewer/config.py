"""The settings of launch.view."""

from typing import NamedTuple

from data.user_maps.depth_files import Listing
from launch.recovery.config import RecoveryConfig


class ViewConfig(NamedTuple):
    """What to show, and where.

    Attributes:
      recovery: how maps are read, recovered and saved; its input holds the maps.
      listing: the maps of --input; None where --data names a set with a known truth.
      host: address to listen at.
      port: 0 for any free one.
      geometry_with_networks: the geometric method is compared with the networks, as in launch.infer
        where --model is given.
    """

    recovery: RecoveryConfig
    listing: Listing | None
    host: str
    port: int
    geometry_with_networks: bool
