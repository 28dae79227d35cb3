import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image

import train3d_jax
from train3d_jax import load_model, recover
from train3d_jax.errors import UserError
from train3d_jax.inference import estimates, map_checks
from train3d_jax.inference import recovery as inference
from train3d_jax.inference.arrays import depth_maps
from train3d_jax.storage import weights

ROOMS = [box_room(seed) for seed in range(3)]
MAPS = [values for values, _ in ROOMS]
GEOMETRY = load_model(None, space="depth")
geometry = GEOMETRY.recover
FOCALS = np.array([intrinsics[0, 0] for _, intrinsics in ROOMS])


def test_importing_the_package_does_not_import_jax():
    code = (
        "import sys, train3d_jax; assert 'jax' not in sys.modules; print(train3d_jax.__version__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == train3d_jax.__version__
    names = {"load_model", "recover", "read_depth", "from_prediction", "Model", "Shape"}
    assert names <= set(dir(train3d_jax))
    assert train3d_jax.UserError is UserError and train3d_jax.Model is type(GEOMETRY)
    with pytest.raises(AttributeError, match="no attribute 'recovery'"):
        _ = train3d_jax.recovery


def test_one_map_a_batch_and_a_list_get_the_same_answers():
    single, batch, several = geometry(MAPS[0]), geometry(np.stack(MAPS)), geometry(MAPS)
    assert single.focal_px.shape == () and single.focal_interval_px.shape == (2,)
    assert batch.focal_px.shape == (3,) and len(batch.flags) == 3
    np.testing.assert_allclose(single.focal_px, batch.focal_px[0], rtol=1e-5)
    np.testing.assert_array_equal(batch.focal_px, several.focal_px)
    np.testing.assert_allclose(batch.focal_px, FOCALS, rtol=0.05)
    low, high = batch.focal_interval_px.T
    assert (low <= batch.focal_px).all() and (batch.focal_px <= high).all()


def test_a_known_camera_is_kept():
    matrices = np.stack([intrinsics for _, intrinsics in ROOMS])
    for found in (geometry(MAPS, focal_px=FOCALS), geometry(MAPS, intrinsics=matrices)):
        np.testing.assert_allclose(found.focal_px, FOCALS, rtol=1e-6)  # float32
        straight = found.a[0] * MAPS[0] + found.b[0]
        ratio = straight / MAPS[0]
        assert np.ptp(ratio) < 0.02 * ratio.mean()


def test_maps_that_are_not_what_they_are_taken_for_raise_flags():
    holed = MAPS[1].copy()
    holed[:20, :40] = -9999
    found = geometry([MAPS[0], holed, -MAPS[2]])
    raised = [set(flags) & {*map_checks.FLAGS} for flags in found.flags]
    assert raised == [set(), {"repeated_value"}, {"near_far_swapped"}]


# Arrays of other libraries.


class Exchanged:
    """Offers DLPack and nothing else."""

    def __init__(self, values):
        self._values = values

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class Converted:
    """Offers `__array__` and nothing else."""

    def __init__(self, values):
        self._values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self._values, dtype)


class Tensor(Converted):
    """As PyTorch's on a GPU that records gradients: numpy gets it detached and on the host only."""

    def __init__(self, values, gradient=True, place="cuda"):
        super().__init__(values)
        self._gradient, self._place = gradient, place

    def __iter__(self):
        return (Tensor(row) for row in self._values)

    def detach(self):
        return Tensor(self._values, False, self._place)

    def cpu(self):
        return Tensor(self._values, self._gradient, "cpu")

    def __array__(self, dtype=None, copy=None):
        if self._gradient or self._place != "cpu":
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return super().__array__(dtype)


KINDS = (np.asarray, jnp.asarray, Exchanged, Converted, Tensor)
SINGLE = np.float32(MAPS[0])


@pytest.fixture(scope="module")
def answer():
    return geometry(SINGLE)


@pytest.mark.parametrize("kind", [*KINDS, Image.fromarray, np.ndarray.tolist])
def test_one_map_of_any_library_gets_one_answer(answer, kind):
    found = geometry(kind(SINGLE))
    np.testing.assert_array_equal(found.focal_px, answer.focal_px)
    np.testing.assert_array_equal(found.b, answer.b)


@pytest.mark.parametrize("shape", [(1, 96, 128), (96, 128, 1)])
def test_a_map_with_an_axis_of_length_1_is_one_map(answer, shape):
    found = geometry(jnp.asarray(SINGLE).reshape(shape))
    assert found.focal_px.shape == () and found.focal_px == answer.focal_px


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_lists_of_any_library_are_maps_in_their_order(kind):
    batch = np.stack([SINGLE, SINGLE + 1])
    for given in (
        kind(batch),
        kind(batch[:, None]),
        kind(batch[..., None]),
        [kind(values) for values in batch],
        (kind(values[None]) for values in batch),
        tuple(kind(values[..., None]) for values in batch),
    ):
        maps, form = depth_maps(given)
        assert form != "one"
        np.testing.assert_array_equal(maps, batch)


