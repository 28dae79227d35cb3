"""The forms of the argument rgb: each becomes bytes, grey or RGB, or an error of one line."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from train3d_jax.api import load_model
from train3d_jax.errors import UserError
from train3d_jax.inference.rgb import pictures_of

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
GREY = PICTURE[..., 0]
MAP = np.ones((12, 16))


class Tensor:
    """As one of PyTorch on a GPU."""

    def __init__(self, values):
        self.values = values

    def detach(self):
        return self

    def cpu(self):
        return self.values


def only(rgb):
    (found,) = pictures_of(rgb, [MAP])
    return found


@pytest.mark.parametrize(
    ("rgb", "wanted"),
    [
        (PICTURE, PICTURE),
        (PICTURE.transpose(2, 0, 1), PICTURE),
        (PICTURE[None], PICTURE),
        (PICTURE.transpose(2, 0, 1)[None], PICTURE),
        ([PICTURE], PICTURE),
        ([PICTURE.transpose(2, 0, 1)[None]], PICTURE),
        (GREY, GREY),
        (GREY[None], GREY),
        (GREY[..., None], GREY),
        ([GREY[None]], GREY),
        (np.dstack([PICTURE, GREY]), PICTURE),
        (jnp.asarray(PICTURE), PICTURE),
        (Tensor(PICTURE.transpose(2, 0, 1)), PICTURE),
        (PICTURE / 255, PICTURE),
        (np.float32(PICTURE / 255).transpose(2, 0, 1), PICTURE),
        (jnp.asarray(PICTURE / 255, jnp.float32), PICTURE),
        (Image.fromarray(PICTURE), PICTURE),
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(np.dstack([PICTURE, GREY])), PICTURE),
        ([Image.fromarray(PICTURE)], PICTURE),
        (PICTURE[::2, ::-1], PICTURE[::2, ::-1]),
    ],
)
def test_a_picture_may_be_of_any_library_and_layout(rgb, wanted):
    found = only(rgb)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted)


def test_numbers_of_low_precision_keep_their_levels_nearly():
    found = only(jnp.asarray(PICTURE / 255, jnp.bfloat16))
    assert np.abs(found.astype(int) - PICTURE).max() <= 1


def test_indexed_and_two_level_images_become_colours():
    indexed = Image.fromarray(PICTURE).quantize(16)
    np.testing.assert_array_equal(only(indexed), np.asarray(indexed.convert("RGB")))
    two = Image.fromarray(GREY > 100)
    assert set(np.unique(only(two))) == {0, 255}


@pytest.mark.parametrize(
    "rgb",
    [
        np.stack([PICTURE] * 4),
        np.stack([PICTURE.transpose(2, 0, 1)] * 4),
        np.stack([GREY] * 4),
        [PICTURE] * 4,
        (PICTURE for _ in range(4)),
        (PICTURE, GREY, Image.fromarray(PICTURE), np.dstack([PICTURE, GREY])),
    ],
)
def test_several_maps_have_one_each(rgb):
    found = pictures_of(rgb, [MAP] * 4)
    assert len(found) == 4 and all(each.shape[:2] == (24, 32) for each in found)


def test_maps_may_lack_one():
    assert pictures_of(None, [MAP] * 2) == [None, None]
    none, picture = pictures_of([None, PICTURE], [MAP] * 2)
    assert none is None and picture is not None
    assert only([None]) is None


@pytest.mark.parametrize(
    ("rgb", "count", "message"),
    [
        (PICTURE, 2, "rgb: holds 1 pictures for 2 maps; give one for each"),
        ([PICTURE] * 3, 2, "rgb: holds 3 pictures for 2 maps"),
        (np.stack([PICTURE] * 3), 2, "rgb: holds 3 pictures for 2 maps"),
        ([], 1, "rgb: holds 0 pictures for 1 maps"),
        ("photo.jpg", 1, "rgb: is a path; give pixels"),
        ([PICTURE, "photo.jpg"], 2, "rgb: picture 1 is a path; give pixels"),
        (np.zeros((24, 32, 5), np.uint8), 1, r"rgb: has the shape \(24, 32, 5\); give \(H, W, 3\)"),
        (np.zeros((24, 32, 2), np.uint8), 1, r"rgb: has the shape \(24, 32, 2\)"),
        (np.zeros(5, np.uint8), 1, r"rgb: has the shape \(5,\)"),
        (np.zeros((0, 32, 3), np.uint8), 1, r"rgb: has the shape \(0, 32, 3\)"),
        (PICTURE.astype(np.uint16), 1, "rgb: holds uint16; give uint8, or floats from 0 to 1"),
        (PICTURE.astype(int), 1, "rgb: holds int64; give uint8"),
        (PICTURE > 100, 1, "rgb: holds bool; give uint8"),
        (PICTURE.astype(complex), 1, "rgb: holds complex128; give uint8"),
        (PICTURE.astype(float), 1, "rgb: holds floats from 0 to 255; give uint8, or floats"),
        (PICTURE / 255 - 0.5, 1, "rgb: holds floats from -0.5 to 0.5; give"),
        (np.full((24, 32), np.nan), 1, "rgb: holds floats from nan to nan; give"),
        (3, 1, r"rgb: has the shape \(\); give"),
        ({"rgb": PICTURE}, 1, "rgb: "),
        (Image.fromarray(GREY.astype(np.uint16)), 1, "rgb: is an image of mode I;16; give RGB"),
        (Image.fromarray(GREY.astype(np.float32)), 1, "rgb: is an image of mode F; give RGB"),
    ],
)
def test_what_is_no_picture_is_named_in_one_line(rgb, count, message):
    with pytest.raises(UserError, match=message) as error:
        pictures_of(rgb, [MAP] * count)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("lines", [True, False])
def test_a_wrong_argument_is_named_before_any_work(lines):
    model = load_model(None, space="depth")
    with pytest.raises(UserError, match="rgb: holds 2 pictures for 1 maps"):
        model.recover(MAP, rgb=[PICTURE] * 2, lines=lines)
