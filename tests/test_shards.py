import json

import numpy as np
import pytest
from box_rooms import box_room
from raw_files import png16, put

from data.user_maps.true_maps import TrueMaps
from launch.evaluation import shards, summary
from launch.evaluation.config import SHARDS, EvaluationConfig
from launch.evaluation.methods import BEST, COLUMNS, Tables
from launch.evaluation.run import evaluate
from launch.recovery.shards import Shard, shard_of
from train3d_jax.errors import UserError


def test_shards_take_everything_once():
    parts = [Shard(number, 3).take(range(10)) for number in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == list(range(10))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert Shard(3, 3).take(range(2)) == range(0)


def test_a_shard_is_read_from_its_flag():
    assert shard_of("2/8", merge=False) == Shard(2, 8)
    assert shard_of(None, merge=True) is None


@pytest.mark.parametrize("text", ["0/8", "9/8", "x", "", "2/", "-1/8", "1/0", "2/8/9", "1.5/2"])
def test_a_flag_that_names_no_shard_is_refused(text):
    with pytest.raises(UserError, match=r"--shard.*such as 2/8"):
        shard_of(text, merge=False)


def test_a_shard_cannot_be_merged_at_once():
    with pytest.raises(UserError, match="--shard=1/2 and --merge"):
        shard_of("1/2", merge=True)


# Evaluations.


class Guesses:
    """In the place of `Methods`: answers that depend on the view alone, and some that are NaN."""

    rows = ("guess", BEST)
    pictured = 0

    def measure(self, group, best):
        tables = np.zeros((len(group), len(self.rows), len(COLUMNS)))
        for table, case in zip(tables, group, strict=True):
            table[0] = case.truth.shift / 3 + np.arange(len(COLUMNS))
            table[1] = best.fov / 7
            table[:, -1] = np.nan
        return [Tables(table, {"guess": table[0] / 2}) for table in tables]


@pytest.fixture
def listed(tmp_path):
    """Seven maps, one of which is missing, and two have a picture, which is missing."""
    rows = []
    for number in range(7):
        depth, matrix = box_room(number, (90, 130))
        put(tmp_path / "maps" / f"{number}.png", png16(np.uint16(1000 * depth)))
        camera = dict(
            zip(("fx", "fy", "cx", "cy"), matrix[[0, 1, 0, 1], [0, 1, 2, 2]], strict=True)
        )
        rows.append({"depth": f"{number}.png", "metres_per_unit": 0.001, "scene": "s", **camera})
    rows[2]["rgb"] = rows[5]["rgb"] = "nowhere.png"
    (tmp_path / "maps" / "4.png").unlink()
    put(tmp_path / "maps" / "manifest.json", rows)
    return tmp_path


def evaluated(listed, shard=None, **changes):
    config = EvaluationConfig((listed / "maps",), listed / "out", crops=2, shard=shard, **changes)
    return config, list(evaluate(config, [TrueMaps(listed / "maps")], Guesses()))


def output(config, results):
    report = summary.report(config, Guesses.rows, ["net@3"], results)
    return summary.as_json(report), summary.as_csv(Guesses.rows, results)


def save(listed, number, count, **changes):
    config, results = evaluated(listed, Shard(number, count), **changes)
    return shards.save(config, Shard(number, count), ["net@3"], results)


def test_shards_of_an_evaluation_merge_to_the_report_of_one_run(listed):
    whole, results = evaluated(listed)
    for number in (3, 1, 2):  # in any order
        save(listed, number, 3)
    assert output(whole, shards.load(whole, ["net@3"])) == output(whole, results)


def test_shards_that_are_missing_or_of_another_evaluation_are_named(listed, monkeypatch):
    config, _ = evaluated(listed)
    with pytest.raises(UserError, match="holds no shards"):
        shards.load(config, ["net@3"])
    save(listed, 1, 2)
    with pytest.raises(UserError, match="shard 2/2 is missing"):
        shards.load(config, ["net@3"])
    path = save(listed, 2, 2, seed=5)
    with pytest.raises(UserError, match=r"2-of-2\.json was made with other settings"):
        shards.load(config, ["net@3"])
    save(listed, 2, 2)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="by another version"):
        patch.setattr(shards, "__version__", "0.0.1")
        shards.load(config, ["net@3"])
    with pytest.raises(UserError, match="other settings or models"):
        shards.load(config, ["another@3"])
    assert json.loads(path.read_text())["settings"]["seed"] == 0
    save(listed, 1, 3)
    with pytest.raises(UserError, match=r"shards of different counts \(2, 3\)"):
        shards.load(config, ["net@3"])
    assert (listed / "out" / SHARDS).is_dir()
