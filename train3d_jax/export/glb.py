"""Point clouds and meshes as binary glTF 2.0 (GLB), with the camera of their picture.

glTF's axes are x right, y up and z backward, and its cameras look along -z.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train3d_jax import __version__
from train3d_jax.export.meshes import Mesh
from train3d_jax.files import write_whole
from train3d_jax.geometry import camera, poses

AXES = "x right, y up, z backward"
"""Of a file without another pose."""

_UNLIT = "KHR_materials_unlit"
"""Extension for a material that is shown as it is: the picture has the light of the scene."""

_GREY = 0.7
"""Linear reflectance of a mesh without a picture; chosen."""

_CLAMP = 33071
"""glTF's number for a texture that does not repeat: its edges would show the opposite ones."""

_ROOM = 10.0
"""Factor between a camera's clipping planes and the nearest and farthest depth; chosen, so that
one can move towards the scene and away from it."""


class View(NamedTuple):
    """The camera of a map, as a GLB gets it.

    Attributes:
      intrinsics: (3, 3) in pixels; pixel centres are at integers.
      size: height and width of its picture in pixels.
      pose: from camera axes to the world, see `poses.rigid_pose`; None for glTF's axes with the
        camera in their origin.
    """

    intrinsics: np.ndarray
    size: tuple[int, int]
    pose: np.ndarray | None = None

    def to_world(self) -> np.ndarray:
        """The pose, float64 (4, 4)."""
        return poses.OPENGL_FROM_OPENCV if self.pose is None else poses.rigid_pose(self.pose)


def write_points(
    path: Path,
    points: np.ndarray,
    view: View,
    unit: str,
    colours: np.ndarray | None = None,
    axes: str = AXES,
) -> None:
    """Writes a point cloud, one primitive of points.

    Args:
      path: file to write.
      points: in camera axes, shape (N, 3).
      view: the camera.
      unit: of the points, for `asset.extras`; glTF itself means metres.
      colours: red, green and blue, uint8 as a screen shows them, shape (N, 3).
      axes: what to call those of the world.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: the file cannot be written.
    """
    import trimesh  # a second, and few runs write GLB

    geometry = None
    if len(points):
        # glTF keeps linear colours, not those of a screen; trimesh writes what it gets.
        linear = None if colours is None else _LINEAR[colours]
        geometry = trimesh.PointCloud(poses.moved(points, view.to_world()), linear)
    _write(path, geometry, view, {"unit": unit, "axes": axes}, points[:, 2])


def write_mesh(
    path: Path,
    mesh: Mesh,
    view: View,
    unit: str,
    picture: bytes | None = None,
    axes: str = AXES,
) -> None:
    """Writes a mesh, seen from both sides; its picture is shown without further light.

    Args:
      path: file to write.
      mesh: in camera axes; one without triangles leaves a scene that holds its camera alone.
      view: the camera.
      unit: of the mesh, for `asset.extras`; glTF itself means metres.
      picture: a JPEG for its texture; None for a grey mesh, shaded by its normals.
      axes: what to call those of the world.

    Raises:
      ArgumentError: the pose is not rigid.
      UserError: the file cannot be written.
    """
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    geometry = None
    if len(mesh.triangles):
        pose = view.to_world()
        material = PBRMaterial(
            metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True,
            baseColorFactor=None if picture else [_GREY, _GREY, _GREY, 1.0],
        )  # fmt: skip
        places = mesh.texture * np.array([1, -1]) + np.array([0, 1])  # trimesh counts from below
        geometry = trimesh.Trimesh(
            poses.moved(mesh.vertices, pose), mesh.triangles,
            vertex_normals=poses.turned(mesh.normals, pose),
            visual=TextureVisuals(uv=places if picture else None, material=material),
            process=False, validate=False,
        )  # fmt: skip
    extras = {"unit": unit, "axes": axes}
    _write(path, geometry, view, extras, mesh.vertices[:, 2], None if geometry is None else picture)


def _write(
    path: Path,
    geometry: Any,
    view: View,
    extras: dict[str, str],
    depth: np.ndarray,
    picture: bytes | None = None,
) -> None:
    import trimesh
    from trimesh.exchange.gltf import export_glb

    def add_picture(buffers: Any, tree: dict[str, Any]) -> None:
        if picture is None:
            return
        # trimesh would decode it and encode it again.
        buffers["picture"] = picture + bytes(-len(picture) % 4)
        tree["images"] = [{"bufferView": len(buffers) - 1, "mimeType": "image/jpeg"}]
        tree["samplers"] = [{"wrapS": _CLAMP, "wrapT": _CLAMP}]
        tree["textures"] = [{"source": 0, "sampler": 0}]
        (material,) = tree["materials"]
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        material["extensions"] = {_UNLIT: {}}
        tree["extensionsUsed"] = [_UNLIT]

    def describe(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = f"train3d-jax {__version__}"
        tree["asset"]["extras"] = extras
        if geometry is None:  # a node without a mesh is of no use
            tree["scenes"], tree["nodes"] = [{"nodes": []}], []
        tree["cameras"] = [_camera(view, depth)]
        node: dict[str, Any] = {"name": "camera", "camera": 0}
        place = view.to_world() @ poses.OPENGL_FROM_OPENCV
        if not np.array_equal(place, np.eye(4)):
            node["matrix"] = place.T.ravel().tolist()  # glTF counts down the columns
        tree["scenes"][0]["nodes"].append(len(tree["nodes"]))
        tree["nodes"].append(node)

    scene = trimesh.Scene()
    if geometry is not None:
        scene.add_geometry(geometry)
    write_whole(
        path,
        export_glb(scene, True, tree_postprocessor=describe, buffer_postprocessor=add_picture),
    )


def _camera(view: View, depth: np.ndarray) -> dict[str, Any]:
    """The camera of glTF: its principal point is the image centre; `extras` have the exact one."""
    (fx, _, cx), (_, fy, cy), _ = view.intrinsics.tolist()
    height, width = view.size
    offset = [cx - (width - 1) / 2, cy - (height - 1) / 2]
    near, far = (float(depth.min()), float(depth.max())) if len(depth) else (1.0, 1.0)
    extras: dict[str, Any] = {
        "intrinsics": view.intrinsics.tolist(), "width": width, "height": height,
    }  # fmt: skip
    if any(offset):
        extras["principal_point_off_centre_px"] = offset
    return {
        "name": "camera",
        "type": "perspective",
        "perspective": {
            "yfov": float(camera.focal_to_fov(fy, height)),
            "aspectRatio": width / fx * fy / height,
            "znear": near / _ROOM,
            "zfar": far * _ROOM,
        },
        "extras": extras,
    }


def _linear_from_screen() -> np.ndarray:
    """The linear value of each of the 256 values of an sRGB screen (IEC 61966-2-1)."""
    screen = np.arange(256) / 255
    linear = np.where(screen <= 0.04045, screen / 12.92, ((screen + 0.055) / 1.055) ** 2.4)
    return np.round(255 * linear).astype(np.uint8)


_LINEAR = _linear_from_screen()