def test_a_batch_of_one_keeps_its_axis():
    for given in ([SINGLE], SINGLE[None, None], SINGLE[None, ..., None]):
        maps, form = depth_maps(given)
        assert form != "one" and len(maps) == 1
        np.testing.assert_array_equal(maps[0], SINGLE)


def test_maps_of_several_sizes_may_come_as_nested_lists_or_an_array_of_objects():
    sizes = [SINGLE, SINGLE[:50]]
    for given in ([values.tolist() for values in sizes], np.array([*sizes, None], object)[:2]):
        maps, form = depth_maps(given)
        assert form != "one" and [values.shape for values in maps] == [(96, 128), (50, 128)]


def test_numbers_that_numpy_has_no_type_for_are_read_as_float32():
    values = jnp.asarray(SINGLE, jnp.bfloat16)
    (found,), _ = depth_maps(values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(values))


def test_what_float32_cannot_hold_is_missing():
    (found,), _ = depth_maps(np.array([[1.0, 1e300], [-1e300, np.nan]]))
    np.testing.assert_array_equal(np.isfinite(found), [[True, False], [False, False]])


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_what_a_mask_hides_is_missing(dtype):
    values, mask = (1000 * SINGLE).astype(dtype), np.zeros(SINGLE.shape, bool)
    mask[:30] = True
    masked = np.ma.masked_array(np.where(mask, dtype(9999), values), mask)
    missing = geometry(np.where(mask, dtype(0), values))
    assert geometry(masked).focal_px == missing.focal_px
    assert geometry(masked.data).focal_px != missing.focal_px  # what lies below matters
    for given in (np.ma.stack([masked, masked]), [masked, masked], masked[None]):
        maps, _ = depth_maps(given)
        for found in maps:
            np.testing.assert_array_equal(found == 0, mask)


@pytest.mark.parametrize("known", [True, np.True_, jnp.array(True), Converted(np.array(True))])
def test_a_known_shift_may_be_a_bool_of_any_library(monkeypatch, known):
    asked = []
    monkeypatch.setattr(
        inference, "recover_blocks", lambda *args: asked.append(args[2]) or stand_in(args[1])
    )
    geometry(SINGLE, shift_known=known)
    assert asked[0].shift is True


def stand_in(blocks):
    """An answer that costs nothing."""
    count = len(blocks.size)
    numbers, intervals = np.ones(count), np.ones((count, 2))
    flags = dict.fromkeys(estimates.FLAGS, np.zeros(count, bool))
    return inference.Estimates(
        numbers > 0, numbers, numbers, intervals, intervals, np.ones((count, 3)), numbers < 0,
        numbers, numbers, numbers, flags,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [float, np.float32, lambda f: [f], jnp.asarray, Exchanged, Tensor])
def test_a_known_focal_length_may_be_of_any_library(monkeypatch, kind):
    asked = []
    monkeypatch.setattr(
        inference, "recover_blocks", lambda *args: asked.append(args[2]) or stand_in(args[1])
    )
    geometry(SINGLE, focal_px=kind(np.array(100.0) if kind in (Exchanged, Tensor) else 100.0))
    np.testing.assert_array_equal(asked[0].focal, [100.0])
    assert asked[0].shift is False


# Models.


@pytest.fixture
def asked(monkeypatch):
    """Networks and spaces of each call of the solver, which answers at no cost."""
    asked = []

    def recover_blocks(networks, blocks, known, method, space, at_once, segments):
        asked.append(([network.config.clouds.space for network in networks], space))
        return stand_in(blocks)

    monkeypatch.setattr(inference, "recover_blocks", recover_blocks)
    return asked


def test_a_model_may_be_named(asked):
    folder = weights.bundled("disparity")
    recover(SINGLE)
    for model in ("default", "depth", load_model()):
        recover(SINGLE, model)
    for model in ("disparity", folder, str(folder), [folder], load_model("disparity")):
        recover(1 / SINGLE, model)
        recover(1 / SINGLE, model, space="disparity")
    assert asked == 4 * [(["depth"], "depth")] + 10 * [(["disparity"], "disparity")]
    with pytest.raises(UserError, match="nowhere: is not a run"):
        recover(SINGLE, "nowhere")


def test_the_space_is_the_model_s_and_geometry_alone_is_told_it(asked):
    assert [load_model(run).space for run in ("default", "disparity")] == ["depth", "disparity"]
    alone = load_model(None, space="disparity")
    alone.recover(1 / SINGLE)
    assert asked == [([], "disparity")] and alone.networks == ()


