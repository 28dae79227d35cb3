"""A run goes on after another: answers are kept where they are still right."""

import dataclasses
import os

import numpy as np
import pytest
from folders import (
    NAMES,
    REPORTS,
    SIZE,
    config_of,
    fill,
    focal_lengths,
    recovered,
    rows_of,
    written,
)
from folders import solver as solver
from raw_files import put
from tiny import CONFIG

from data.user_maps.known_cameras import KnownCamera
from launch.recovery import folder
from launch.recovery.folder import recover_folder
from train3d_jax.errors import UserError
from train3d_jax.evidence.calibration import Calibration
from train3d_jax.export import point_clouds
from train3d_jax.export.answers import read_answer
from train3d_jax.inference.models import Model


def test_resume_does_what_is_not_done_or_was_done_otherwise(tmp_path, solver):
    fill(tmp_path / "in", NAMES)
    np.save(tmp_path / "in" / "wall.npy", np.ones(SIZE))
    assert recovered(tmp_path) == (9, 1, 0)
    out = tmp_path / "out"
    first = rows_of(out)
    (out / "a/map0.json").unlink()
    (out / "a/map1.json").write_text('{"input": "a/map1.npy"}')
    os.utime(tmp_path / "in" / "a/map2.npy", (2e9, 2e9))  # changed since
    solver.clear()
    assert recovered(tmp_path, resume=True) == (9, 1, 6)
    ((blocks, _),) = solver
    assert len(blocks.size) == 4  # three maps and the wall that failed
    assert rows_of(out) == first
    solver.clear()
    os.utime(tmp_path / "in" / "a/map2.npy", (1e9, 1e9))
    assert recovered(tmp_path, resume=True, space="disparity") == (9, 1, 0)
    assert recovered(tmp_path, resume=True, space="disparity", batch_size=2).resumed == 9


def other_networks():
    """Networks that share name and step with the first."""
    model = Model("both@9", CONFIG, {"a": {"kernel": np.ones((2, 3), np.float32)}})
    wider = dataclasses.replace(CONFIG, width=2 * CONFIG.width)
    return model, (
        dataclasses.replace(model, params={"a": {"kernel": np.zeros((2, 3), np.float32)}}),
        dataclasses.replace(model, params={"b": {"kernel": np.ones((2, 3), np.float32)}}),
        dataclasses.replace(model, params={"a": {"kernel": np.ones((3, 2), np.float32)}}),
        dataclasses.replace(model, config=wider),
        dataclasses.replace(model, calibration={"shift": Calibration(0.5)}),
    )


def test_answers_of_another_network_of_the_same_name_are_not_kept(tmp_path, solver):
    fill(tmp_path / "in", NAMES[:2])
    config = config_of(tmp_path, runs=(tmp_path / "both",), method="learned")
    resume, merge = (dataclasses.replace(config, **{name: True}) for name in ("resume", "merge"))
    model, others = other_networks()
    recover_folder(config, [model])
    same = dataclasses.replace(model, params={"a": {"kernel": np.ones((2, 3), np.float32)}})
    assert recover_folder(resume, [same]).counts == (2, 0, 2)
    for other in others:
        with pytest.raises(UserError, match=r"map0\.npy has no answer of these settings"):
            recover_folder(merge, [other])
        assert recover_folder(resume, [other]).counts == (2, 0, 0)
        assert recover_folder(merge, [other]).counts.recovered == 2


@pytest.mark.parametrize("one_for_all", [True, False])
def test_answers_are_not_kept_where_the_camera_has_changed_since(tmp_path, solver, one_for_all):
    fill(tmp_path / "in", ["a.npy", "b.npy"])
    for name in "ab":
        put(tmp_path / "cameras" / f"{name}.json", b'{"fx": 30, "fy": 30, "cx": 15, "cy": 11}')
    cameras = tmp_path / "cameras"
    camera = KnownCamera(intrinsics=cameras / "a.json" if one_for_all else cameras)
    recovered(tmp_path, camera=camera)
    assert recovered(tmp_path, camera=camera, resume=True).resumed == 2
    put(tmp_path / "cameras" / "a.json", b'{"fx": 40, "fy": 40, "cx": 15, "cy": 11}')
    os.utime(tmp_path / "cameras" / "a.json", (2e9, 2e9))
    kept = 0 if one_for_all else 1
    assert recovered(tmp_path, camera=camera, resume=True) == (2, 0, kept)
    assert 40 in focal_lengths(tmp_path / "out")


def test_an_answer_is_written_after_all_that_it_vouches_for(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES[:1])
    recovered(tmp_path)
    out = tmp_path / "out"

    def stop(*_):
        assert not (out / "a/map0.json").exists()  # the old one vouched for the old cloud
        raise KeyboardInterrupt

    monkeypatch.setattr(point_clouds, "write_ply", stop)
    with pytest.raises(KeyboardInterrupt):
        recovered(tmp_path)
    assert not (out / "a/map0.json").exists()


def test_ctrl_c_leaves_whole_files_only(tmp_path, solver, monkeypatch):
    fill(tmp_path / "in", NAMES)
    add = folder.Summary.add
    rows = []

    def stop(self, *args, **kwargs):
        rows.append(args)
        if len(rows) == 3:
            raise KeyboardInterrupt
        add(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(folder.Summary, "add", stop)
        recovered(tmp_path)
    out = tmp_path / "out"
    assert not {name for name in written(out) if name.endswith(".part")} and not (
        REPORTS & written(out)
    )
    answers = list(out.rglob("*.json"))
    assert answers
    for path in answers:
        assert read_answer(path) and path.with_suffix(".ply").exists()
    assert recovered(tmp_path, resume=True)[:2] == (9, 0)
