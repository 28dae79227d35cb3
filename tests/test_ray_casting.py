import sys

import numpy as np
import pytest

from data.rooms import ray_casting
from data.rooms.scenes import random_room
from data.rooms.views import random_views
from train3d_jax.errors import UserError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "OSError('libGL.so.1: cannot open shared object file: No such file')",
            ["libGL.so.1,", "libgl1 libx11-6 libgomp1"],
        ),
        ("ImportError('No module named open3d')", ["pip install 'train3d-jax[prepare]'"]),
    ],
)
def test_open3d_that_does_not_load_is_a_user_error(tmp_path, monkeypatch, error, words):
    (tmp_path / "open3d.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    with pytest.raises(UserError) as caught:
        ray_casting.import_open3d()
    assert all(word in str(caught.value) for word in words)


def test_the_libusb_of_the_package_is_loaded_before_open3d(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(ray_casting.ctypes, "CDLL", lambda path, mode: loaded.append((path, mode)))
    monkeypatch.setattr(ray_casting, "loaded_before_open3d", loaded, raising=False)
    (tmp_path / "libusb_package.py").write_text("get_library_path = lambda: '/lib/libusb.so'")
    (tmp_path / "open3d.py").write_text(
        "from data.rooms.ray_casting import loaded_before_open3d\nseen = list(loaded_before_open3d)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "libusb_package", raising=False)
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    try:
        assert ray_casting.import_open3d().seen == [
            ("/lib/libusb.so", ray_casting.ctypes.RTLD_GLOBAL)
        ]
    finally:
        # The stand-in must not be what later tests get.
        sys.modules.pop("open3d", None)
        sys.modules.pop("libusb_package", None)


def test_both_ray_casters_see_the_same_room():
    pytest.importorskip("embreex")
    mesh = random_room(np.random.default_rng(3)).mesh
    vertices, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32)
    try:
        open3d = ray_casting.import_open3d()
    except UserError as error:
        pytest.skip(f"nothing to compare with: {error}")
    first = ray_casting.open3d_caster(open3d, vertices, faces, 1)
    second = ray_casting.embreex_caster(vertices, faces)
    directions = np.random.default_rng(0).normal(size=(2000, 3))
    origin = (vertices.min(0) + vertices.max(0)) / 2
    one, other = first(origin, directions), second(origin, directions)
    assert np.isfinite(one.distance).mean() > 0.9
    # Rays through an edge may fall to either side of it in float32: a handful of 2,000.
    same = np.isclose(one.distance, other.distance, rtol=1e-4, atol=1e-5)
    assert same.mean() > 0.995
    assert np.isclose(one.normals[same], other.normals[same], atol=1e-4).all(1).mean() > 0.995


def test_a_machine_without_open3ds_libraries_still_renders(monkeypatch):
    pytest.importorskip("embreex")
    expected = random_views(5, 1, (48, 64))[0]

    def refuse():
        raise UserError("libGL.so.1 is not on this machine")

    monkeypatch.setattr(ray_casting, "import_open3d", refuse)
    view = random_views(5, 1, (48, 64))[0]
    np.testing.assert_allclose(view.depth, expected.depth, rtol=1e-3, atol=1e-3)
