"""The readers on real captures in the datasets' own formats; skipped where those are absent."""

import json

import numpy as np
import pytest

from data.prepare.preparation import PrepareConfig, prepare
from data.prepared.prepared_set import PreparedSet
from data.readers.kenburns import KenBurns
from data.readers.scannet import ScanNet
from data.readers.taskonomy import Taskonomy


def scene_facts(text_file):
    fields = (line.split(" = ") for line in text_file.read_text().splitlines() if " = " in line)
    return {name.strip(): float(value) for name, value in fields}


@pytest.mark.parametrize("name", ["scene9000_00", "scene9001_00"])
def test_scannet_frames_have_metres_and_the_camera_of_the_scene(real_data, name):
    root = real_data / "raw" / "scannet"
    (scene,) = (scene for scene in ScanNet(root).scenes() if scene.name == name)
    facts = scene_facts(scene.path.with_suffix(".txt"))
    assert len(scene.places) == facts["numDepthFrames"]
    for (frame,) in scene.places:  # frame 5 of scene9000_00 has lost its pose
        depth, intrinsics, _ = ScanNet(root).read(scene, frame)
        assert depth.shape == (facts["depthHeight"], facts["depthWidth"])
        camera = [facts[f"{key}_depth"] for key in ("fx", "fy", "mx", "my")]
        np.testing.assert_allclose(intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]], camera, rtol=1e-6)
        valid = depth[depth > 0]
        assert valid.size > depth.size / 3 and 0.3 < np.median(valid) < 5 and valid.max() < 11


def test_kenburns_views_have_metres_and_90_degrees(real_data):
    root = real_data / "raw" / "kenburns"
    (scene,) = KenBurns(root).scenes()
    assert scene.name == "town-walking" and [len(place) for place in scene.places] == [4]
    maps = [KenBurns(root).read(scene, frame) for frame in scene.places[0]]
    for depth, intrinsics, _ in maps:
        assert depth.shape == (512, 512)
        expected = [[256, 0, 255.5], [0, 256, 255.5], [0, 0, 1]]
        np.testing.assert_allclose(intrinsics, expected, atol=1e-9)
        assert 1 < np.median(depth[depth > 0]) < 20 and depth.max() < 600
    # A stereo quadruple: near-duplicates, and not the same file four times.
    medians = [np.median(each.depth) for each in maps]
    assert np.ptp(medians) < 1 and len({each.depth.tobytes() for each in maps}) == 4


def test_taskonomy_views_have_metres_and_the_camera_of_the_sensor(real_data):
    root = real_data / "raw" / "taskonomy"
    scenes = Taskonomy(root).scenes()
    assert [(scene.name, len(scene.places)) for scene in scenes] == [
        ("cabinet", 4),
        ("cabinet2", 2),
    ]
    for scene in scenes:
        for (frame,) in scene.places:
            depth, intrinsics, _ = Taskonomy(root).read(scene, frame)
            assert depth.shape == (464, 464)
            focal = (intrinsics[0, 0], intrinsics[1, 1])
            np.testing.assert_allclose(focal, 537.3, atol=3)  # px, TUM's fr3 camera
            np.testing.assert_allclose(intrinsics[:2, 2], 231.5)
            valid = depth[depth > 0]
            assert valid.size > depth.size / 3 and 0.5 < np.median(valid) < 5


def test_all_three_prepare_together(real_data, tmp_path):
    raw = real_data / "raw"
    roots = (raw / "scannet", raw / "kenburns", raw / "taskonomy")
    summary = prepare(PrepareConfig(roots, (20, 4, 6), tmp_path / "out", num_workers=0))
    assert summary.taken == {"scannet": 20, "kenburns": 4, "taskonomy": 6}
    samples = PreparedSet(tmp_path / "out")
    scales = np.load(tmp_path / "out" / "scales.npy")
    assert [sample.depth.max() for sample in samples] == list(scales)
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").open()]
    taken = [row["scene"] for row in rows if row["dataset"] == "scannet"]
    assert (taken.count("scene9000_00"), taken.count("scene9001_00")) == (10, 10)
