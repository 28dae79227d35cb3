"""Pictures of rooms: light, shadows, and a camera, over the same ray caster as the depth.

A lamp below the ceiling or the sun, a fill at the camera, light from all around.  Two by two rays
a pixel; each looks at another point of the lamp, so that shadows have soft edges.  The picture is
then blurred a little, exposed, and given noise.  All figures of light and camera are chosen.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data.rooms.building import Room, random_point
from data.rooms.patterns import blended
from data.rooms.ray_casting import Caster
from data.rooms.textures import Textures

RAYS_ACROSS = 2  # of a pixel, and as many down
RAYS_AT_ONCE = 60_000  # measured: more or fewer are slower
LAMP_RADIUS_M = 0.08
LEAST_LAMP_DISTANCE_M = 0.15  # from what hangs or stands there
SUN_RADIUS = 0.01  # over its distance
FILL = (0.03, 0.15)  # of the light at the camera, over the lamp's on what is nearest to it
BLUR_PIXELS = (0.35, 0.7)
NOISE = (0.5, 3.0)  # standard deviation, of 255
EXPOSED_QUANTILE = 0.92
EXPOSED_TO = (0.55, 0.95)


class Photographer:
    """The picture's side of a room: built once, then asked for as many pictures as wanted.

    Args:
        room: what to look at.
        cast: rays against its mesh.
        seed: of textures and light.
    """

    def __init__(self, room: Room, cast: Caster, seed: int) -> None:
        self._cast, self._textures = cast, Textures(room, seed)
        rng = np.random.default_rng([seed, 2])
        self._sun: np.ndarray | None = None
        self._lamp = np.zeros(3)
        if room.surroundings in ("streets", "rocks", "outdoors"):
            heading, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
            level = np.array([np.cos(heading), np.sin(heading)]) * np.cos(height)
            self._sun = np.array([*level, np.sin(height)])
        else:
            self._lamp = self._place_lamp(room, rng)
        # What reaches a surface from all around depends a little on where it faces.
        self._ambient = rng.uniform(0.25, 0.6)
        self._ambient_towards = rng.normal((0, 0, 0.1), 0.12).astype(np.float32)
        warmth = rng.normal(0, 0.08)
        self._light_colour = np.array([1 + warmth, 1.0, 1 - 1.5 * warmth], np.float32)

    def _place_lamp(self, room: Room, rng: np.random.Generator) -> np.ndarray:
        """A point below the ceiling with air around it."""
        directions = rng.normal(size=(64, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        place = np.zeros(3)
        for below in np.linspace(0.2, 0.6, 12):
            place = np.array([*random_point(rng, room.plan, 0.3), room.height * (1 - 0.5 * below)])
            hits = self._cast(place, directions)
            behind = (hits.normals * directions).sum(1) > 0
            if hits.distance.min() > LEAST_LAMP_DISTANCE_M and not behind.any():
                break
        return place

    def take(
        self, size: tuple[int, int], intrinsics: np.ndarray, camera_to_world: np.ndarray, seed: int
    ) -> np.ndarray:
        """The picture of a camera.

        Args:
            size: (height, width) in pixels.
            intrinsics: (3, 3), pixels; pixel centres at integers.
            camera_to_world: (4, 4), metres.
            seed: of exposure, blur and noise.

        Returns:
            (height, width, 3) uint8, sRGB.
        """
        rng = np.random.default_rng([seed, 3])
        fill = rng.uniform(*FILL)
        height, width = size
        rows = max(1, RAYS_AT_ONCE // (RAYS_ACROSS**2 * width))
        light = np.concatenate(
            [
                self._strip(range(top, min(top + rows, height)), width, intrinsics,
                            camera_to_world, fill)
                for top in range(0, height, rows)
            ]
        )  # fmt: skip
        return _developed(light, rng)

    def _strip(
        self, rows: range, width: int, intrinsics: np.ndarray, pose: np.ndarray, fill: float
    ) -> np.ndarray:
        """Light on some rows of the picture, (rows, width, 3)."""
        per_u, per_v, straight = (pose[:3, :3] @ np.linalg.inv(intrinsics)).T
        within = (np.arange(RAYS_ACROSS) + 0.5) / RAYS_ACROSS - 0.5
        u = (np.arange(width)[:, None] + within).reshape(1, -1, 1)
        v = (np.array(rows)[:, None] + within).reshape(-1, 1, 1)
        shape = (v.shape[0], u.shape[1])
        rays = (u * per_u + (v * per_v + straight)).reshape(-1, 3).astype(np.float32)
        number = (np.arange(shape[0])[:, None] % RAYS_ACROSS) * RAYS_ACROSS
        number = (number + np.arange(shape[1]) % RAYS_ACROSS).ravel()
        steps = np.stack([per_u, per_v]).astype(np.float32) / RAYS_ACROSS

        hits = self._cast(pose[:3, 3], rays)
        light = _sky(rays)
        met = np.nonzero(np.isfinite(hits.distance))[0]
        if len(met):
            seen = rays[met], hits.distance[met], hits.faces[met].astype(np.int64)
            light[met] = self._reflected(pose[:3, 3], *seen, steps, number[met], fill)
        rays_of_pixel = (len(rows), RAYS_ACROSS, width, RAYS_ACROSS, 3)
        light = light.reshape(rays_of_pixel)
        total = np.zeros((len(rows), width, 3), np.float32)
        for row, column in np.ndindex(RAYS_ACROSS, RAYS_ACROSS):
            total += light[:, row, :, column]
        return total / np.float32(RAYS_ACROSS**2)

    def _reflected(
        self, eye: np.ndarray, rays: np.ndarray, distance: np.ndarray, faces: np.ndarray,
        per_ray: np.ndarray, number: np.ndarray, fill: float,
    ) -> np.ndarray:  # fmt: skip
        """Light that comes back along rays from what they meet, (N, 3)."""
        surfaces = self._textures.surfaces
        way = rays * distance[:, None]
        points = (eye + way).astype(np.float32)
        flat = surfaces.normals[faces].astype(np.float32)
        slant = np.einsum("ij,ij->i", flat, rays)[:, None]
        facing = np.where(slant < 0, np.float32(1), np.float32(-1))
        safe = np.where(np.abs(slant) < 1e-4, np.float32(-1e-4), slant)
        # The planes' own points right and below: how far apart rays meet them.
        along = np.einsum("kj,ij->ki", per_ray, flat)[:, :, None] / safe
        steps = distance[:, None] * (per_ray[:, None] - along * rays)
        colours = self._textures.colours(faces, points, steps)

        normals = surfaces.shading_normals(faces, points) * facing
        outside = points + 2e-3 * flat * facing
        to_eye = way / np.maximum(_lengths(way)[:, None], 1e-9)
        from_around = np.einsum("ij,j->i", normals, self._ambient_towards)
        lit = self._ambient * np.clip(0.8 + from_around, 0.2, None)
        lit += fill * np.clip(-np.einsum("ij,ij->i", normals, to_eye), 0, None)
        lit = lit[:, None] + self._direct(outside, normals, number)[:, None] * self._light_colour
        return (colours * lit).astype(np.float32)

    def _direct(self, points: np.ndarray, normals: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Light straight from the lamp or the sun, (N,); 0 in shadow."""
        angle = 2 * np.pi * (np.arange(RAYS_ACROSS**2) + 0.5) / RAYS_ACROSS**2
        ring = np.column_stack([np.cos(angle), np.sin(angle), 0.3 * np.cos(2 * angle)])
        if self._sun is not None:
            towards = (self._sun + SUN_RADIUS * ring).astype(np.float32)[number]
            length = np.ones(len(points), np.float32)
        else:
            towards = (self._lamp + LAMP_RADIUS_M * ring).astype(np.float32)[number] - points
            length = _lengths(towards)
        cosine = np.einsum("ij,ij->i", normals, towards) / np.maximum(length, 1e-6)
        bright = np.clip(cosine, 0, None)
        if self._sun is None:
            # Walls give back light: a lamp's fades less than with the square of the distance.
            bright = bright * 2.0 / (1 + 0.25 * length**2)
        reached = np.nonzero(bright > 1e-3)[0]
        if len(reached):
            nearest = self._cast(points[reached], towards[reached]).distance
            blocked = np.isfinite(nearest) if self._sun is not None else nearest < 0.999
            bright[reached[blocked]] = 0
        return bright


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """(N,) of (N, 3); einsum takes a third of the time of np.linalg.norm."""
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def _sky(rays: np.ndarray) -> np.ndarray:
    """Light from where nothing is, (N, 3): paler towards the horizon."""
    height = rays[:, 2] / _lengths(rays)
    return blended([0.75, 0.8, 0.85], [0.25, 0.45, 0.85], np.clip(2 * height, 0, 1))


def _developed(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, (H, W, 3), as a camera stores it."""
    sigma = rng.uniform(*BLUR_PIXELS)
    for axis in (0, 1):
        light = gaussian_filter1d(light, sigma, axis, mode="nearest", radius=2)
    exposed = rng.uniform(*EXPOSED_TO) / max(float(np.quantile(light, EXPOSED_QUANTILE)), 1e-6)
    light = light * exposed
    # Above half, film and cameras compress rather than clip.
    light = np.where(light > 0.6, 0.6 + 0.4 * np.tanh((light - 0.6) / 0.4), light)
    stored = 255 * np.clip(light, 0, 1) ** (1 / 2.2)
    noise = rng.standard_normal(light.shape, np.float32) * rng.uniform(*NOISE)
    return np.clip(np.rint(stored + noise), 0, 255).astype(np.uint8)
