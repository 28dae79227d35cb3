"""launch.evaluate: clips, of which all maps together give one focal length."""

from pathlib import Path

import numpy as np
import pytest
from box_rooms import box_room

from data.user_maps.true_maps import TrueMap
from launch.evaluation import clips, shards, summary, tables
from launch.evaluation.clips import Camera
from launch.evaluation.config import EvaluationConfig
from launch.evaluation.methods import SOLVED_AT_ONCE, Methods
from launch.evaluation.run import evaluate
from launch.recovery.shards import Shard
from train3d_jax.evaluation import views
from train3d_jax.geometry.camera import intrinsics_matrix
from train3d_jax.inference import recovery

HALL, SMALL = (60, 80), (45, 60)


def camera(scene="hall", size=HALL, focal=70.0):
    height, width = size
    return Camera(scene, size, intrinsics_matrix(focal, focal, width / 2, height / 2))


def test_a_clip_is_of_one_scene_and_one_camera_and_has_enough_maps():
    cameras = {number: camera() for number in range(0, 20, 4)}
    cameras |= {1: camera(focal=70.02), 2: camera(focal=72.0), 3: camera(size=SMALL)}
    cameras |= {number: camera("yard") for number in (5, 6, 7, 9)}
    cameras |= {number: camera("") for number in range(20, 30)}
    [clip] = clips.clips_of(cameras)
    assert clip.maps == (0, 4, 8, 12, 16, 1) and clip.camera.scene == "hall"


class Maps(list):
    """A set of true maps that lies in no folder."""

    path = Path("rooms")

    def picture(self, index):
        return None


@pytest.fixture
def maps():
    """Eighteen maps of one camera in a hall, five in a lift, and four in a yard."""
    made = Maps()
    for scene, size, count in (("yard", HALL, 4), ("hall", HALL, 18), ("lift", SMALL, 5)):
        for number in range(count):
            depth, _ = box_room(number, size)
            depth[size[0] // 2 :] = 0 if (scene, number) == ("hall", 3) else depth[size[0] // 2 :]
            made.append(TrueMap(f"{scene}{number}", scene, depth, camera(size=size).intrinsics))
    return made


@pytest.fixture
def pooled(monkeypatch):
    """Stands in for methods and pooling; collects what is pooled: votes, maps and size."""
    seen = []

    def recover(models, blocks, known, space, level, segments=None):
        count = len(blocks.size)
        values, ends = np.ones(count), np.ones((count, 2))
        return {
            "geometric": recovery.Estimates(
                values > 0, values, 50 * values, ends, ends, np.ones((count, 3)), values < 0,
                values, values, values, {},
            )
        }  # fmt: skip

    def evidence(models, blocks, known, space, level, segments=None):
        """A vote of each map, but of those of which a half is missing."""
        assert len(blocks.size) == SOLVED_AT_ONCE and known == recovery.Known()
        present = np.asarray(blocks.mask).sum(-1)
        solvable = present > 0.7 * present.max()
        nothing, votes = np.zeros(len(present)), solvable[:, None].astype(float)
        return {"geometric": recovery.Evidence(votes, votes, *[nothing] * 2, solvable, nothing)}

    def shared_focal(total, count, size):
        seen.append((float(total[0]), count, size))
        return 77.0, (60.0, 80.0 if count > 5 else 65.0)

    monkeypatch.setattr(recovery, "recover_by_each", recover)
    monkeypatch.setattr(recovery, "evidence_by_each", evidence)
    monkeypatch.setattr(clips, "shared_focal", shared_focal)
    return seen


def test_the_maps_of_a_clip_are_cropped_as_one_and_pooled_in_each_view(tmp_path, maps, pooled):
    config = EvaluationConfig((tmp_path,), tmp_path / "out", crops=2)
    methods = Methods([], "depth", 2 * len(maps))
    [result] = evaluate(config, [maps], methods)
    # All but one of a hall's maps have evidence; what fills up a batch has none.
    assert [(votes, count) for votes, count, _ in pooled] == [(17, 17)] * 2 + [(5, 5)] * 2
    for (_, _, size), clip in zip(pooled, result.clips, strict=True):
        first = {"hall": 4, "lift": 22}[clip.scene]
        assert clip.share == views.drawn_share((0, first, clip.view_number))
        whole = HALL if clip.scene == "hall" else SMALL
        # Whole pixels of a window about a centre half a pixel off that of the map.
        np.testing.assert_allclose(size, clip.share * (np.array(whole) - 1), atol=1)
        assert clip.width == size[1] and clip.held == (clip.scene == "hall")
    report = summary.report(config, methods.rows, [], [result])
    part = report["data"]["rooms"]["clips"]
    assert part["views"] == 4 and part["focal_coverage"] == 0.5
    one = part["each"][0]
    assert (one["scene"], one["maps"], one["true_focal_px"]) == ("hall", 17, 70)
    true = np.rad2deg(2 * np.arctan(result.clips[0].width / 2 / np.array([70, 77])))
    assert one["fov_error_deg"] == pytest.approx(true[0] - true[1], rel=1e-5)
    assert report["overall"]["clips"]["fov_error_deg"] == part["fov_error_deg"]
    table = tables.as_table(report)
    assert "4 fields of view from at least 5 maps" in table and "50 % held" in table
    assert [line.split()[0] for line in table.splitlines()[-5:-1]] == ["hall"] * 2 + ["lift"] * 2

    # In shards the same.
    for number in (1, 2):
        part = EvaluationConfig((tmp_path,), tmp_path / "out", crops=2, shard=Shard(number, 2))
        shards.save(part, Shard(number, 2), [], list(evaluate(part, [maps], methods)))
    [merged] = shards.load(config, [])
    assert list(merged.clips) == result.clips


def test_whole_maps_are_pooled_whole_and_without_a_clip_nothing_is_said(tmp_path, maps, pooled):
    config = EvaluationConfig((tmp_path,), tmp_path / "out", crop=False)
    methods = Methods([], "depth", len(maps))
    [result] = evaluate(config, [maps], methods)
    assert [size for _, _, size in pooled] == [HALL, SMALL]
    none = result._replace(clips=[])
    report = summary.report(config, methods.rows, [], [none])
    assert "clips" not in report["overall"] and "clips" not in tables.as_table(report)
