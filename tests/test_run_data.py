import json
from pathlib import Path

import pytest
from tiny import CONFIG, Rooms

from data.loading import splits
from launch.training import run_data
from train3d_jax.errors import UserError
from train3d_jax.storage import run_config


class Set(Rooms):
    """A prepared set by what config.json keeps of it; two samples of a scene."""

    def __init__(self, folder, count=20, sha256="abc", prefix=""):
        super().__init__(count, [f"{folder}{index // 2}" for index in range(count)], folder)
        self.sha256, self.path = sha256, Path(folder)
        self.ids = [f"{prefix}{index}" for index in range(count)]

    def facts(self):
        return {"path": str(self.path), "sha256": self.sha256, "samples": self.count}


def described(*sets, train_split=0.8, mix=(), seed=0):
    parts = splits.split_sets(sets or [Set("A")], train_split, seed)
    return run_data.describe(*parts, train_split, mix)


def begin(run, facts):
    run_config.save_config(run, CONFIG, facts)
    return json.loads((run / run_config.CONFIG).read_text())


def refused(run, facts):
    with pytest.raises(UserError) as error:
        run_data.refuse_other(run, facts)
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{run}: was trained ")
    assert "abc" not in message  # hashes say nothing to anybody
    return message


def test_the_same_data_and_split_go_on_wherever_the_data_lies(tmp_path):
    run_data.refuse_other(tmp_path, described())  # no run yet
    contents = begin(tmp_path, described())
    assert contents["samples"] == [16, 4] and contents["paths"] == ["A"]
    run_data.refuse_other(tmp_path, described())
    moved = Set("A")
    moved.path = Path("elsewhere/A")
    run_data.refuse_other(tmp_path, described(moved))
    run_data.refuse_other(tmp_path, described(train_split=0.81))  # the same samples


def test_another_split_is_refused_by_its_flag_and_the_sets(tmp_path):
    begin(tmp_path, described())
    output = refused(tmp_path, described(train_split=0.5))
    assert "with --train_split=0.8 of A, not --train_split=0.5;" in output
    # As many samples, but not the same ones.
    output = refused(tmp_path, described(seed=1))
    assert "on 16 samples to train on and 4 to validate of A, now other samples" in output
    output = refused(tmp_path, described(Set("A", prefix="x")))
    assert "now other samples" in output


def test_another_mix_is_refused_by_its_flag_and_the_sets(tmp_path):
    sets = [Set("A"), Set("B")]
    begin(tmp_path / "mixed", described(*sets, mix=(0.7, 0.3)))
    run_data.refuse_other(tmp_path / "mixed", described(*sets, mix=(0.7, 0.3)))
    output = refused(tmp_path / "mixed", described(*sets, mix=(0.3, 0.7)))
    assert "with --mix=0.7,0.3 of A,B, not --mix=0.3,0.7;" in output
    begin(tmp_path / "by size", described(*sets))
    output = refused(tmp_path / "by size", described(*sets, mix=(0.5, 0.5)))
    assert "with shares by size (no --mix) of A,B, not --mix=0.5,0.5;" in output


@pytest.mark.parametrize(
    ("sets", "output"),
    [
        ([Set("A", sha256="xyz")], "on --data=A before it changed: A (20 samples then, 20 now);"),
        ([Set("A", 22)], "on --data=A before it changed: A (20 samples then, 22 now);"),
        ([Set("B", sha256="xyz")], "on --data=A, and B is other data;"),
        ([Set("A"), Set("B")], "on --data=A, and A,B is other data;"),
    ],
)
def test_other_data_is_refused_by_the_names_of_the_sets(tmp_path, sets, output):
    begin(tmp_path, described())
    assert output in refused(tmp_path, described(*sets))


def test_a_run_of_an_earlier_version_goes_on_and_is_refused_only_by_sizes(tmp_path):
    earlier = {name: value for name, value in described().items() if name != "split"}
    begin(tmp_path, earlier)
    run_data.refuse_other(tmp_path, described())
    output = refused(tmp_path, described(train_split=0.5))
    assert "on 16 samples to train on and 4 to validate of A, not 10 samples" in output
    assert "--train_split" in output
    begin(tmp_path, {name: earlier[name] for name in ("data", "paths")})  # and before that
    run_data.refuse_other(tmp_path, described(train_split=0.5))
