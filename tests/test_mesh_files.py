"""Meshes of depth maps, and their files as other people's libraries read them."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open3d
import pygltflib
import pytest
import trimesh
from PIL import Image
from scene_views import INTRINSICS, SIZE, grid, pixels_of, plane, pose_of

from train3d_jax.errors import ArgumentError, UserError
from train3d_jax.export import glb, meshes, obj_files
from train3d_jax.export.textures import texture
from train3d_jax.geometry.normals import depth_normals, grazing_edge

EDGE = grazing_edge(38)
VIEW = glb.View(INTRINSICS, SIZE)
GLTF = np.diag([1.0, -1, -1, 1])


def mesh_of(depth, edge=EDGE):
    return meshes.depth_mesh(depth, INTRINSICS, depth_normals(depth, INTRINSICS, edge), edge)


def colours_of(size):
    """A picture that is dark on the left, red on the right and blue below."""
    v, u = np.mgrid[: size[0], : size[1]] / (np.array(size).reshape(2, 1, 1) - 1)
    return np.uint8(255 * np.stack([u, np.zeros(size), v], -1))


PLANE, NORMAL = plane()
MESH = mesh_of(PLANE)
PICTURE = texture(colours_of((96, 128)))


# Building.


def test_all_pixels_of_a_surface_are_shared_vertices_at_their_texels():
    assert len(MESH.vertices) == PLANE.size
    assert len(MESH.triangles) == 2 * (SIZE[0] - 1) * (SIZE[1] - 1)
    np.testing.assert_allclose(pixels_of(MESH.vertices), grid(), atol=1e-4)
    np.testing.assert_allclose(MESH.texture, (grid() + 0.5) / [SIZE[1], SIZE[0]], atol=1e-6)
    np.testing.assert_allclose(MESH.normals, np.broadcast_to(NORMAL, MESH.normals.shape), atol=1e-5)


def test_triangles_face_the_camera_as_their_normals_do():
    a, b, c = (MESH.vertices[MESH.triangles[:, corner]].astype(float) for corner in range(3))
    faces = np.cross(b - a, c - a)
    assert ((faces * a).sum(1) < 0).all()
    assert ((faces * MESH.normals[MESH.triangles[:, 0]]).sum(1) > 0).all()


@pytest.mark.parametrize("edge", [0.1, 0.49])
def test_no_triangle_spans_an_edge_and_loose_pixels_are_no_vertices(edge):
    depth = np.full(SIZE, 2.0)
    depth[8:16, 10:20] = 3.0
    depth[3, 3] = 0
    depth[20, 20] = 9.0
    mesh = mesh_of(depth, edge)
    z = mesh.vertices[mesh.triangles][..., 2]
    assert (z.max(1) <= (1 + edge) * z.min(1)).all()
    assert len(mesh.vertices) == depth.size - 2
    assert sorted(np.unique(mesh.triangles)) == list(range(len(mesh.vertices)))
    # About a missing pixel four squares of two triangles lose one or two: the octagon of 6.
    (held,) = mesh_of(np.where(depth == 0, 2.0, depth), edge).triangles.shape[:1]
    assert held - len(mesh.triangles) == 4


@pytest.mark.parametrize("valid", [[], [(0, 0)], [(3, 3), (3, 4)], [(3, 3), (3, 4), (5, 5)]])
def test_too_few_pixels_for_a_triangle_are_an_empty_mesh_and_whole_files(tmp_path, valid):
    depth = np.zeros(SIZE)
    for place in valid:
        depth[place] = 2.0
    mesh = mesh_of(depth)
    assert len(mesh.vertices) == len(mesh.triangles) == 0
    assert meshes.simplified(mesh, 10, INTRINSICS, SIZE) is mesh
    glb.write_mesh(tmp_path / "a.glb", mesh, VIEW, "metres", PICTURE)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert [node.name for node in gltf.nodes] == ["camera"] and not gltf.meshes
    obj_files.write_obj(tmp_path / "obj", mesh, "metres", PICTURE)
    assert "\nf " not in (tmp_path / "obj" / "mesh.obj").read_text()


def test_three_of_four_pixels_are_one_triangle():
    for missing in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        depth = np.full((2, 2), 2.0)
        depth[missing] = 0
        assert len(mesh_of(depth).triangles) == 1
    assert len(mesh_of(np.full((2, 2), 2.0)).triangles) == 2


# GLB.


def flat(image):
    with Image.open(io.BytesIO(image)) as picture:
        return picture.format, picture.size, np.asarray(picture).astype(int)


def test_trimesh_reads_the_mesh_of_a_glb_with_its_texture_right_way_up(tmp_path):
    glb.write_mesh(tmp_path / "a.glb", MESH, VIEW, "metres", PICTURE)
    (found,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
    np.testing.assert_allclose(found.vertices, MESH.vertices * [1, -1, -1], rtol=1e-6)
    np.testing.assert_array_equal(found.faces, MESH.triangles)
    np.testing.assert_allclose(found.vertex_normals, MESH.normals * [1, -1, -1], atol=1e-6)
    colours = np.asarray(found.visual.to_color().vertex_colors)[:, :3].astype(int)
    expected = colours_of(SIZE).reshape(-1, 3).astype(int)
    # A gradient, read at the nearest texel of a JPEG of four times the size.
    assert np.abs(colours - expected).max() < 12


def test_open3d_reads_the_mesh_of_a_glb(tmp_path):
    glb.write_mesh(tmp_path / "a.glb", MESH, VIEW, "metres", PICTURE)
    found = open3d.io.read_triangle_mesh(str(tmp_path / "a.glb"))
    assert len(found.triangles) == len(MESH.triangles)
    corners = np.asarray(found.vertices)[np.asarray(found.triangles)]
    np.testing.assert_allclose(
        corners, (MESH.vertices * [1, -1, -1])[MESH.triangles], rtol=1e-5, atol=1e-6
    )
    assert found.has_triangle_uvs() and np.asarray(found.textures[0]).shape == (96, 128, 3)


def test_the_picture_of_a_glb_is_shown_as_it_is_and_does_not_repeat(tmp_path):
    glb.write_mesh(tmp_path / "a.glb", MESH, VIEW, "metres", PICTURE)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    (image,), (material,), (sampler,) = gltf.images, gltf.materials, gltf.samplers
    view = gltf.bufferViews[image.bufferView]
    stored = gltf.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    assert image.mimeType == "image/jpeg" and stored.startswith(PICTURE)
    assert flat(stored)[:2] == ("JPEG", (128, 96))
    assert gltf.extensionsUsed == ["KHR_materials_unlit"] == list(material.extensions)
    assert material.doubleSided and (sampler.wrapS, sampler.wrapT) == (33071, 33071)
    assert gltf.asset.extras["unit"] == "metres"


def test_without_a_picture_a_mesh_is_grey_and_lit(tmp_path):
    glb.write_mesh(tmp_path / "a.glb", MESH, VIEW, "arbitrary")
    gltf = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    (material,) = gltf.materials
    assert not gltf.images and not gltf.extensionsUsed and material.doubleSided
    paint = material.pbrMetallicRoughness
    assert paint.metallicFactor == 0 and 0.5 < paint.baseColorFactor[0] < 0.9
    (primitive,) = gltf.meshes[0].primitives
    assert primitive.attributes.NORMAL is not None and primitive.attributes.TEXCOORD_0 is None


def world_of(node):
    return np.eye(4) if node.matrix is None else np.array(node.matrix).reshape(4, 4).T


@pytest.mark.parametrize("kind", ["points", "mesh"])
@pytest.mark.parametrize("pose", [None, pose_of(0), pose_of(1), GLTF])
def test_the_camera_of_a_glb_sees_each_point_at_its_pixel(tmp_path, kind, pose):
    view = VIEW._replace(pose=pose)
    if kind == "points":
        glb.write_points(tmp_path / "a.glb", MESH.vertices, view, "metres")
    else:
        glb.write_mesh(tmp_path / "a.glb", MESH, view, "metres", PICTURE)
    gltf = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    (geometry,) = trimesh.load(tmp_path / "a.glb", process=False).geometry.values()
    (node,) = [node for node in gltf.nodes if node.camera is not None]
    (camera,) = gltf.cameras
    assert node.name == camera.name == "camera"
    local = np.linalg.inv(world_of(node)) @ np.vstack([geometry.vertices.T, np.ones(PLANE.size)])
    x, y, z = local[:3]
    # glTF, 3.10.3: the projection has 1 / tan(yfov / 2) for y and that over the aspect for x.
    lens = camera.perspective
    scale = 1 / np.tan(lens.yfov / 2)
    ndc = np.stack([scale / lens.aspectRatio * x / -z, scale * y / -z])
    height, width = SIZE
    u, v = (ndc[0] + 1) * width / 2 - 0.5, (1 - ndc[1]) * height / 2 - 0.5
    offset = camera.extras["principal_point_off_centre_px"]
    found = np.stack([u, v], -1) + offset
    np.testing.assert_allclose(found, grid(), atol=1e-3)  # float32
    np.testing.assert_allclose(camera.extras["intrinsics"], INTRINSICS)
    assert 0 < lens.znear < (-z).min() and (-z).max() < lens.zfar


def test_a_scale_or_a_mirror_is_no_pose(tmp_path):
    for wrong in (2 * np.eye(4), np.diag([2.0, 2, 2, 1]), np.diag([1.0, 1, -1, 1]), np.eye(3)):
        with pytest.raises(ArgumentError, match=r"pose.*scale belongs to depth"):
            glb.write_mesh(tmp_path / "a.glb", MESH, VIEW._replace(pose=wrong), "metres")
    assert not (tmp_path / "a.glb").exists()


# OBJ.


@pytest.mark.parametrize("pose", [None, pose_of(2)])
def test_trimesh_and_open3d_read_an_obj_with_its_texture(tmp_path, pose):
    obj_files.write_obj(tmp_path, MESH, "metres", PICTURE, pose)
    assert {path.name for path in tmp_path.iterdir()} == set(obj_files.OBJ_FILES)
    pose = np.eye(4) if pose is None else pose
    corners = (MESH.vertices @ pose[:3, :3].T + pose[:3, 3])[MESH.triangles]
    found = trimesh.load(tmp_path / "mesh.obj", process=False)
    np.testing.assert_allclose(found.vertices[found.faces], corners, rtol=1e-5, atol=1e-5)
    colours = np.asarray(found.visual.to_color().vertex_colors)[:, :3].astype(int)
    expected = colours_of(SIZE).reshape(-1, 3).astype(int)[MESH.triangles]
    assert np.abs(colours[found.faces] - expected).max() < 12  # as in the GLB
    other = open3d.io.read_triangle_mesh(str(tmp_path / "mesh.obj"), enable_post_processing=True)
    mesh = np.asarray(other.vertices)[np.asarray(other.triangles)]
    np.testing.assert_allclose(mesh, corners, rtol=1e-5, atol=1e-5)
    turned = np.asarray(other.vertex_normals)
    expected = np.broadcast_to(NORMAL @ pose[:3, :3].T, turned.shape)
    np.testing.assert_allclose(turned, expected, atol=1e-4)
    assert np.asarray(other.textures[0]).shape == (96, 128, 3)


def test_an_obj_without_a_picture_has_no_texture(tmp_path):
    obj_files.write_obj(tmp_path, MESH, "metres")
    assert {path.name for path in tmp_path.iterdir()} == {"mesh.obj", "mesh.mtl"}
    found = trimesh.load(tmp_path / "mesh.obj", process=False)
    assert found.faces.shape == MESH.triangles.shape


# Simplifying.


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("count", [1000, 200])
def test_a_simplified_mesh_keeps_its_surface_and_its_texture_in_any_unit(count, unit):
    bumps = PLANE * (1 + 0.02 * np.sin(grid().reshape(*SIZE, 2).sum(-1) / 4)) * unit
    mesh = mesh_of(bumps)
    found = meshes.simplified(mesh, count, INTRINSICS, SIZE)
    assert 0.9 * count < len(found.triangles) <= count and len(found.vertices) < len(mesh.vertices)
    places = (pixels_of(found.vertices) + 0.5) / [SIZE[1], SIZE[0]]
    np.testing.assert_allclose(found.texture, np.clip(places, 0, 1), atol=1e-5)
    # No vertex is further from the surface than its bumps are high.
    u, v = np.clip(np.round(pixels_of(found.vertices)), 0, [SIZE[1] - 1, SIZE[0] - 1]).T.astype(int)
    assert np.abs(found.vertices[:, 2] / bumps[v, u] - 1).max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=1), 1, atol=1e-5)
    assert ((found.normals * found.vertices).sum(1) < 0).all()


def test_a_flat_mesh_reaches_few_triangles_and_keeps_its_outline():
    found = meshes.simplified(MESH, 150, INTRINSICS, SIZE)
    assert len(found.triangles) <= 150

    def area(mesh):
        a, b, c = (mesh.vertices[mesh.triangles[:, corner]].astype(float) for corner in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2

    assert area(found) == pytest.approx(area(MESH), rel=1e-3)


def test_a_mesh_with_fewer_triangles_stays():
    assert meshes.simplified(MESH, len(MESH.triangles), INTRINSICS, SIZE) is MESH


def test_without_its_library_simplifying_is_a_line_that_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(UserError, match=r"pip install 'train3d-jax\[mesh\]'"):
        meshes.simplified(MESH, 5, INTRINSICS, SIZE)
    assert meshes.simplified(MESH, len(MESH.triangles), INTRINSICS, SIZE) is MESH


def test_meshes_that_two_threads_simplify_at_once_are_those_of_one():
    scenes = [mesh_of(PLANE * (1 + 0.02 * np.sin(grid().reshape(*SIZE, 2)[..., axis] / (2 + axis))))
              for axis in range(2)]  # fmt: skip
    alone = [meshes.simplified(mesh, 300, INTRINSICS, SIZE) for mesh in scenes]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(
            lambda mesh: meshes.simplified(mesh, 300, INTRINSICS, SIZE), 10 * scenes))  # fmt: skip
    for number, found in enumerate(together):
        for one, other in zip(found, alone[number % 2], strict=True):
            np.testing.assert_array_equal(one, other)


# Textures.


def test_textures_are_jpegs_of_the_picture_s_size_within_what_browsers_take():
    pixels = colours_of((30, 40))
    kind, size, found = flat(texture(pixels))
    assert (kind, size) == ("JPEG", (40, 30)) and np.abs(found - pixels).mean() < 3
    assert flat(texture(np.zeros((10, 9000, 3), np.uint8)))[1] == (8192, 9)
