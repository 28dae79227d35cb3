import subprocess
import sys

import numpy as np
import pytest
from box_rooms import box_room

import train3d_jax
from train3d_jax import recover
from train3d_jax.errors import UserError

ROOMS = [box_room(seed) for seed in range(3)]
MAPS = [values for values, _ in ROOMS]
FOCALS = np.array([intrinsics[0, 0] for _, intrinsics in ROOMS])


def test_importing_the_package_does_not_import_jax():
    code = (
        "import sys, train3d_jax; assert 'jax' not in sys.modules; print(train3d_jax.__version__)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == train3d_jax.__version__
    assert {"recover", "load_model"} <= set(dir(train3d_jax))
    with pytest.raises(AttributeError, match="no attribute 'recovery'"):
        _ = train3d_jax.recovery


def test_one_map_a_batch_and_a_list_get_the_same_answers():
    single, batch, several = recover(MAPS[0]), recover(np.stack(MAPS)), recover(MAPS)
    assert single.focal_px.shape == () and single.focal_interval.shape == (2,)
    assert batch.focal_px.shape == (3,) and batch.flags["near_planar"].shape == (3,)
    np.testing.assert_allclose(single.focal_px, batch.focal_px[0], rtol=1e-5)
    np.testing.assert_array_equal(batch.focal_px, several.focal_px)
    np.testing.assert_allclose(batch.focal_px, FOCALS, rtol=0.05)
    low, high = batch.focal_interval.T
    assert (low <= batch.focal_px).all() and (batch.focal_px <= high).all()


def test_a_known_camera_is_kept():
    matrices = np.stack([intrinsics for _, intrinsics in ROOMS])
    for found in (recover(MAPS, focal_px=FOCALS), recover(MAPS, intrinsics=matrices)):
        np.testing.assert_allclose(found.focal_px, FOCALS, rtol=1e-6)  # float32
        straight = found.a[0] * MAPS[0] + found.b[0]
        ratio = straight / MAPS[0]
        assert np.ptp(ratio) < 0.02 * ratio.mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": np.zeros(5)}, "depth: map 0 has the shape"),
        ({"depth": []}, "depth: holds no map"),
        ({"depth": np.zeros((4, 4), complex)}, "holds complex128"),
        ({"space": "inverse"}, "space='inverse'"),
        ({"method": "magic"}, "method='magic'"),
        ({"method": "learned"}, "needs a --model"),
        ({"focal_px": -3.0}, "focal_px=-3.0"),
        ({"focal_px": [1.0, 2.0]}, "one for all or 1"),
        ({"intrinsics": np.eye(2)}, "intrinsics: has the shape"),
        ({"intrinsics": np.zeros((3, 3))}, "have to be above 0"),
        ({"intrinsics": np.eye(3), "focal_px": 3.0}, "give one of them"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        recover(**{"depth": MAPS[0], **arguments})
