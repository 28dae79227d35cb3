"""The three-dimensional half of the viewer's page: clouds, their cameras, and the viewpoint.

Lengths are in units of the far quantile of depth; x right, y down, z forward.
"""

import dataclasses
import math

import numpy as np
import viser

from launch.viewer.maps import MapView, Values
from train3d_jax.geometry.camera import focal_to_fov

DISTORTED, CORRECTED, TRUE = KINDS = ("as given", "corrected", "truth")
"""Clouds, from left to right."""

SIDE_BY_SIDE = "side by side"

CAMERA, ORBIT, TOP, SIDE = VIEWS = ("camera", "orbit", "top", "side")

MIDDLE = np.array([0.0, 0.0, 0.7])
"""The point that viewpoints look at; chosen, in the middle of a room."""

_FROM: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    ORBIT: ((-0.5, -0.7, -1.0), (0, -1, 0)),
    TOP: ((0, -1, 0), (0, 0, 1)),
    SIDE: ((1, 0, 0), (0, -1, 0)),
}
"""Direction from which a viewpoint looks, and the direction that is up there."""

_ORBIT_FOV = math.radians(50)
"""Vertical field of view of all viewpoints but the camera's; chosen."""

_GAP = 0.25
"""Between neighbouring clouds; chosen, as the two sizes below."""

_POINT_SIZE = 0.005
_FRUSTUM = 0.12

_LOOKED_AT = 2000
"""Points from which the extent of a cloud is computed; enough, as points are in random order."""

_EXTENT = (0.02, 0.98)
"""Quantiles of the coordinates that bound a cloud; chosen, so that outliers do not widen it."""


@dataclasses.dataclass
class _Standing:
    """A cloud in the scene.

    Attributes:
      frame: of reference of all its parts.
      points: its cloud.
      frustum: its camera.
      extent: least and largest coordinates, (2, 3), its camera included.
    """

    frame: viser.FrameHandle
    points: viser.PointCloudHandle
    frustum: viser.CameraFrustumHandle
    extent: np.ndarray


class Scene:
    """What one window sees.  Its clouds are those of one map."""

    def __init__(self, client: viser.ClientHandle):
        self._client = client
        self._standing: dict[str, _Standing] = {}
        self._shown, self._view = SIDE_BY_SIDE, ORBIT

    def clear(self) -> None:
        """Shows nothing."""
        for standing in self._standing.values():
            standing.frame.remove()
        self._standing.clear()

    def show(self, map_view: MapView, values: Values) -> None:
        """Shows another map."""
        self.clear()
        self._add(DISTORTED, map_view, map_view.distorted, map_view.first_guess.focal)
        self._add(CORRECTED, map_view, map_view.cloud(values), values.focal)
        if map_view.true_cloud is not None and map_view.truth is not None:
            self._add(TRUE, map_view, map_view.true_cloud, map_view.truth.focal)
        self.look_from(self._view)

    def move(self, map_view: MapView, values: Values) -> None:
        """The map under other values."""
        points, corrected = map_view.cloud(values), self._standing[CORRECTED]
        with self._client.atomic():
            corrected.points.points = points
            corrected.frustum.fov = _height_fov(map_view, values.focal)
            corrected.extent = _extent(points)
            self._arrange()

    def choose(self, shown: str) -> None:
        """Shows one of `KINDS` alone, or `SIDE_BY_SIDE`."""
        self._shown = shown
        self.look_from(self._view)

    def look_from(self, view: str) -> None:
        """Puts the window's camera to one of `VIEWS`."""
        self._view = view
        visible = self._visible()
        if not visible:
            return
        with self._client.atomic():
            self._arrange()
            aspect = self._client.camera.aspect
            if view == CAMERA:
                frustum = visible.get(CORRECTED, next(iter(visible.values()))).frustum
                half = math.tan(frustum.fov / 2) * max(1.0, frustum.aspect / aspect)
                self._place((0, -1, 0), np.zeros(3), MIDDLE, 2 * math.atan(half))
                return
            direction, up = _FROM[view]
            low, high = self._span()
            distance = max(2.0, 1.2 * (high - low) / (2 * math.tan(_ORBIT_FOV / 2) * aspect))
            middle = MIDDLE.copy()
            middle[self._across()] = (low + high) / 2
            toward = np.array(direction) / np.linalg.norm(direction)
            self._place(up, middle + distance * toward, middle, _ORBIT_FOV)

    def _place(
        self,
        up: tuple[float, float, float],
        position: np.ndarray,
        look_at: np.ndarray,
        fov: float,
    ) -> None:
        camera = self._client.camera
        camera.position = position
        camera.look_at = look_at
        camera.up_direction = up
        camera.fov = fov

    def _add(self, kind: str, map_view: MapView, points: np.ndarray, focal: float) -> None:
        height, width = map_view.size
        scene, place, extent = self._client.scene, f"/{kind}", _extent(points)
        self._standing[kind] = _Standing(
            scene.add_frame(place, show_axes=False),
            scene.add_point_cloud(
                f"{place}/points", points, map_view.colours, point_size=_POINT_SIZE,
                point_shading="flat",
            ),
            scene.add_camera_frustum(
                f"{place}/camera", _height_fov(map_view, focal), width / height, scale=_FRUSTUM,
                thickness=0.004,
            ),
            extent,
        )  # fmt: skip
        over = (0.0, float(extent[0, 1]) - 0.1, 1.0)
        scene.add_label(f"{place}/name", kind, position=over, anchor="bottom-center")

    def _across(self) -> int:
        """The axis that neighbours lie along: what is across the window."""
        return 2 if self._view == SIDE else 0

    def _visible(self) -> dict[str, _Standing]:
        return {k: s for k, s in self._standing.items() if self._shown in (SIDE_BY_SIDE, k)}

    def _arrange(self) -> None:
        """Visibility and places; what is corrected stays where it is, and the others make way."""
        visible, across = self._visible(), self._across()
        low, high = self._standing[CORRECTED].extent[:, across]
        for kind, standing in self._standing.items():
            standing.frame.visible = kind in visible
            standing.frustum.visible = self._view != CAMERA
            own_low, own_high = standing.extent[:, across]
            place = np.zeros(3)
            if len(visible) > 1 and kind == DISTORTED:
                place[across] = low - own_high - _GAP
            if len(visible) > 1 and kind == TRUE:
                place[across] = high - own_low + _GAP
            standing.frame.position = place

    def _span(self) -> tuple[float, float]:
        """Where what is visible begins and ends across the window."""
        across = self._across()
        spans = [
            standing.extent[:, across] + standing.frame.position[across]
            for standing in self._visible().values()
        ]
        return float(np.min(spans)), float(np.max(spans))


def _extent(points: np.ndarray) -> np.ndarray:
    """Where most of a cloud begins and ends, (2, 3); the camera counts as part of it."""
    some = points[:_LOOKED_AT]
    seen = some[some[:, 2] > 0]
    extent = np.quantile(seen, _EXTENT, 0) if len(seen) else np.zeros((2, 3))
    extent[0, 2] = 0
    return extent


def _height_fov(map_view: MapView, focal: float) -> float:
    """The vertical field of view, radians."""
    return float(focal_to_fov(focal, map_view.size[0]))
