import csv
import io

import numpy as np
import pytest
from box_rooms import box_room

from data.user_maps.true_maps import TrueMap
from launch.evaluation import summary, tables
from launch.evaluation.cases import HINT_SIGMA, make_case
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import (
    BEST,
    COLUMNS,
    ERRORS,
    GUESS,
    HINTED,
    NOTHING,
    SOLVED_AT_ONCE,
    Methods,
    errors_of,
)
from launch.evaluation.run import EvaluatedSet, Measured
from train3d_jax.errors import UserError
from train3d_jax.evaluation import views
from train3d_jax.geometry import affine, camera
from train3d_jax.geometry.points import average_blocks
from train3d_jax.inference import recovery
from train3d_jax.inference.recovery import Known
from train3d_jax.pictures.curves import render_error_curves
from train3d_jax.pictures.figures import pixels

both_spaces = pytest.mark.parametrize("space", ["depth", "disparity"])


def room(seed=0, centre=None):
    """A room of 90 x 130 pixels whose lower left is missing; `centre` moves the principal point."""
    true, intrinsics = box_room(seed, (90, 130))
    true[60:, :40] = 0
    if centre is not None:
        intrinsics[:2, 2] = centre
    return true, intrinsics


# The protocol.


@pytest.mark.parametrize("seed", range(50))
def test_a_crop_is_inside_of_the_image_and_about_the_principal_point(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 200, 2).tolist()
    centre = rng.uniform(5, [width - 6, height - 6]).tolist()
    share = rng.uniform(0.5, 1)
    rows, columns = views.crop_window((height, width), tuple(centre), share)
    for kept, length, middle in ((rows, height, centre[1]), (columns, width, centre[0])):
        assert 0 <= kept.start < kept.stop <= length
        reach = min(middle + 0.5, length - 0.5 - middle)
        # Whole pixels: at most one less, and half of one off the centre.
        assert 2 * reach * share - 1 <= kept.stop - kept.start <= 2 * reach * share + 1e-5
        assert abs((kept.start + kept.stop - 1) / 2 - middle) <= 0.5 + 1e-9


def test_the_largest_crop_of_a_centred_image_is_the_image():
    assert views.crop_window((90, 130), (64.5, 44.5), 1.0) == (slice(0, 90), slice(0, 130))


@pytest.mark.parametrize("number", range(4))
def test_a_crop_unprojects_to_the_same_points_as_the_whole_map(number):
    true, intrinsics = room(centre=(51.3, 48.8))
    view = views.make_view(true, intrinsics, "depth", (0, 7, number))
    (left, top), (height, width) = intrinsics[:2, 2] - view.intrinsics[:2, 2], view.depth.shape
    assert left == int(left) and top == int(top)
    assert width < 130 and height < 90
    points = np.asarray(camera.unproject(true, intrinsics))
    kept = points[int(top) : int(top) + height, int(left) : int(left) + width]
    # float32 in places of up to a hundred pixels.
    np.testing.assert_allclose(camera.unproject(view.depth, view.intrinsics), kept, atol=1e-5)


def test_a_view_is_a_function_of_its_seeds():
    true, intrinsics = room()
    one, same = (views.make_view(true, intrinsics, "depth", (3, 1, 2)) for _ in range(2))
    np.testing.assert_array_equal(one.values, same.values)
    for seeds in ((4, 1, 2), (3, 2, 2), (3, 1, 3)):
        other = views.make_view(true, intrinsics, "depth", seeds)
        assert (other.share, other.scale) != (one.share, one.scale)
    whole = views.make_view(true, intrinsics, "depth", (3, 1, 2), crop=False)
    assert whole.values.shape == true.shape and whole.share == 1
    np.testing.assert_array_equal(whole.depth, true)
    np.testing.assert_array_equal(whole.values != 0, true > 0)


@both_spaces
@pytest.mark.parametrize("number", range(3))
def test_the_distortion_is_what_the_canonical_form_undoes(space, number):
    view = views.make_view(*room(), space, (0, 0, number))
    true = views.true_values(view, space)
    forms = []
    for values in (view.values, true):
        _, means, mask = average_blocks(values, values != 0)
        forms.append(affine.canonicalise(means, mask))
    distorted, straight = forms
    assert abs(float(distorted.offset - straight.offset)) > 0.01
    # Depth and its shift are about as large as the spread: float32 keeps six digits of it.
    np.testing.assert_allclose(distorted.values, straight.values, atol=1e-5)
    # And the truth is what this form says; the same quantiles, but in float64.
    truth = views.truth_of(view, space)
    assert truth.shift == pytest.approx(-float(straight.offset), abs=1e-5)
    assert truth.ratio == pytest.approx(float(affine.shift_to_ratio(truth.shift)), abs=1e-6)
    scale, offset = views.canonical_form(view.values)
    assert scale == pytest.approx(float(distorted.scale), rel=1e-5)
    assert offset == pytest.approx(float(distorted.offset), abs=1e-5)


