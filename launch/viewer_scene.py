"""The three-dimensional half of the viewer's page: clouds, their cameras, and where one looks from.

Lengths are in units of the far quantile of depth; x right, y down, z forward.
"""

import math

import numpy as np
import viser

from launch.viewer_maps import Look, Values

DISTORTED, CORRECTED, TRUE = KINDS = ("as given", "corrected", "truth")
"""Clouds, from left to right."""

SIDE_BY_SIDE = "side by side"

CAMERA, ORBIT, TOP, SIDE = VIEWS = ("camera", "orbit", "top", "side")

MIDDLE = np.array([0.0, 0.0, 0.7])
"""Of a room: what views look at."""

_FROM: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    ORBIT: ((-0.5, -0.7, -1.0), (0, -1, 0)),
    TOP: ((0, -1, 0), (0, 0, 1)),
    SIDE: ((1, 0, 0), (0, -1, 0)),
}
"""Where a view looks from, as a direction, and what is up there."""

_ORBIT_FOV = math.radians(50)
_GAP = 0.25
"""Between neighbours, beside half of each one's width."""

_POINT_SIZE = 0.005
_FRUSTUM = 0.12
_EXTENT = (0.02, 0.98)
"""Quantiles between which a cloud counts as wide or high: stray points do not push it away."""


class Scene:
    """What one window sees.  Its clouds are those of one map."""

    def __init__(self, client: viser.ClientHandle):
        self._client = client
        self._clouds: dict[str, viser.PointCloudHandle] = {}
        self._frames: dict[str, viser.FrameHandle] = {}
        self._frusta: dict[str, viser.CameraFrustumHandle] = {}
        self._labels: dict[str, viser.LabelHandle] = {}
        self._extents: dict[str, np.ndarray] = {}
        self._shown, self._view = SIDE_BY_SIDE, ORBIT

    def clear(self) -> None:
        """Shows nothing."""
        for frame in self._frames.values():
            frame.remove()
        for handles in (self._clouds, self._frames, self._frusta, self._labels, self._extents):
            handles.clear()

    def show(self, look: Look, values: Values) -> None:
        """Shows another map."""
        self.clear()
        self._add(DISTORTED, look, look.distorted, look.first_guess.focal)
        self._add(CORRECTED, look, look.cloud(values), values.focal)
        if look.true_cloud is not None and look.truth is not None:
            self._add(TRUE, look, look.true_cloud, look.truth.focal)
        self._arrange()
        self.look_from(self._view)

    def move(self, look: Look, values: Values) -> None:
        """The map under other values."""
        points = look.cloud(values)
        with self._client.atomic():
            self._clouds[CORRECTED].points = points
            self._frusta[CORRECTED].fov = _height_fov(look, values.focal)
            self._measure(CORRECTED, points)
            self._arrange()

    def choose(self, shown: str) -> None:
        """Shows one of `KINDS` alone, or `SIDE_BY_SIDE`."""
        self._shown = shown
        self._arrange()
        self.look_from(self._view)

    def look_from(self, view: str) -> None:
        """Puts the window's camera to one of `VIEWS`."""
        self._view = view
        self._arrange()
        camera, width = self._client.camera, self._width()
        with self._client.atomic():
            if view == CAMERA:
                kind = CORRECTED if self._shown == SIDE_BY_SIDE else self._shown
                frustum = self._frusta.get(kind)
                if frustum is None:
                    return
                start = np.asarray(self._frames[kind].position)
                half = math.tan(frustum.fov / 2) * max(1.0, frustum.aspect / camera.aspect)
                self._place((0, -1, 0), start, start + MIDDLE, 2 * math.atan(half))
                return
            direction, up = _FROM[view]
            half = math.tan(_ORBIT_FOV / 2)
            distance = max(1.6, width / (2 * half * camera.aspect)) * 1.2
            toward = np.array(direction) / np.linalg.norm(direction)
            middle = MIDDLE + self._middle()
            self._place(up, middle + distance * toward, middle, _ORBIT_FOV)

    def _place(self, up, position, look_at, fov: float) -> None:
        camera = self._client.camera
        camera.position = position
        camera.look_at = look_at
        camera.up_direction = up
        camera.fov = fov

    def _add(self, kind: str, look: Look, points: np.ndarray, focal: float) -> None:
        height, width = look.size
        scene, place = self._client.scene, f"/{kind.replace(' ', '_')}"
        self._frames[kind] = scene.add_frame(place, show_axes=False)
        self._clouds[kind] = scene.add_point_cloud(
            f"{place}/cloud", points, look.colours, point_size=_POINT_SIZE, point_shading="flat"
        )
        self._frusta[kind] = scene.add_camera_frustum(
            f"{place}/camera", _height_fov(look, focal), width / height, scale=_FRUSTUM,
            thickness=0.004,
        )  # fmt: skip
        self._measure(kind, points)
        top = float(self._extents[kind][0, 1])
        self._labels[kind] = scene.add_label(
            f"{place}/name", kind, position=(0.0, top - 0.1, 1.0), anchor="bottom-center"
        )

    def _measure(self, kind: str, points: np.ndarray) -> None:
        some = points[:2000]
        seen = some[some[:, 2] > 0]
        extent = np.quantile(seen, _EXTENT, 0) if len(seen) else np.zeros((2, 3))
        extent[0, 2] = 0  # the camera
        self._extents[kind] = extent

    def _across(self) -> int:
        """The axis that neighbours lie along: what is across the window."""
        return 2 if self._view == SIDE else 0

    def _visible(self) -> list[str]:
        return [k for k in KINDS if k in self._frames and self._shown in (SIDE_BY_SIDE, k)]

    def _arrange(self) -> None:
        """Visibility and places; what is corrected stays where it is, and the others make way."""
        visible, across = self._visible(), self._across()
        for kind, frame in self._frames.items():
            frame.visible = kind in visible
            self._frusta[kind].visible = self._view != CAMERA
            offset = np.zeros(3)
            if len(visible) > 1 and kind in visible and kind != CORRECTED:
                (own_low, own_high), (low, high) = (
                    self._extents[k][:, across] for k in (kind, CORRECTED)
                )
                left = KINDS.index(kind) < KINDS.index(CORRECTED)
                offset[across] = low - own_high - _GAP if left else high - own_low + _GAP
            frame.position = offset

    def _span(self) -> tuple[float, float]:
        """Where what is visible begins and ends across the window."""
        across = self._across()
        spans = [
            self._extents[k][:, across] + float(self._frames[k].position[across])
            for k in self._visible()
        ]
        if not spans:
            return 0.0, 0.0
        return min(float(s[0]) for s in spans), max(float(s[1]) for s in spans)

    def _width(self) -> float:
        low, high = self._span()
        return high - low

    def _middle(self) -> np.ndarray:
        low, high = self._span()
        offset = np.zeros(3)
        across = self._across()
        offset[across] = (low + high) / 2 - MIDDLE[across]
        return offset


def _height_fov(look: Look, focal: float) -> float:
    """The vertical field of view, radians."""
    return 2 * math.atan(look.size[0] / 2 / focal)