def test_a_name_is_never_a_folder_that_happens_to_be_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("depth").mkdir()
    assert load_model("depth").networks
    with pytest.raises(UserError, match="is not a run"):
        load_model(Path("depth"))


def test_a_network_is_loaded_once_until_it_changes(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(weights.bundled("depth"), folder)
    first = load_model(folder)
    assert load_model(folder).networks[0] is first.networks[0]
    assert load_model().networks[0] is load_model("depth").networks[0]
    os.utime(folder / weights.WEIGHTS, ns=(0, 0))
    assert load_model(folder).networks[0] is not first.networks[0]


CAMERA = np.array([[110.0, 0, 63.5], [0, 110, 47.5], [0, 0, 1]])


def scaled(x, y):
    return np.diag([x, y, 1.0]) @ CAMERA


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": np.zeros(5)}, "depth: map 0 has the shape"),
        ({"depth": []}, "depth: holds no map"),
        ({"depth": np.zeros((4, 4), complex)}, "holds complex128"),
        ({"space": "inverse"}, "space='inverse'"),
        ({"model": None, "space": None}, "space: give 'depth', 'disparity' or 'log'; no network"),
        ({"model": "disparity"}, "was trained in disparity space"),
        ({"model": GEOMETRY, "space": "disparity"}, "space='disparity': the model's is 'depth'"),
        ({"mask": np.ones((96, 127), bool)}, r"mask: that of map 0 has the shape \(96, 127\), the"),
        ({"mask": [np.ones((96, 128), bool)] * 2}, "mask: holds 2 masks for 1 maps"),
        ({"mask": np.ones((96, 128))}, "mask: holds float64; give bool, True where"),
        ({"mask": "mask.png"}, "mask: holds <U8; give bool"),
        ({"focal_px": -3.0}, "focal_px=-3.0"),
        ({"focal_px": [1.0, 2.0]}, "one for all or 1"),
        ({"intrinsics": np.eye(2)}, "intrinsics: has the shape"),
        ({"intrinsics": np.zeros((3, 3))}, "have to be above 0"),
        ({"intrinsics": CAMERA, "focal_px": 3.0}, "part of intrinsics; give one of them"),
        ({"depth": "map.npy"}, "depth: holds str"),
        ({"depth": None}, "depth: holds NoneType"),
        ({"depth": MAPS[0] > 1}, "depth: holds bool"),
        ({"depth": [MAPS[0], MAPS[0] * 1j]}, "depth: map 1 holds complex64"),
        ({"depth": MAPS[0].astype(str)}, "depth: holds <U"),
        ({"depth": MAPS[0].astype(object)}, "depth: holds object"),
        ({"depth": np.zeros((96, 128, 3))}, r"shape \(96, 128, 3\), as a picture with channels"),
        ({"depth": np.zeros((2, 3, 96, 128))}, r"shape \(2, 3, 96, 128\)"),
        ({"depth": Image.new("RGB", (128, 96))}, "depth: is an image of mode RGB"),
        ({"depth": [Image.new("L", (128, 96))]}, "depth: map 0 is an image of mode L"),
        ({"depth": np.zeros((0, 96, 128))}, "depth: holds no map"),
        ({"depth": np.zeros((96, 0))}, "depth: map 0 has the shape"),
        ({"model": 3}, "model=3: give 'depth', 'disparity', a run's folder"),
        ({"model": [None]}, r"model=\[None\]: give 'depth', 'disparity', a run's"),
        ({"shift_known": 1}, "shift_known=1: give True or False"),
        ({"shift_known": [True]}, "shift_known=.*: give True or False"),
        ({"focal_px": True}, "focal_px: holds bool"),
        ({"focal_px": "500"}, "focal_px: holds str"),
        ({"focal_px": np.nan}, "focal_px=nan: give pixels above 0"),
        ({"focal_px": 0.9}, "focal_px=0.9: that of map 0 means a horizontal field of view of 178"),
        ({"intrinsics": CAMERA > 0}, "intrinsics: holds bool"),
        ({"intrinsics": "K.npy"}, "intrinsics: holds str"),
        ({"intrinsics": CAMERA + np.eye(3, k=1)}, r"intrinsics: that of map 0 is not \[\[fx, 0"),
        ({"intrinsics": scaled(1 / 128, 1 / 96)}, "means a horizontal field of view of 178"),
        ({"intrinsics": scaled(4, 4)}, "principal point outside a map of 128 x 96"),
        ({"intrinsics": scaled(0.5, 0.5)}, "an image 0.5 times as large as 128 x 96"),
        (
            {"depth": [MAPS[0], MAPS[0][:40]], "intrinsics": CAMERA},
            "intrinsics: that of map 1 has its principal point outside a map of 128 x 40",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        recover(**{"depth": MAPS[0], "model": None, "space": "depth", **arguments})
