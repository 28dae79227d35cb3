"""Focal lengths that cameras write into their pictures."""

import math

import numpy as np
import pytest
from broken_files import spoil
from PIL import ExifTags, Image, TiffImagePlugin

import train3d_jax
from train3d_jax.errors import DataError, UserError
from train3d_jax.formats import exif
from train3d_jax.formats.exif import exif_focal
from train3d_jax.formats.pictures import read_colours
from train3d_jax.geometry.camera import focal_to_degrees
from train3d_jax.geometry.intrinsics import MAX_FIELD_OF_VIEW_DEG, MIN_FIELD_OF_VIEW_DEG

# pytest sets the filters of formats.pictures aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

TAGS = ExifTags.Base
F35, FOCAL, ZOOM = TAGS.FocalLengthIn35mmFilm, TAGS.FocalLength, TAGS.DigitalZoomRatio
WIDTH, HEIGHT, TURN = TAGS.ExifImageWidth, TAGS.ExifImageHeight, TAGS.Orientation
PLANE_X, PLANE_Y = TAGS.FocalPlaneXResolution, TAGS.FocalPlaneYResolution
PLANE_UNIT = TAGS.FocalPlaneResolutionUnit
EXACT = 0.03


def photo(path, tags, size=(400, 300)):
    """A picture of `size` (W, H) with EXIF; the orientation is in the first directory."""
    written = Image.Exif()
    written[TAGS.Make] = "ours"
    inner = written.get_ifd(ExifTags.IFD.Exif)
    for tag, value in tags.items():
        (written if tag == TURN else inner)[tag] = value
    picture = Image.new("RGB", size, (200, 10, 10))
    picture.putpixel((0, 0), (0, 0, 255))
    picture.save(path, exif=written.tobytes())
    return path


def test_the_equivalent_is_of_the_diagonal(tmp_path):
    path = photo(tmp_path / "a.jpg", {F35: 26, WIDTH: 4000, HEIGHT: 3000})
    found = exif_focal(path, (300, 400))
    assert found is not None
    assert found.focal_px == pytest.approx(26 * 500 / 43.2666, rel=1e-5)
    assert EXACT < found.sigma < 0.035  # and 26 is rounded
    assert train3d_jax.exif_focal is exif_focal
    focal, sigma = found
    assert (focal, sigma) == found


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_each_kind_of_picture_and_a_map_of_any_resolution(tmp_path, suffix):
    path = photo(tmp_path / f"a.{suffix}", {F35: 50})
    for scale in (1, 0.5, 3):
        found = exif_focal(str(path), (round(300 * scale), round(400 * scale)))
        assert found is not None and found.sigma < 0.035
        assert found.focal_px == pytest.approx(50 * 500 * scale / 43.2666, rel=1e-5)


@pytest.mark.parametrize("size", [(300, 400), (400, 300)])
def test_a_turned_picture_has_the_same_diagonal(tmp_path, size):
    path = photo(tmp_path / "a.jpg", {F35: 26, TURN: 6, WIDTH: 4000, HEIGHT: 3000})
    found = exif_focal(path, size)  # upright, or of a reader that ignored the tag
    assert found is not None and found.sigma < 0.035
    assert found.focal_px == pytest.approx(26 * 500 / 43.2666, rel=1e-5)


@pytest.mark.parametrize(
    ("tags", "size", "map_size"),
    [
        ({WIDTH: 4000, HEIGHT: 3000}, (400, 225), (225, 400)),  # cut to 16:9
        ({WIDTH: 4000, HEIGHT: 3000}, (400, 300), (225, 400)),  # the map was
        ({}, (400, 300), (300, 300)),
    ],
)
def test_a_crop_is_taken_as_the_largest_of_its_shape_and_widens(tmp_path, tags, size, map_size):
    found = exif_focal(photo(tmp_path / "a.jpg", {F35: 26, **tags}, size), map_size)
    assert found is not None and 0.2 < found.sigma < 0.22
    assert found.focal_px == pytest.approx(26 * 500 / 43.2666, rel=1e-5)


def test_a_ratio_of_no_sensor_widens_a_little(tmp_path):
    path = photo(tmp_path / "a.jpg", {F35: 26, WIDTH: 4000, HEIGHT: 2250}, (400, 225))
    found = exif_focal(path, (225, 400))
    assert found is not None and 0.05 < found.sigma < 0.07


