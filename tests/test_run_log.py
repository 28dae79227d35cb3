import json

import numpy as np
import pytest
from tensorboardX import proto
from tensorboardX.record_writer import RecordWriter  # noqa: F401  # the format that is read below
from tiny import CONFIG

from train3d_jax.errors import UserError
from train3d_jax.pictures.curves import render_curves
from train3d_jax.pictures.figures import pixels
from train3d_jax.training import run_log
from train3d_jax.training.validation import Validation


def row(step, split="train", loss=1.0):
    return {"step": step, "split": split, "loss": loss, "fov_error_deg": 10 / step}


def steps(folder):
    return [
        json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def test_rows_after_the_last_checkpoint_are_dropped_and_half_lines_too(tmp_path):
    with run_log.RunLog(tmp_path, CONFIG, 0, 9, tensorboard=False) as log:
        for step in (2, 4, 6):
            log.record(row(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "spl')
    with run_log.RunLog(tmp_path, CONFIG, 4, 9, tensorboard=False) as log:
        assert steps(tmp_path) == [2, 4]
        log.record(row(6))
    assert steps(tmp_path) == [2, 4, 6]


def test_nothing_in_the_file_depends_on_time(tmp_path):
    for name in ("one", "two"):
        with run_log.RunLog(tmp_path / name, CONFIG, 0, 2, tensorboard=False) as log:
            for step in (1, 2):
                log.progress(step, {"loss": np.float32(3), "fov_error_deg": np.float32(2)})
                log.record(row(step))
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_file_that_cannot_be_written_is_reported(tmp_path):
    with run_log.RunLog(tmp_path, CONFIG, 0, 2, tensorboard=False) as log:
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").mkdir()
        with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written"):
            log.record(row(1))


def test_the_bar_shows_loss_error_and_rate(tmp_path, capsys):
    with run_log.RunLog(tmp_path, CONFIG, 0, 40, tensorboard=False) as log:
        for step in range(1, 41):
            log._looked = 0.0
            log.progress(step, {"loss": np.float32(3), "fov_error_deg": np.float32(2)})
    shown = capsys.readouterr().err
    assert "loss=3.000" in shown and "field of view=2.0 deg" in shown and "samples/s=" in shown


def events(folder):
    """Tags of all that TensorBoard finds in a run, read by its file format: length, its checksum,
    an Event, its checksum."""
    (path,) = folder.glob("events.out.tfevents*")
    contents, tags = path.read_bytes(), set()
    while contents:
        length = int.from_bytes(contents[:8], "little")
        event = proto.event_pb2.Event.FromString(contents[12 : 12 + length])
        tags |= {value.tag for value in event.summary.value}
        contents = contents[12 + length + 4 :]
    return tags


def test_tensorboard_gets_scalars_histograms_and_pictures(tmp_path):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(50, 2)), rng.uniform(1, 2, (50, 1))], -1)
    values = {"shift": rng.uniform(0.2, 0.8, 9), "focal": rng.normal(size=9)}
    with run_log.RunLog(tmp_path, CONFIG, 0, 2, tensorboard=True) as log:
        log.record(row(1))
        log.validated(1, Validation({"loss": 1.0}, values, values, points))
        log.validated(2, Validation({"loss": 1.0}, values, values, points[:0]))  # no cloud
    tags = {tag.replace(" ", "_") for tag in events(tmp_path)}
    assert {"train/loss", "train/fov_error_deg", "train/samples_per_second"} <= tags
    assert {f"{target}/{kind}" for target in values for kind in ("true", "predicted")} <= tags
    assert {"shift/predicted_against_true", "first_of_the_validation_part"} <= tags


def test_curves_are_drawn_of_whatever_was_trained(tmp_path):
    rows = [row(step, split) for step in (1, 2, 3) for split in ("train", "validation")]
    picture = pixels(render_curves(rows))
    assert picture.shape[1] > picture.shape[0] and picture.std() > 1
    # One panel for each of loss and field of view; one less where only the loss is known.
    less = render_curves([{"step": 1, "split": "train", "loss": 0.0}])
    assert pixels(less).shape[1] == picture.shape[1] // 2
    with run_log.RunLog(tmp_path, CONFIG, 0, 2, tensorboard=False) as log:
        log.draw_curves()
        assert not (tmp_path / "curves.png").exists()  # nothing to draw yet
        log.record(row(1))
        log.draw_curves()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