def test_what_is_left_of_a_view_can_be_too_little():
    true, intrinsics = room()
    empty, flat = np.zeros_like(true), np.full_like(true, 2.5)
    for values in (empty, flat):
        view = views.make_view(values, intrinsics, "depth", (0, 0, 0))
        assert views.truth_of(view, "depth") is None
        assert make_case(TrueMap("x", "", values, intrinsics), view, "depth", (0, 0, 0)) is None


@both_spaces
def test_the_truth_as_an_answer_has_no_error_and_another_answer_has(space):
    true, intrinsics = room()
    # Whole, so that the principal point is in the centre to the last digit.
    view = views.make_view(true, intrinsics, space, (0, 0, 0), crop=False)
    case = make_case(TrueMap("x", "", true, intrinsics), view, space, (0, 0, 0))
    focal, shift = case.truth.focal, case.truth.shift
    answers = np.array([[focal, shift], [1.2 * focal, shift], [focal, shift + 0.2]])
    errors = np.asarray(
        errors_of(
            *answers.T, case.pixels, case.values, case.points, case.mask, case.size,
            case.intrinsics, focal, shift, space=space,
        )
    )  # fmt: skip
    found = [dict(zip(ERRORS, row, strict=True)) for row in errors]
    within = found[0].pop("points_within")
    # float32: of 130 degrees of view and of points whose shift was taken away and put back.
    assert within == 1 and max(found[0].values()) < 5e-5
    assert found[1]["focal_error"] == pytest.approx(0.2, rel=1e-5) and found[1]["shift_error"] == 0
    across = np.rad2deg(2 * np.arctan(65 / focal) - 2 * np.arctan(65 / (1.2 * focal)))
    assert found[1]["fov_error_deg"] == pytest.approx(across, rel=1e-4)
    assert found[2]["shift_error"] == pytest.approx(0.2 / (1 + shift), rel=1e-4)
    assert min(found[1]["point_error"], found[2]["point_error"]) > 0.01


def test_a_view_without_an_answer_counts_as_the_constant_guess(monkeypatch):
    cases = []
    for seed in range(3):
        view = views.make_view(*room(seed), "depth", (0, seed, 0))
        cases.append(make_case(TrueMap("x", "", *room(seed)), view, "depth", (0, seed, 0)))

    hints = []

    def recover(models, blocks, known, space, level, segments=None):
        """The truth for the first view, nothing for the second, what is far off for the third."""
        count = len(blocks.size)
        if np.any(known.focal_sigma):
            hints.append(known)
        assert count == SOLVED_AT_ONCE
        focal, shift = np.full(count, 50.0), np.full(count, 3.0)
        focal[0], shift[0] = cases[0].truth.focal, cases[0].truth.shift
        focal[1] = shift[1] = np.nan
        ends = np.array([0.9, 1.1])
        estimates = recovery.Estimates(
            ~np.isnan(focal), shift, focal, np.sort(shift[:, None] * ends), focal[:, None] * ends,
            focal[:, None] * np.array([0.9, 1.0, 1.1]), np.zeros(count, bool),
            np.ones(count), np.zeros(count), np.ones(count), {},
        )  # fmt: skip
        return {"geometric": estimates}

    monkeypatch.setattr(recovery, "recover_by_each", recover)
    methods = Methods([], "depth", len(cases))
    best = views.best_constants([case.truth for case in cases])
    tables = [
        {
            row: dict(zip(COLUMNS, values, strict=True))
            for row, values in zip(methods.rows, table.rows, strict=True)
        }
        for table in methods.measure(cases, best)
    ]
    assert methods.rows[methods.pictured] == "geometric" and len(tables) == 3
    held = [(row["geometric"]["focal_held"], row["geometric"]["shift_held"]) for row in tables]
    np.testing.assert_array_equal(held, [(1, 1), (np.nan, np.nan), (0, 0)])
    assert [row["geometric"]["solved"] for row in tables] == [1, 0, 1]
    assert tables[0]["geometric"]["fov_error_deg"] < 1e-4
    missing, guess = tables[1]["geometric"], tables[1][GUESS]
    assert [missing[name] for name in ERRORS] == [guess[name] for name in ERRORS]
    assert missing["focal_px"] == guess["focal_px"]
    assert np.isnan(tables[0][GUESS]["focal_held"]) and tables[0][NOTHING]["shift"] == 0
    # The medians of three are one of them each.
    assert min(row[BEST]["fov_error_deg"] for row in tables) < 1e-4
    assert min(row[BEST]["ratio_error"] for row in tables) < 1e-6
    [hint] = hints
    assert hint.focal_sigma == HINT_SIGMA and not hint.shift
    true = np.array([case.truth.focal for case in cases])
    assert (np.abs(np.log(hint.focal[:3] / true)) < 4 * HINT_SIGMA).all()
    # A hint is estimated on; what is given has no interval.
    assert tables[0][f"geometric, {HINTED}"]["focal_held"] == 1
    assert np.isnan(tables[0]["oracle: true focal length"]["focal_held"])
    assert np.isnan(tables[0]["oracle: true shift"]["shift_held"])


