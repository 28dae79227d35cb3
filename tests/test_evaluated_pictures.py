"""launch.evaluate: pictures of maps are cropped as the maps are, and their lines counted."""

import cv2
import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image
from raw_files import png16, put

from data.user_maps.true_maps import TrueMap, TrueMaps
from launch.evaluation import clips, pictures, summary, tables
from launch.evaluation.cases import make_case
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import BEST, COLUMNS
from launch.evaluation.pictures import COUNTS, UNREADABLE, Picture
from launch.evaluation.run import EvaluatedSet, Measured
from train3d_jax.errors import DataError
from train3d_jax.evaluation import views
from train3d_jax.evaluation.views import Constants, Truth
from train3d_jax.lines import registration, segments
from train3d_jax.lines.pictures import OTHER_ASPECT, PictureEvidence

SIZE = (120, 160)
CORNERS = ((45, 33), (115, 33), (115, 87), (45, 87))
"""Of a rectangle (u, v), inside of every crop of half the map."""


def drawn(factor, corners=CORNERS):
    """A picture at `factor` times the map's resolution, of a filled rectangle in map pixels."""
    height, width = (round(factor * side) for side in SIZE)
    fine = np.full((8 * height, 8 * width), 60, np.uint8)
    places = np.round((np.array(corners) + 0.5) * 8 * factor).astype(np.int32)
    cv2.fillPoly(fine, [places], 200)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def view_of(number, crop=True):
    depth, intrinsics = box_room(3, SIZE)
    true_map = TrueMap("x", "", depth, intrinsics)
    return true_map, views.make_view(depth, intrinsics, "depth", (0, 0, number), crop)


@pytest.fixture
def registered(monkeypatch):
    """Drawn pictures show nothing of their maps: every one counts as registered."""
    always = registration.Registration(9.0, 0.0, (0.0, 0.0), 9.0)
    monkeypatch.setattr(registration, "measure", lambda *_: always)


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.usefixtures("registered")
def test_segments_are_those_of_the_cropped_picture(factor, number):
    true_map, view = view_of(number)
    picture = drawn(factor)
    seen = pictures.seen_in(Picture(picture), view, SIZE, "depth")
    rows, columns = (slice(factor * each.start, factor * each.stop) for each in view.window)
    alone = segments.detect(np.ascontiguousarray(picture[rows, columns]), view.values.shape)
    assert seen.state == COUNTS and view.share < 1 and seen.segments.mask.sum() >= 4
    for one, other in zip(seen.segments, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    case = make_case(true_map, view, "depth", (0, 0, number), Picture(picture))
    np.testing.assert_array_equal(case.seen.segments.ends, alone.ends)


@pytest.mark.parametrize("factor", [0.7, 1, 1.35, 3])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.usefixtures("registered")
def test_segments_of_a_crop_lie_where_they_lie_in_the_map(factor, number):
    _, view = view_of(number)
    seen = pictures.seen_in(Picture(drawn(factor)), view, SIZE, "depth")
    ends = seen.segments.ends[seen.segments.mask]
    assert len(ends) >= 4
    ends = ends + np.array([view.window[1].start, view.window[0].start])
    u, v = ends[..., 0], ends[..., 1]
    sides = np.stack([abs(u - 45), abs(u - 115), abs(v - 33), abs(v - 87)]).max(-1).min(0)
    # Borders of the crop are rounded to half a pixel of the picture; the detector is off by less.
    assert sides.max() < 0.5 / factor + 0.5


@pytest.mark.usefixtures("registered")
def test_lines_that_a_crop_cuts_off_are_not_of_its_segments():
    _, view = view_of(0)
    corner = drawn(1, ((2, 2), (14, 2), (14, 10), (2, 10)))
    whole = pictures.seen_in(Picture(corner), view_of(0, crop=False)[1], SIZE, "depth")
    cropped = pictures.seen_in(Picture(corner), view, SIZE, "depth")
    assert whole.segments.mask.any() and not cropped.segments.mask.any()


def put_map(folder, **row):
    depth, matrix = box_room(3, SIZE)
    put(folder / "0.png", png16(np.uint16(1000 * depth)))
    fx, fy, cx, cy = matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    camera = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "metres_per_unit": 0.001}
    put(folder / "manifest.json", [{"depth": "0.png", **camera, **row}])
    return TrueMaps(folder)


def read(maps, **changes):
    config = EvaluationConfig((maps.path,), maps.path / "out", **changes)
    return pictures.read_picture(config, maps, 0, maps[0])


def test_a_picture_is_found_as_its_map_is_and_only_where_lines_count(tmp_path):
    folder = tmp_path / "set"
    assert read(put_map(folder)) == read(put_map(folder, rgb=None)) == Picture()
    maps = put_map(folder, rgb="set/0.jpg")
    Image.fromarray(drawn(2)).save(folder / "0.jpg")
    assert read(maps).pixels.shape == (240, 320, 3) and read(maps).state == ""
    assert read(maps, lines=False) == Picture()