def test_millimetres_and_the_resolution_of_the_sensor(tmp_path):
    # A full frame of 36 mm with 6000 pixels, in each unit; the picture was made smaller.
    for unit, per_unit in ((2, 6000 / 36 * 25.4), (3, 6000 / 36 * 10), (None, 6000 / 36 * 25.4)):
        tags = {FOCAL: 35.0, PLANE_X: per_unit, PLANE_Y: per_unit, WIDTH: 6000, HEIGHT: 4000}
        tags |= {} if unit is None else {PLANE_UNIT: unit}
        found = exif_focal(photo(tmp_path / "a.jpg", tags, (600, 400)), (400, 600))
        assert found is not None and found.sigma == pytest.approx(EXACT)
        assert found.focal_px == pytest.approx(35 / 36 * 600, rel=1e-3)
        del tags[WIDTH], tags[HEIGHT]
        tags |= {PLANE_X: per_unit / 10, PLANE_Y: per_unit / 10}  # of the smaller picture
        found = exif_focal(photo(tmp_path / "a.jpg", tags, (600, 400)), (400, 600))
        assert found is not None and found.sigma > 0.2  # which it need not be
        assert found.focal_px == pytest.approx(35 / 36 * 600, rel=1e-3)


def test_digital_zoom_counts_once(tmp_path):
    def focal(tags):
        found = exif_focal(photo(tmp_path / "a.jpg", tags), (300, 400))
        assert found is not None
        return found.focal_px * 43.2666 / 500, found.sigma

    sensor = {FOCAL: 4.0, PLANE_X: 1000.0, PLANE_UNIT: 4, WIDTH: 4000, HEIGHT: 3000, ZOOM: 2.0}
    by_sensor = 4 * 43.2666 / 5
    assert focal(sensor) == (pytest.approx(2 * by_sensor, rel=1e-4), pytest.approx(EXACT))
    assert focal({F35: 35, **sensor})[0] == pytest.approx(70, rel=1e-4)  # of the lens alone
    assert focal({F35: 69, **sensor})[0] == pytest.approx(69, rel=1e-4)  # contains it
    middle, sigma = focal({F35: 30, ZOOM: 2.0})  # either
    assert middle == pytest.approx(30 * math.sqrt(2), rel=1e-4) and sigma > math.log(2) / 2
    assert focal({F35: 30, ZOOM: 0.0})[0] == pytest.approx(30, rel=1e-4)


def test_nothing_is_said(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.png")
    Image.new("RGB", (4, 3)).save(tmp_path / "plain.jpg")
    photo(tmp_path / "turned.jpg", {TURN: 6})
    photo(tmp_path / "no_sensor.jpg", {FOCAL: 4.2})
    for name in ("plain.png", "plain.jpg", "turned.jpg", "no_sensor.jpg"):
        assert exif_focal(tmp_path / name, (3, 4)) is None


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({F35: 0}, "of 0 mm"),
        ({FOCAL: 0.0}, "of 0 mm"),
        ({FOCAL: TiffImagePlugin.IFDRational(0, 0)}, "no number"),
        ({F35: 1}, "1 mm .35 mm equivalent., not 2.8 to 2479"),
        ({F35: 60000}, "60000 mm"),
        ({F35: 26, ZOOM: 5000.0}, "digital zoom of 5000"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, tags, reason):
    path = photo(tmp_path / "a.jpg", tags)
    with pytest.raises(UserError, match=rf"a\.jpg: .*{reason}") as error:
        exif_focal(path, (300, 400))
    assert "\n" not in str(error.value)


def test_the_range_is_that_of_the_project():
    for millimetres, fov in (
        (exif._SHORTEST, MAX_FIELD_OF_VIEW_DEG),
        (exif._LONGEST, MIN_FIELD_OF_VIEW_DEG),
    ):
        assert focal_to_degrees(millimetres, math.hypot(36, 24)) == pytest.approx(fov)


def test_spoilt_pictures_are_read_or_refused_in_one_line(tmp_path, capfd):
    tags = {F35: 26, FOCAL: 4.0, PLANE_X: 1000.0, WIDTH: 4000, HEIGHT: 3000, ZOOM: 1.5, TURN: 6}
    rng = np.random.default_rng(0)
    for suffix in ("jpg", "png", "tif"):
        path = photo(tmp_path / f"a.{suffix}", tags, (40, 30))
        contents = path.read_bytes()
        said = 0
        for _ in range(60):
            path.write_bytes(spoil(contents, rng))
            try:
                found = exif_focal(path, (30, 40))
                assert found is None or (found.focal_px > 0 and 0 < found.sigma < 3)
                said += found is not None
            except DataError as error:
                assert path.name in str(error) and "\n" not in str(error)
        assert said > 5, suffix
    assert capfd.readouterr() == ("", "")
    with pytest.raises(DataError, match=r"none\.jpg: cannot be read"):
        exif_focal(tmp_path / "none.jpg", (3, 4))


def test_colours_are_turned_as_their_camera_was(tmp_path):
    upright = read_colours(photo(tmp_path / "a.png", {TURN: 6}, (4, 3)))
    assert upright.shape == (4, 3, 3)
    np.testing.assert_array_equal(upright[0, 2], [0, 0, 255])  # was at the top on the left
    assert read_colours(photo(tmp_path / "b.png", {TURN: 99}, (4, 3))).shape == (3, 4, 3)