def test_the_error_of_a_hint_is_of_its_view_and_as_large_as_is_said():
    true_map = TrueMap("x", "", *room())

    def error(*seeds):
        view = views.make_view(*room(), "depth", seeds, crop=False)
        case = make_case(true_map, view, "depth", seeds)
        return np.log(case.hinted_focal / case.truth.focal)

    errors = [error(0, number, 0) for number in range(30)]
    assert errors[3] == error(0, 3, 0) and len({*errors, error(1, 3, 0), error(0, 3, 1)}) == 32
    # Of 30 draws: to a third.
    assert np.std(errors) == pytest.approx(HINT_SIGMA, rel=0.35)


def test_each_method_drops_the_hints_that_its_own_evidence_excludes(monkeypatch):
    calls = []

    def run(models, blocks, known, space, level, segments=None):
        """The second map excludes its hint for one method."""
        focal = np.broadcast_to(known.focal, 3)
        calls.append((focal, np.broadcast_to(known.focal_sigma, 3)))
        numbers = np.nan_to_num(focal, nan=80.0)
        found = {
            "solvable": np.ones(3, bool), "shift": np.ones((3, 3)),
            "focal": numbers[:, None] * [0.9, 1.0, 1.1], "focal_by_map": np.ones((3, 3)),
            "map_wins": np.zeros(3, bool), "scale": np.ones(3), "offset": np.ones(3),
            "unit": np.ones(3), "flags": {"hint_disagrees": np.zeros(3, bool)},
        }  # fmt: skip
        wins = np.array([False, np.isfinite(focal[1]), False])
        return {"geometric": found, "learned": found | {"map_wins": wins}}

    monkeypatch.setattr(recovery, "_run_by_each", run)
    blocks = recovery.make_blocks([room(seed)[0] for seed in range(3)])
    by_each = recovery.recover_by_each([], blocks, Known(50.0, HINT_SIGMA), "depth", 0)
    np.testing.assert_array_equal(by_each["geometric"].focal, 50)
    np.testing.assert_array_equal(by_each["learned"].focal, [50, 80, 50])
    for given in (by_each["learned"].map_wins, by_each["learned"].flags["hint_disagrees"]):
        np.testing.assert_array_equal(given, [False, True, False])
    assert len(calls) == 2
    np.testing.assert_allclose(calls[1][1], [HINT_SIGMA, 0, HINT_SIGMA])


def test_points_are_drawn_where_there_is_depth_and_padded_where_there_are_not_enough():
    view = views.make_view(*room(), "depth", (0, 0, 0))
    drawn, mask = views.draw_pixels(view, (0, 0, 0), 500)
    assert mask.all() and len(np.unique(drawn, axis=0)) == 500
    assert (view.depth[tuple(drawn.T)] > 0).all()
    present = int((view.depth > 0).sum())
    _, mask = views.draw_pixels(view, (0, 0, 0), present + 5)
    assert mask.sum() == present


def test_no_other_constants_have_smaller_mean_errors_than_those_in_hindsight():
    made = [views.make_view(*room(seed), "depth", (0, seed, 0)) for seed in range(7)]
    truths = [views.truth_of(view, "depth") for view in made]
    best = views.best_constants(truths)
    for name in ("fov", "ratio"):
        true = np.array([getattr(truth, name) for truth in truths])
        tried = np.linspace(true.min(), true.max(), 1000)
        errors = np.abs(true - tried[:, None]).mean(1)
        assert np.abs(true - getattr(best, name)).mean() <= errors.min() + 1e-12


