"""Recovers focal length and shift of depth maps, and writes a point cloud and a JSON for each.

    python -m launch.infer --input DEPTH_MAPS --out OUT --model runs/both --space depth

Reads .npy, .npz, 16-bit .png and .exr; 0 and what is not finite count as missing.  For every map
the folder OUT gets, under the same relative path, a PLY and a JSON; and one summary.csv for all.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from data.depth_files import find_depth_files, read_depth_file
from launch import program
from train3d_jax import camera, export, inference
from train3d_jax.errors import UserError
from train3d_jax.files import write_whole

_INPUT = flags.DEFINE_string("input", None, "A depth map, or a folder of them.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the answers.", required=True)
_MODEL = flags.DEFINE_list(
    "model", None, "Runs of launch.train that together cover shift and focal length.", required=True
)
_SPACE = flags.DEFINE_enum(
    "space", None, ["depth", "disparity"],
    "What the maps hold, up to scale and shift: depth (metric networks, sensors) or disparity "
    "(MiDaS, DPT, Depth Anything).", required=True,
)  # fmt: skip
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Maps solved at once.", lower_bound=1)
_FOCAL_PX = flags.DEFINE_float("focal_px", None, "Focal length in pixels, where it is known.")
_FOV_DEG = flags.DEFINE_float(
    "fov_deg", None, "Horizontal field of view in degrees, where it is known."
)


@flags.multi_flags_validator(
    ["focal_px", "fov_deg"],
    "give one of --focal_px (over 0) and --fov_deg (1 to 179), or neither",
)
def _one_known_camera(values: dict[str, float | None]) -> bool:
    focal, fov = values["focal_px"], values["fov_deg"]
    if focal is not None and fov is not None:
        return False
    return (focal is None or (math.isfinite(focal) and focal > 0)) and (
        fov is None or 1 <= fov <= 179
    )


def main() -> int:
    """Reads, solves and writes batch by batch; returns the exit status."""
    files = find_depth_files(Path(_INPUT.value))
    models = [inference.load_model(Path(run)) for run in _MODEL.value]
    focal_known = _FOCAL_PX.value is not None or _FOV_DEG.value is not None
    inference.check_models(models, _SPACE.value, focal_known)
    out, size = Path(_OUT.value), _BATCH_SIZE.value
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(files), desc="recovering", unit="map") as bar:
        for start in range(0, len(files), size):
            for row in recover_batch(files[start : start + size], models, out):
                if row["error"]:
                    tqdm.write(f"{row['input']}: {row['error']}")
                rows.append(row)
                bar.update()
    write_summary(out / "summary.csv", rows)
    failed = sum(row["error"] is not None for row in rows)
    print(f"{out}: {len(rows) - failed} maps recovered, {failed} failed; all are in summary.csv")
    return program.EXIT_SOME_FAILED if failed else 0


def recover_batch(
    files: Sequence[tuple[Path, str]], models: Sequence[inference.Model], out: Path
) -> Iterator[dict[str, Any]]:
    """Solves some files and writes their answers; yields what each JSON holds."""
    maps: list[np.ndarray] = []
    solved: list[tuple[Path, str]] = []
    for path, name in files:
        try:
            maps.append(read_depth_file(path))
            solved.append((path, name))
        except UserError as error:
            yield {"input": input_name(path), "error": str(error).removeprefix(f"{path}: ")}
    if not maps:
        return
    # Always a full batch: another size would be compiled anew.
    filled = maps + [maps[0]] * (_BATCH_SIZE.value - len(maps))
    known = None
    if _FOCAL_PX.value is not None or _FOV_DEG.value is not None:
        known = np.array([known_focal(values.shape[1]) for values in filled])
    recovery = inference.recover(models, inference.make_blocks(filled), known)
    a, b = recovery.affine()
    for i, ((path, name), values) in enumerate(zip(solved, maps, strict=True)):
        solvable = bool(recovery.solvable[i])
        contents = export.answer(
            input_name=input_name(path),
            space=_SPACE.value,
            size=(values.shape[0], values.shape[1]),
            focal=float(recovery.focal[i]) if solvable else None,
            shift=float(recovery.shift[i]) if solvable else None,
            a=float(a[i]) if solvable else None,
            b=float(b[i]) if solvable else None,
            metric=inference.is_metric(models),
            model=",".join(model.name for model in models),
            error=None if solvable else "too few valid pixels, or all of one value",
        )
        export.write_answer(out / f"{name}.json", contents)
        if solvable:
            depth = export.recovered_depth(values, a[i], b[i], _SPACE.value)
            cloud = export.cloud_of(depth, float(recovery.focal[i]))
            unit = f"unit: {contents['unit']}"
            axes = "axes: x right, y down, z forward"
            export.write_ply(out / f"{name}.ply", cloud, (axes, unit))
        yield contents


def known_focal(width: int) -> float:
    """The focal length in pixels that the user gave, for a map of this width."""
    if _FOCAL_PX.value is not None:
        return _FOCAL_PX.value
    return float(camera.fov_to_focal(math.radians(_FOV_DEG.value), width))


def input_name(path: Path) -> str:
    """A file's path as answers tell it: relative to --input where that is a folder."""
    root = Path(_INPUT.value)
    return path.relative_to(root).as_posix() if path != root else path.name


def write_summary(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One line for each input, the columns of its JSON; empty where there is no value."""
    columns = export.answer(
        input_name="", space="depth", size=(1, 1), focal=None, shift=None, a=None, b=None,
        metric=False, model="",
    )  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


if __name__ == "__main__":
    program.run(main)
