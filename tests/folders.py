"""Folders of maps for tests of recovery, and a stand-in for the solver that costs nothing."""

import csv

import numpy as np
import pytest
from box_rooms import box_room

from launch.recovery.config import RecoveryConfig, SaveSettings
from launch.recovery.folder import recover_folder
from train3d_jax.inference import estimates, map_checks, recovery

SIZE = (24, 32)


OUTLIER = box_room(0, SIZE)[0]
OUTLIER[3, 5] = 1e25


class Solved:
    """In the place of `recovery.Recovery`."""

    lines = None

    def __init__(self, blocks, known):
        self.blocks, self.known = blocks, known
        present = [v[mask] for v, mask in zip(blocks.values, blocks.mask, strict=True)]
        self.solvable = [len(values) >= 16 and np.ptp(values) > 0 for values in present]
        spread = [
            float(np.ptp(v)) if ok else 1 for v, ok in zip(present, self.solvable, strict=True)
        ]
        self.canonical_scale = 0.5 / np.array(spread)
        least = [float(values.min()) if len(values) else 0.0 for values in present]
        self.map_wins = np.zeros(len(present), bool)
        self.canonical_offset = 0.5 - self.canonical_scale * least

    def at(self, index, space):
        if not self.solvable[index]:
            return None
        if self.canonical_scale[index] < 1e-36:  # as float32 overflows
            nan = float("nan")
            return estimates.Estimate(
                nan, nan, nan, nan, (nan, nan), (nan, nan), (nan, nan, nan), ()
            )
        focal = np.nan if self.known.focal is None else float(self.known.focal[index])
        focal = 30.0 if np.isnan(focal) else focal  # NaN: of this map nothing is known
        scale, offset = float(self.canonical_scale[index]), float(self.canonical_offset[index])
        known = self.known.values(len(self.solvable))
        shift = scale * float(known.offset[index]) - offset
        shift = float(known.shift[index]) if np.isnan(shift) else shift
        shift = -0.2 if np.isnan(shift) else shift
        return estimates.Estimate(
            focal=focal, shift=shift, a=scale, b=offset + shift,
            focal_interval=(0.9 * focal, 1.1 * focal), shift_interval=(shift, shift + 0.1),
            focal_by_map=(0.9 * focal, focal, 1.1 * focal), flags=(),
        )  # fmt: skip


class Batches(list):
    """Blocks and what was known of each batch; and of how many maps its program was."""

    def __init__(self):
        self.at_once = []


@pytest.fixture
def solver(monkeypatch):
    """Lists the batches."""
    batches = Batches()

    def recover_blocks(models, blocks, known, method, space, at_once, segments):
        batches.append((blocks, known))
        batches.at_once.append(at_once)
        return Solved(blocks, known)

    monkeypatch.setattr(recovery, "recover_blocks", recover_blocks)
    monkeypatch.setattr(
        map_checks, "form_evidence", lambda values, mask, at_once=None: np.zeros((len(values), 4))
    )
    return batches


def fill(place, names, size=SIZE):
    for seed, name in enumerate(names):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(place / name, box_room(seed, size)[0])


def config_of(tmp_path, **changes):
    given = {
        "input": tmp_path / "in",
        "out": tmp_path / "out",
        "runs": (),
        "space": "depth",
        "method": "geometric",
        "batch_size": 4,
        "saving": SaveSettings(("ply",)),
    }
    return RecoveryConfig(**given | changes)


def recovered(tmp_path, **changes):
    return recover_folder(config_of(tmp_path, **changes), []).counts


def rows_of(out):
    with (out / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def written(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def focal_lengths(out):
    return {float(row["focal_px"]) for row in rows_of(out)}


NAMES = [f"{letter}/map{number}.npy" for letter in "abc" for number in range(3)]


REPORTS = {"summary.csv", "summary.json", "index.html"}