@pytest.mark.parametrize(
    ("row", "state", "problem"),
    [
        ("nowhere.png", UNREADABLE, "nowhere.png: is missing"),
        ("text.png", UNREADABLE, "text.png: is not a readable picture"),
        (300 * "a" + ".png", UNREADABLE, ""),
        (3, UNREADABLE, "row 1 names no file as its rgb"),
        ("wide.png", OTHER_ASPECT, "wide.png: of 200x120 pixels, has another aspect ratio"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named_and_the_map_stays(tmp_path, row, state, problem):
    put(tmp_path / "text.png", b"no image")
    Image.fromarray(np.zeros((120, 200), np.uint8)).save(tmp_path / "wide.png")
    maps = put_map(tmp_path, rgb=row)
    found = read(maps)
    assert found.pixels is None and found.state == state
    assert problem in found.problem and len(found.problem.splitlines()) == 1
    true_map, view = view_of(0)
    case = make_case(true_map, view, "depth", (0, 0, 0), found)
    assert case.seen == (None, state)
    if row == 3:
        with pytest.raises(DataError, match="row 1 names no file as its rgb"):
            maps.picture(0)


# The report.


ROWS = (BEST, "learned")


def measured(number, without, given=None, picture=""):
    """A view whose errors of the field of view are `without` lines and `given` them, degrees."""
    table = np.full((2, len(COLUMNS)), 0.5)
    place = COLUMNS.index("fov_error_deg")
    table[1, place] = without
    lines = {}
    if given is not None:
        lines["learned"] = table[1].copy()
        lines["learned"][place] = given
        picture = COUNTS
    truth = Truth(100, 60, 0.1, 0.4)
    return Measured(number, 0, f"m{number}", f"s{number}", 1.0, truth, table, lines, picture)


def reported(tmp_path, *seen):
    result = EvaluatedSet("rooms", len(seen), 0, 0, Constants(60, 0.4), list(seen))
    config = EvaluationConfig((tmp_path,), tmp_path / "out")
    return summary.report(config, ROWS, [], [result]), result


def test_lines_are_compared_on_the_views_whose_picture_counts(tmp_path):
    report, result = reported(
        tmp_path,
        *(measured(number, 5.0, 4.0) for number in range(8)),
        measured(8, 3.0, 6.0),
        measured(9, 3.0, 4.5),
        measured(10, 90.0),
        measured(11, 90.0, picture=UNREADABLE),
    )
    part = report["data"]["rooms"]["lines"]
    assert (part["views"], part["maps"], part["scenes"]) == (10, 10, 10)
    assert part["views_left_out"] == {UNREADABLE: 1} and part["unreadable_pictures"] == 1
    assert [*part["rows"]] == ["learned", "learned, lines"]
    means = [row["errors"]["fov_error_deg"]["mean"] for row in part["rows"].values()]
    np.testing.assert_allclose(means, [4.6, 4.25])
    change = part["differences"]["learned"]
    assert change["fov_error_deg"]["mean"] == pytest.approx(-0.35)
    low, high = change["fov_error_deg"]["mean_interval"]
    assert -1 <= low < -0.35 < high < 3 and change["point_error"]["mean"] == 0
    assert change["worse"] == pytest.approx(0.1)  # the 1.5 degrees of another are no harm yet
    assert "learned, lines" not in report["data"]["rooms"]["rows"]
    assert report["overall"]["lines"]["differences"] == part["differences"]
    table = tables.as_table(report)
    assert "rooms, lines: 10 views of 10 maps whose picture counts, 10 scenes" in table
    assert "worse by more than 2 degrees in 10 % of the views" in table
    assert f"views whose picture does not count: 1 {UNREADABLE}" in table
    lines = summary.as_csv(ROWS, [result]).decode().splitlines()
    assert len(lines) == 1 + 12 * len(ROWS) + 10


def test_nothing_is_said_of_lines_without_pictures_and_little_where_none_counts(tmp_path):
    report, _ = reported(tmp_path, measured(0, 5.0))
    assert "lines" not in report["overall"] and ", lines" not in tables.as_table(report)
    report, _ = reported(tmp_path, measured(0, 5.0, picture=OTHER_ASPECT))
    assert "0 views of 0 maps whose picture counts" in tables.as_table(report)
    assert f"1 {OTHER_ASPECT}" in tables.as_table(report)


def test_a_clip_is_pooled_with_lines_beside_without_them(tmp_path, monkeypatch):
    class Votes:
        """In the place of `Methods`: a vote of each map, and two of each picture."""

        calls = 0

        def focal_evidence(self, blocks, given=None):
            self.calls += 1
            found = 0 if given is None else sum(2 for each in given if each is not None)
            return np.full(1, len(blocks) + found), len(blocks)

    monkeypatch.setattr(clips, "shared_focal", lambda total, *_: (float(total[0]), (60.0, 80.0)))
    monkeypatch.setattr(pictures, "evidence_of", lambda *_: PictureEvidence(segments.none()))
    true_map, _ = view_of(0)
    camera = clips.camera_of(true_map._replace(scene="hall"))
    clip = clips.Clip(camera, tuple(range(20)))
    config = EvaluationConfig((tmp_path,), tmp_path / "out", crops=1)
    methods = Votes()
    pool = clips.Pool(config, clip, 0, methods)
    for number in range(20):
        picture = Picture(drawn(1)) if number < 3 else Picture()
        [member] = clips.members_of(config, clip, true_map, number, picture)
        pool.add(member)
    without, with_lines = pool.results()
    assert (without.focal, without.pictures) == (20, 0)
    assert (with_lines.focal, with_lines.pictures, with_lines.maps) == (26, 3, 20)
    assert methods.calls == 3  # the second batch has no picture
    part = summary.report(
        config, ROWS, [], [
            EvaluatedSet("rooms", 1, 0, 0, Constants(60, 0.4), [measured(0, 5.0, 4.0)],
                         [without, with_lines])
        ],
    )["data"]["rooms"]  # fmt: skip
    assert part["clips"]["views"] == part["lines"]["clips"]["views"] == 1
    assert part["lines"]["clips"]["each"][0]["pictures"] == 3
    before = part["clips"]["fov_error_deg"]
    assert part["lines"]["clips"]["without_lines"] == before
    assert part["lines"]["clips"]["fov_error_deg"] != before
