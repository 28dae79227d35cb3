"""Lines of pictures as they are drawn: on a sheet, and by themselves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.user_maps.depth_files import DepthFile
from data.user_maps.hints import CameraHint
from launch.recovery.line_pictures import picture_lines as picture_lines_of
from launch.recovery.pictures import Colours
from launch.recovery.recovered import Map
from train3d_jax.geometry import clouds
from train3d_jax.geometry.camera import centred_intrinsics, intrinsics_matrix
from train3d_jax.inference.estimates import LineFindings
from train3d_jax.lines import segments as of_pictures
from train3d_jax.pictures import line_drawings
from train3d_jax.pictures.line_drawings import COLOURS, NAMES, OTHER, PictureLines, draw_lines
from train3d_jax.pictures.shapes import Shape
from train3d_jax.pictures.sheets import draw_sheet

SIZE = (96, 128)
CAMERA = centred_intrinsics(100.0, *SIZE)
UPRIGHT = np.eye(3)
ENDS = np.array([[[20, 30], [60, 30]], [[40, 40], [40, 80]], [[70, 20], [110, 20]]], float)

CONFUSIONS = {
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""What linear colours look like to the colour-blind: Machado et al., TVCG 2009, severity 1."""


def picture_lines(directions=UPRIGHT, ends=ENDS, axis=(0, 1, -1), **changes):
    white = np.full((*SIZE, 3), 255, np.uint8)
    lines = PictureLines(
        white, SIZE, CAMERA, np.asarray(ends, float), directions, np.array(axis), UPRIGHT[1], 0.8,
        3.2, 0.75,
    )  # fmt: skip
    return lines._replace(**changes)


def drawn(lines, scale=4):
    return np.asarray(draw_lines(lines, scale * SIZE[1])).astype(int)


def is_painted(image, colour):
    return (np.abs(image - colour) < 30).all(-1)


def test_segments_are_drawn_where_they_are_in_the_colours_of_their_directions():
    scale = 4
    image = drawn(picture_lines(directions=UPRIGHT[:, [0, 1, 2]]), scale)
    for number, colour in enumerate((COLOURS[0], COLOURS[1], OTHER)):
        rows, columns = np.nonzero(is_painted(image[: 90 * scale, : 112 * scale], colour))
        keep = np.ones(len(rows), bool)
        if number == 2:  # the frame's dial has this colour as well, below
            keep = rows < 24 * scale
        middle = np.array([columns[keep].mean(), rows[keep].mean()])
        # Centres of pixels lie at integers, in the map and in the drawing.
        expected = (ENDS[number].mean(0) + 0.5) * scale - 0.5
        np.testing.assert_allclose(middle, expected, atol=0.6)
        extent = max(np.ptp(columns[keep]), np.ptp(rows[keep]))
        assert extent == pytest.approx(40 * scale, abs=2)


def test_the_size_of_the_picture_does_not_move_its_segments():
    fine = picture_lines(pixels=np.full((4 * SIZE[0], 4 * SIZE[1], 3), 255, np.uint8))
    np.testing.assert_array_equal(drawn(fine), drawn(picture_lines()))


def test_segments_of_pixels_that_are_not_square_come_back_to_where_they_were_found():
    known = intrinsics_matrix(90.0, 120.0, 60.0, 40.0)
    squared = clouds.in_square_pixels(ENDS, known)
    assert np.abs(squared - ENDS).max() > 1
    np.testing.assert_allclose(clouds.from_square_pixels(squared, known), ENDS, atol=1e-4)


def test_a_vanishing_point_near_the_picture_is_a_cross_and_makes_room_for_itself():
    centre = drawn(picture_lines(axis=(-1, -1, -1)))
    assert centre.shape[:2] == (4 * SIZE[0], 4 * SIZE[1])
    rows, columns = np.nonzero(is_painted(centre, COLOURS[2]))
    np.testing.assert_allclose(
        [rows.mean(), columns.mean()], [4 * 47.5 + 1.5, 4 * 63.5 + 1.5], atol=1
    )
    # Looks down by atan(0.6): ahead vanishes 60 pixels above the centre, 12 above the picture.
    down = np.arctan(0.6)
    turn = np.array([[1, 0, 0], [0, np.cos(down), -np.sin(down)], [0, np.sin(down), np.cos(down)]])
    above = drawn(picture_lines(directions=turn.T, axis=(-1, -1, -1)))
    assert above.shape[1] == 4 * SIZE[1] and above.shape[0] > 4 * SIZE[0] + 40
    rows, _ = np.nonzero(is_painted(above, COLOURS[2]))
    picture_top = above.shape[0] - 4 * SIZE[0]
    assert picture_top - rows.mean() == pytest.approx(4 * 12, abs=2)


def test_directions_are_named_after_the_axes_of_the_camera_whatever_their_order():
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        assert line_drawings.names_of(-UPRIGHT[order]) == tuple(order)
    lines = picture_lines(directions=UPRIGHT[[1, 2, 0]], axis=(0, 0, -1))
    assert lines.counts() == [(NAMES[1], COLOURS[1], 2), ("other", OTHER, 1)]


