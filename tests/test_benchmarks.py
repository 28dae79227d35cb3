import dataclasses
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import sizes
from benchmarks.measuring import Row, in_turns, row
from benchmarks.sens import depth_payloads
from benchmarks.table import differences, in_words, last_table
from data.readers.scannet import ScanNet
from data.rooms import views
from data.rooms.raw_writers import write_scannet_scene

FAST = Row("reading", 20.0, 0.02, "x", 25)


def test_rivals_take_turns_and_the_first_round_does_not_count():
    order = []
    ticks = iter(range(100))
    taken = in_turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, lambda: next(ticks)
    )
    assert order == ["a", "b"] * 3
    np.testing.assert_array_equal(taken["a"], [1, 1])


def test_one_slow_round_moves_neither_the_median_nor_the_spread():
    output = row("reading", np.array([10.0, 10.2, 9.8, 10.1, 90.0]), "x", None)
    assert output.value == 10.1
    assert output.spread < 0.02


def test_only_what_moved_by_more_than_the_noise_is_reported():
    slower = dataclasses.replace(FAST, value=15.0)
    assert differences([FAST], [slower]) == ["reading -25 %"]
    assert not differences([FAST], [dataclasses.replace(FAST, value=19.0)])
    assert not differences([dataclasses.replace(FAST, spread=0.3)], [slower])
    assert not differences([], [slower])  # measured for the first time


def test_tables_of_other_machines_are_not_compared(tmp_path):
    for time, machine in (("1", "mine"), ("2", "mine"), ("3", "another")):
        (tmp_path / f"{time}.json").write_text(json.dumps({"machine": machine, "time": time}))
    newest = last_table(tmp_path, "mine")
    assert newest and newest["time"] == "2"
    assert last_table(tmp_path, "a third") is None


def test_a_line_shows_value_noise_aim_and_floor():
    line = in_words(dataclasses.replace(FAST, floor="30x: inflate alone"))
    assert line.split()[:6] == ["reading", "20.00", "x", "+-", "2", "%"]
    assert line.endswith("> 25     floor 30x: inflate alone")


def test_the_common_way_to_read_sens_reads_what_ours_does(tmp_path):
    seen = views.random_views(0, 2, (48, 64), one_camera=True)
    sens = write_scannet_scene(tmp_path, "scene0000_00", seen)
    reader = ScanNet(tmp_path)
    (scene,) = reader.scenes()
    frames = [frame for place in scene.places for frame in place]
    for payload, frame in zip(depth_payloads(sens), frames, strict=True):
        depth = np.frombuffer(zlib.decompress(payload), np.uint16).reshape(48, 64) / 1000
        np.testing.assert_allclose(reader.read(scene, frame).depth, depth, rtol=1e-6)


def test_a_program_that_grows_by_more_than_a_fifth_fails_the_gate(tmp_path, monkeypatch, capsys):
    record = tmp_path / "sizes.json"
    record.write_text(json.dumps({"jax": "0.1", "operations": {"fit": 1000, "loss": 100}}))
    monkeypatch.setattr(sizes, "RECORD", record)
    monkeypatch.setattr(sizes, "measure", lambda: {"fit": 1200, "loss": 90})
    sizes.main([])
    monkeypatch.setattr(sizes, "measure", lambda: {"fit": 1201, "loss": 121, "new": 5})
    with pytest.raises(SystemExit) as ended:
        sizes.main([])
    fit, loss, new = str(ended.value.code).splitlines()
    assert fit.startswith("fit: 1,201 operations, 20% more than the 1,000 recorded with jax 0.1;")
    assert loss.startswith("loss: 121 operations, 21% more than the 100 recorded")
    assert new.startswith("new: 5 operations, no size is recorded")
    assert all(line.endswith("python -m benchmarks.sizes --record") for line in (fit, loss, new))


def test_the_size_of_a_program_counts_calls_and_no_constants_and_loops_once():
    @jax.jit
    def shared(x):
        return jnp.cos(jnp.sin(x))

    def size(function):
        return sizes.operations(jax.jit(function).lower(jnp.ones(3)))

    assert size(lambda x: shared(x)) == 2
    assert size(lambda x: shared(shared(x))) == 4
    assert size(lambda x: x * np.float32([1, 2, 3])) == 1
    loop = [size(lambda x, n=n: jax.lax.scan(lambda c, _: (shared(c), None), x, None, n)[0])
            for n in (2, 50)]  # fmt: skip
    assert loop[0] == loop[1] > 2


def test_every_program_has_a_recorded_size():
    record = json.loads(sizes.RECORD.read_text())
    names = [name for space in sizes.SPACES for name in sizes._programs(space)]
    assert sorted(record["operations"]) == sorted(names)
