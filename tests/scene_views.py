"""Small scenes with a known surface, and poses, for tests of files of clouds and meshes."""

import numpy as np

SIZE = (24, 32)
INTRINSICS = np.array([[40.0, 0, 14], [0, 38, 12.5], [0, 0, 1]])
"""With its principal point off the centre, and pixels that are not square."""


def plane(normal=(0.2, -0.5, -1.0), distance=2.0, size=SIZE, intrinsics=INTRINSICS):
    """Depth of a plane, and its unit normal towards the camera."""
    v, u = np.mgrid[: size[0], : size[1]]
    rays = np.stack(
        [
            (u - intrinsics[0, 2]) / intrinsics[0, 0],
            (v - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones(size),
        ],
        -1,
    )
    normal = np.array(normal) / np.linalg.norm(normal)
    return -distance / (rays @ normal), normal


def pose_of(seed):
    """A random turn and a shift, (4, 4)."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
    pose[:3, 3] = rng.normal(size=3)
    return pose


def pixels_of(points, intrinsics=INTRINSICS):
    """Where a camera at the origin sees points, (N, 2), computed by hand."""
    x, y, z = np.asarray(points, float).T
    fx, fy, cx, cy = intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]]
    return np.stack([fx * x / z + cx, fy * y / z + cy], -1)


def grid(size=SIZE):
    """The pixels (u, v) of a map, row by row, (N, 2)."""
    v, u = np.mgrid[: size[0], : size[1]]
    return np.stack([u, v], -1).reshape(-1, 2)
