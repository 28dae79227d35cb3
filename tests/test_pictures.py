import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image

from train3d_jax.geometry.camera import centred_intrinsics
from train3d_jax.pictures.shapes import Shape
from train3d_jax.pictures.sheets import draw_sheet
from train3d_jax.pictures.turntables import draw_turntable

DEPTH, INTRINSICS = box_room(0)
AFTER = Shape(DEPTH, INTRINSICS)
BEFORE = Shape(DEPTH + 2, centred_intrinsics(60.0, *DEPTH.shape))
PAPER = 255


def drawn(path, values=DEPTH, before=BEFORE, after=AFTER, colours=None):
    draw_sheet(path, values, before, after, "a title", colours)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def columns_of(sheet):
    """Before and after, the second and the third of four columns, without the heads."""
    column = (sheet.shape[1] - 12) // 4
    return sheet[60:, 12 + column : 2 * column], sheet[60:, 12 + 2 * column : 3 * column]


def test_a_sheet_shows_both_clouds_and_what_differs_between_them(tmp_path):
    sheet = drawn(tmp_path / "a.png")
    for part in columns_of(sheet):
        assert 0.02 < (part < PAPER).any(-1).mean() < 0.9
    same = drawn(tmp_path / "b.png", before=AFTER)
    before, after = columns_of(same)
    width = min(before.shape[1], after.shape[1])
    assert (before[:, :width] == after[:, :width]).mean() > 0.99
    assert same.shape != sheet.shape or (same != sheet).any()


def test_colours_come_from_the_image_where_there_is_one(tmp_path):
    red = np.zeros((*DEPTH.shape, 3), np.uint8)
    red[..., 0] = 200
    for part in columns_of(drawn(tmp_path / "a.png", colours=red)):
        painted = part[(part.max(-1) - part.min(-1)) > 30].astype(int)  # not paper, lines or text
        assert len(painted) > 1000 and (painted[:, 0] > painted[:, 1] + 20).all()


def test_a_wall_seen_edge_on_is_a_line_from_above(tmp_path):
    wall = Shape(np.full((60, 80), 2.0), centred_intrinsics(60.0, 60, 80))
    sheet = drawn(tmp_path / "a.png", wall.depth, wall, wall)
    _, after = columns_of(sheet)
    dark = (after.max(-1).astype(int) < 225) & (after.max(-1) > 60)  # neither paper nor camera
    rows = np.flatnonzero(dark.sum(1) > 100)
    above = rows[rows < after.shape[0] // 2 + 40]
    assert 1 <= len(above) <= 6


def test_missing_pixels_are_grey_in_the_map_and_leave_no_points(tmp_path):
    holed = np.where(np.arange(DEPTH.shape[1]) < 40, 0, DEPTH)
    sheet = drawn(
        tmp_path / "a.png", holed, AFTER._replace(depth=holed), AFTER._replace(depth=holed)
    )
    assert (sheet[80:200, 20:100] == 235).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
def test_maps_of_any_size_are_drawn(tmp_path, shape):
    tiny = Shape(np.linspace(1, 2, np.prod(shape)).reshape(shape), centred_intrinsics(10.0, *shape))
    drawn(tmp_path / "a.png", tiny.depth, tiny, tiny)
    empty = tiny._replace(depth=np.zeros(shape))
    drawn(tmp_path / "b.png", np.zeros(shape), tiny, empty)
    draw_turntable(tmp_path / "a.gif", tiny, empty)


def test_a_turntable_turns_for_ever_and_ends_where_it_began(tmp_path):
    draw_turntable(tmp_path / "a.gif", BEFORE, AFTER)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
    assert len(frames) > 20
    # The file may leave frames out that repeat the one before: first and last are neighbours.
    assert np.abs(frames[0] - frames[-1]).mean() < 5
    assert np.abs(frames[0] - frames[len(frames) // 2]).mean() > 5
    left, right = np.split(frames[5], 2, axis=1)
    assert np.abs(left - right).mean() > 5


def test_nearer_points_cover_farther_ones(tmp_path):
    depth = np.full((60, 80), 4.0)
    depth[20:40, 30:50] = 2.0
    colours = np.full((60, 80, 3), 220, np.uint8)
    colours[20:40, 30:50] = [220, 0, 0]
    shape = Shape(depth, centred_intrinsics(60.0, *depth.shape))
    draw_turntable(tmp_path / "a.gif", shape, shape, colours)
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(10)
        frame = np.asarray(image.convert("RGB")).astype(int)
    red = frame[..., 0] - frame[..., 1] > 100
    v, u = np.nonzero(red[:, :320])
    inside = red[v.min() + 4 : v.max() - 3, u.min() + 6 : u.max() - 5]
    assert inside.mean() > 0.9