def test_a_map_whose_directions_are_unknown_has_grey_segments_and_no_dial():
    nothing = picture_lines(
        directions=np.full((3, 3), np.nan), axis=(-1, -1, -1), gravity=np.full(3, np.nan)
    )
    image = drawn(nothing)
    assert not any(is_painted(image, colour).any() for colour in COLOURS)
    assert is_painted(image, OTHER).any() and not (image.max(-1) > 200).any()
    assert nothing.held() == ""


def test_captions_say_what_lines_added_and_how_the_camera_is_held():
    lines = picture_lines(gravity=np.array([0.0, np.cos(0.1), np.sin(0.1)]))
    assert lines.told() == "lines: 3.20 nats of the focal length, 0.75 of the shift"
    assert lines.held() == "roll 0.0, pitch -5.7 degrees (sigma 0.8)"
    assert lines._replace(focal_nats=np.nan).told() == ""


def test_the_arrow_points_down_as_gravity_does():
    for towards in ([0, 1, 0], [0.6, 0.8, 0], [-0.6, 0.8, 0]):
        image = drawn(picture_lines(gravity=np.array(towards), axis=(-1,) * 3))
        rows, columns = np.nonzero((image > 240).all(-1))  # the arrow's head is its heaviest end
        radius = line_drawings._DIAL * image.shape[1]
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        centre = np.array(image.shape[1::-1]) - 1.4 * radius
        offset = np.array([x, y]) - centre
        assert offset @ np.array(towards[:2]) > 0.9 * np.linalg.norm(offset) > 3


@pytest.mark.parametrize("confusion", [*CONFUSIONS, "none"])
def test_the_colour_blind_tell_the_directions_apart(confusion):
    matrix = np.array(CONFUSIONS.get(confusion, np.eye(3)))
    to_xyz = np.array([[0.412, 0.358, 0.181], [0.213, 0.715, 0.072], [0.019, 0.119, 0.951]])
    linear = (np.array([*COLOURS, OTHER]) / 255) ** 2.2 @ matrix.T
    x, y, z = np.cbrt(np.clip(linear, 0, 1) @ to_xyz.T / [0.951, 1, 1.089]).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)
    assert min(apart[0, 1], apart[0, 2], apart[1, 2]) > 50
    assert apart[:3, 3].min() > 25


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1)])
def test_pictures_of_any_size_are_drawn(size):
    lines = picture_lines(
        size=size, pixels=np.zeros((*size, 3), np.uint8), intrinsics=centred_intrinsics(9.0, *size)
    )
    assert draw_lines(lines, 540, 720).height <= 730


def test_a_sheet_has_one_more_column_for_lines_and_is_else_the_same(tmp_path):
    depth = np.linspace(1, 2, SIZE[0] * SIZE[1]).reshape(SIZE)
    shape, colours = Shape(depth, CAMERA), np.full((*SIZE, 3), 90, np.uint8)
    sheets = {}
    for name, lines in (("without", None), ("with", picture_lines())):
        path = tmp_path / f"{name}.png"
        draw_sheet(path, depth, shape, shape, "a title", colours, lines)
        with Image.open(path) as image:
            sheets[name] = np.asarray(image.convert("RGB")).astype(int)
    height, width = sheets["without"].shape[:2]
    same = 3 * (width - 12) // 4  # without the surfaces, which get the directions of lines
    np.testing.assert_array_equal(sheets["with"][:height, :same], sheets["without"][:, :same])
    more = sheets["with"][:, width:]
    for colour in COLOURS:
        assert is_painted(more, colour).any()
        assert not is_painted(sheets["without"][:, :same], colour).any()


def test_segments_follow_what_is_known_of_the_camera_and_are_drawn_where_they_were_found():
    """At the picture's own size, of pixels that are not square."""
    segments, count = of_pictures.none(), len(ENDS)
    segments.ends[:count], segments.mask[:count] = ENDS, True
    colours = Colours(Path("none.png"), SIZE, np.zeros((*SIZE, 3), np.uint8))
    shown = Map(DepthFile(Path(), "a.npy", "a"), np.ones(SIZE), None)
    shown = shown._replace(colours=colours, segments=segments)
    axis = np.full(of_pictures.MOST, -1)
    axis[:count] = 0, 1, 2
    findings = LineFindings(*map(np.float32, (1, 2)), UPRIGHT, axis, UPRIGHT[1], np.float32(0.5))
    for matrix in (intrinsics_matrix(90.0, 120.0, 60.0, 40.0), CAMERA):
        hint = CameraHint("flag", "--intrinsics", matrix, 0.0)
        shown = shown.with_hints((hint,))
        expected = clouds.in_square_pixels(ENDS, matrix)
        np.testing.assert_allclose(shown.segments.ends[:count], expected, atol=1e-4)
        lines = picture_lines_of(shown, 60.0, findings)
        np.testing.assert_allclose(lines.ends, ENDS, atol=1e-4)
        assert lines.intrinsics[0, 0] == pytest.approx(60.0 * matrix[0, 0] / matrix[1, 1])
        assert list(lines.axis) == [0, 1, 2] and lines.focal_nats == 1
    assert np.isnan(picture_lines_of(shown, 60.0, None).directions).all()
    assert picture_lines_of(shown._replace(segments=None), 60.0, findings) is None
