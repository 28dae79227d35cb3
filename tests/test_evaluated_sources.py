"""launch.evaluate: aggregates by source of the maps, and flags of uncertain focal lengths."""

import csv
import io

import numpy as np
import pytest
from box_rooms import box_room

from data.user_maps.true_maps import TrueMap
from launch.evaluation import shards, summary, tables
from launch.evaluation.cases import make_case
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import BEST, COLUMNS, HINTED, best_method
from launch.evaluation.pictures import COUNTS
from launch.evaluation.run import EvaluatedSet, Measured
from launch.recovery.shards import Shard
from train3d_jax.evaluation import views
from train3d_jax.evaluation.views import Constants, Truth

ROWS = (BEST, "learned", f"learned, {HINTED}")


def measured(map_number, source, fov_error, focal=100.0, factor=1.5, held=1.0, lines=None):
    """A view of a map with a true focal length of 100 pixels."""
    table = np.full((len(ROWS), len(COLUMNS)), 0.5)
    table[0, -2:] = table[0, COLUMNS.index("focal_interval_factor")] = np.nan
    for name, value in (
        ("fov_error_deg", fov_error),
        ("focal_px", focal),
        ("focal_interval_factor", factor),
        ("focal_held", held),
        ("solved", 1.0),
    ):
        table[1, COLUMNS.index(name)] = value
    given = {}
    if lines is not None:
        given["learned"] = table[1].copy()
        given["learned"][COLUMNS.index("fov_error_deg")] = lines
    truth = Truth(100, 60, 0.1, 0.4)
    picture = COUNTS if given else ""
    name, scene = f"m{map_number}", f"s{map_number}"
    return Measured(map_number, 0, name, scene, 1.0, truth, table, given, picture, source)


def evaluated(*seen):
    return EvaluatedSet("maps", len(seen), 0, 0, Constants(60, 0.4), list(seen))


def reported(tmp_path, *seen):
    config = EvaluationConfig((tmp_path,), tmp_path / "out")
    return summary.report(config, ROWS, [], [evaluated(*seen)])


def test_the_best_method_is_aggregated_by_source(tmp_path):
    report = reported(
        tmp_path,
        measured(0, "few", 9.0),
        measured(1, "many", 2.0, focal=90.0),
        measured(2, "many", 6.0, focal=120.0, held=0.0),
        measured(2, "many", 1.0, focal=90.0)._replace(view_number=1),
        measured(3, "", 3.0, held=np.nan),
    )
    assert best_method(ROWS) == "learned"
    assert [*report["data"]["maps"]["sources"]] == ["learned"] and "sources" not in report[
        "overall"
    ]
    found = report["data"]["maps"]["sources"]["learned"]
    assert [*found] == ["many", "few", "no source"]  # most maps first
    many = found["many"]
    assert (many["maps"], many["views"]) == (2, 3)
    assert many["fov_error_deg"] == {"mean": 3, "median": 2}
    # A shorter focal length than the true one is a wider view.
    assert many["signed_fov_error_deg"] == -1 and found["few"]["signed_fov_error_deg"] == 0
    assert many["focal_coverage"] == pytest.approx(2 / 3)
    assert found["no source"]["focal_coverage"] is None
    table = tables.as_table(report)
    [line] = [line for line in table.splitlines() if line.startswith("many ")]
    assert line.split() == ["many", "2", "3", "3.0", "/", "2.0", "-1.0", "50.0", "67/50"]


def test_sources_with_lines_are_those_of_the_views_whose_picture_counts(tmp_path):
    report = reported(
        tmp_path,
        measured(0, "a", 9.0, lines=4.0),
        measured(1, "a", 20.0),
        measured(2, "b", 5.0, lines=3.0),
        measured(3, "c", 5.0),
    )
    part = report["data"]["maps"]
    assert [*part["sources"]["learned"]] == ["a", "b", "c"]
    found = part["lines"]["sources"]
    means = {
        row: [each["fov_error_deg"]["mean"] for each in sources.values()]
        for row, sources in found.items()
    }
    assert means == {"learned": [9, 5], "learned, lines": [4, 3]}
    assert [*found["learned"]] == ["a", "b"]
    table = tables.as_table(report)
    assert "maps, lines, learned by source; below it learned, lines" in table
    assert sum(line.startswith("  lines ") for line in table.splitlines()) == 2


def test_maps_without_a_source_have_no_rows_of_sources(tmp_path):
    report = reported(tmp_path, measured(0, "", 9.0, lines=4.0))
    assert "sources" not in report["data"]["maps"]
    assert "sources" not in report["data"]["maps"]["lines"]
    assert "by source" not in tables.as_table(report)


def test_the_source_of_a_map_reaches_every_line_of_its_views_and_shards(tmp_path):
    true_map = TrueMap("x", "", *box_room(3, (60, 80)), "a/b")
    view = views.make_view(true_map.depth, true_map.intrinsics, "depth", (0, 0, 0))
    assert make_case(true_map, view, "depth", (0, 0, 0)).source == "a/b"
    result = evaluated(measured(0, "a/b", 1.0))
    lines = csv.DictReader(io.StringIO(summary.as_csv(ROWS, [result]).decode()))
    assert [line["source"] for line in lines] == ["a/b"] * len(ROWS)
    config = EvaluationConfig((tmp_path,), tmp_path / "out")
    shards.save(config, Shard(1, 1), [], [result])
    assert shards.load(config, [])[0].views[0].source == "a/b"


def test_flags_of_uncertain_focal_lengths_are_compared_with_errors(tmp_path):
    seen = [measured(n, "", float(n), factor=2.1 if n in (1, 17, 19) else 1.9) for n in range(20)]
    report = reported(tmp_path, *seen)
    rows = report["data"]["maps"]["rows"]
    assert rows["learned"]["focal_uncertain"] == {
        "all": 0.15, "worst_tenth": 0.5, "better_half": 0.1
    }  # fmt: skip
    assert rows[BEST]["focal_uncertain"] is None and report["uncertain_factor"] == 2
    table = tables.as_table(report)
    angles = table[table.index("focal_uncertain") :]
    [line] = [line for line in angles.splitlines() if line.startswith("learned  ")]
    assert line.split()[-1] == "50/10"


def test_the_report_has_the_area_under_recall_of_both_fields_of_view(tmp_path):
    report = reported(tmp_path, measured(0, "", 0.5), measured(1, "", 20.0))
    found = report["data"]["maps"]["rows"]["learned"]["auc_percent"]
    # Half of the views are right; of the vertical field of view all errors are half a degree.
    assert found["fov_error_deg"] == {"1": 50, "5": 50, "10": 50}
    assert found["fov_y_error_deg"] == {"1": 100, "5": 100, "10": 100}