# The report.


ROWS = (NOTHING, BEST, "learned")


def evaluated():
    """Two sets: of 3 views of two scenes, of 2 views of no known scene."""
    sets = []
    for name, scenes in (("known", ["a", "a", "b"]), ("unknown", ["", ""])):
        measured = []
        for number, scene in enumerate(scenes):
            table = np.full((len(ROWS), len(COLUMNS)), 0.1 * (number + 1))
            table[:, COLUMNS.index("solved")] = 1
            table[:2, -2:] = np.nan
            table[2, COLUMNS.index("point_error")] += 0.2 * (number - 1)
            table[2, COLUMNS.index("solved")] = number != 1
            table[2, -2:] = (number == 0, np.nan)
            truth = views.Truth(100, 60, 0.1, 0.4)
            measured.append(Measured(number, 0, f"m{number}", scene, 1.0, truth, table))
        constants = views.Constants(60, 0.4)
        sets.append(EvaluatedSet(name, len(scenes), 0, 0, constants, measured))
    return sets


def test_the_report_counts_scenes_what_is_unsolved_and_what_is_worse_than_constants(tmp_path):
    config = EvaluationConfig((tmp_path,), tmp_path / "out")
    output = summary.report(config, ROWS, ["m@1"], evaluated())
    known, unknown = output["data"]["known"], output["data"]["unknown"]
    assert (known["scenes"], unknown["scenes"], output["overall"]["scenes"]) == (2, 2, 4)
    learned = known["rows"]["learned"]
    # Point errors are 0.2 less, the same and 0.2 more than those of the constants.
    assert learned["worse_than_best_constants"] == pytest.approx(1 / 3)
    assert learned["unsolved"] == 1 and learned["shift_coverage"] is None
    assert learned["focal_coverage"] == pytest.approx(1 / 3)
    assert known["rows"][BEST]["errors"]["fov_error_deg"]["mean"] == pytest.approx(0.2)
    assert b"NaN" not in summary.as_json(output)
    assert str(tmp_path / "out") not in summary.as_json(output).decode()
    table = tables.as_table(output)
    # Two tables for each set, and two of all.
    assert table.count(NOTHING) == 6 and "all: 5 views, 4 scenes" in table
    rows = list(csv.DictReader(io.StringIO(summary.as_csv(ROWS, evaluated()).decode())))
    assert len(rows) == 5 * len(ROWS) and rows[0]["shift_held"] == "" and rows[2]["map"] == "m0"


def test_curves_have_a_column_of_panels_for_each_set():
    errors = {"a": {"one": [(1.0, 0.1), (3.0, 0.2)], "two": [(0.0, 0.0)]}}
    one = pixels(render_error_curves(errors))
    two = pixels(render_error_curves(errors | {"b": errors["a"]}))
    assert two.shape[1] > one.shape[1] and two.shape[0] == one.shape[0] and one.min() < 100


def test_only_what_an_evaluation_left_is_replaced(tmp_path):
    config = EvaluationConfig((tmp_path / "set",), tmp_path / "out")
    config.check_out()
    (tmp_path / "out" / "worst").mkdir(parents=True)
    config.check_out()
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        config.check_out()
    for name in ("evaluation.json", "views.csv", "worst/01_a_0.png", "worst/mine.png"):
        (tmp_path / "out" / name).touch()
    config.check_out()
    config.clear_out()
    left = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert left == {"notes.txt", "worst", "worst/mine.png"}
    with pytest.raises(UserError, match="twice"):
        EvaluationConfig((tmp_path, tmp_path / "out" / ".."), tmp_path / "new")


def test_noise_is_of_the_size_that_is_asked_for_and_part_of_the_truth():
    true, intrinsics = room()
    clean = views.make_view(true, intrinsics, "depth", (0, 0, 0))
    noisy = views.make_view(true, intrinsics, "depth", (0, 0, 0), noise=0.01)
    assert noisy.share == clean.share and noisy.scale == clean.scale
    present = clean.depth > 0
    np.testing.assert_array_equal(noisy.depth > 0, present)
    error = noisy.depth[present] / clean.depth[present] - 1
    # Of some thousand pixels: to a few per cent.
    assert 0.009 < error.std() < 0.011 and abs(error.mean()) < 1e-3
    straight = views.true_values(noisy, "depth") / noisy.scale
    np.testing.assert_allclose(straight, noisy.depth, rtol=1e-6)
    far = views.make_view(true, intrinsics, "depth", (0, 0, 0), noise=5.0)
    assert (far.depth[present] > 0).all()
