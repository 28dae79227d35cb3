"""3D Ken Burns: rendered stereo quadruples of Unreal scenes.

    rgb/<scene>/<id>-meta.json                            {"intSample": 1, "fltFov": 90.0}
    depths/<scene>[-depth]/<id>-{tl,tr,bl,br}-depth.exr

fltFov is the full field of view in degrees of a square image.  The EXR has one half-float channel
`Y` in Unreal units, nominally centimetres.  The sky is 65024 or 65280.  The four views of an id are
near-duplicates: they are one place.
"""

import contextlib
import io
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from data.protocol import (
    DataError,
    DepthMap,
    Frame,
    Scene,
    folders,
    metric_depth,
    square_camera,
    unique_scenes,
)

_UNITS_PER_METRE = 100.0  # Unreal units are centimetres
_SKY_UNITS = 60000.0  # and beyond; the nearest halves in use are 65024 and 65280
_VIEWS = ("tl", "tr", "bl", "br")
_DEPTH_FILE = re.compile(r"(.+)-(tl|tr|bl|br)-depth\.exr")
_DEPTH_FOLDER_SUFFIX = "-depth"


@dataclass(frozen=True)
class KenBurns:
    """Reads 3D Ken Burns from the folder that holds `rgb/` and `depths/`."""

    root: Path
    name: ClassVar[str] = "kenburns"

    def scenes(self) -> list[Scene]:
        """One scene for each folder in `depths/`; a frame is an id and a view, `00001-tl`."""
        return unique_scenes(
            Scene(folder.name.removesuffix(_DEPTH_FOLDER_SUFFIX), folder, _places(folder))
            for folder in folders(self.root / "depths")
        )

    def file(self, scene: Scene, frame: Frame) -> Path:
        """The EXR file."""
        return scene.path / f"{frame}-depth.exr"

    def read(self, scene: Scene, frame: Frame) -> DepthMap:
        """The depth of one view, with the camera that its id's meta.json tells of."""
        path = self.file(scene, frame)
        identity = str(frame).rpartition("-")[0]
        meta = self.root / "rgb" / scene.name / f"{identity}-meta.json"
        field_of_view_deg = _field_of_view_deg(meta)
        units = _read_exr(path).astype(np.float32)
        try:
            intrinsics = square_camera(field_of_view_deg, *units.shape)
        except ValueError as error:
            raise DataError(path, f"with {meta.name}: {error}") from None
        return DepthMap(
            metric_depth(units, _UNITS_PER_METRE, missing=units >= _SKY_UNITS), intrinsics
        )


def _places(folder: Path) -> tuple[tuple[str, ...], ...]:
    """The ids of a folder in order, each with the views of it that are there."""
    views = defaultdict(set)
    for name in os.listdir(folder):
        if match := _DEPTH_FILE.fullmatch(name):
            views[match[1]].add(match[2])
    return tuple(
        tuple(f"{identity}-{view}" for view in _VIEWS if view in views[identity])
        for identity in sorted(views)
    )


def _field_of_view_deg(meta: Path) -> float:
    try:
        return float(json.loads(meta.read_bytes())["fltFov"])
    except FileNotFoundError:
        raise DataError(meta, "is missing, and with it the camera") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(meta, f"has no field of view `fltFov`: {error!r}") from None


def _read_exr(path: Path) -> np.ndarray:
    """(H, W) values of the channel `Y`."""
    import OpenEXR  # heavy, and needed by this dataset only

    if not path.is_file():
        raise DataError(path, "is missing")
    try:
        with _silence(), OpenEXR.File(str(path)) as image:
            values = image.channels()["Y"].pixels
    except KeyError:
        raise DataError(path, "has no channel Y") from None
    except Exception:
        # The binding raises whatever comes up first; its own text tells of parts, not of the file.
        raise DataError(path, "is not a readable OpenEXR file: truncated or damaged") from None
    if values.ndim != 2:
        raise DataError(path, f"has a channel Y of {values.ndim} dimensions")
    return values


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps OpenEXR from printing into the middle of the program's own output.

    On a damaged file the binding prints to Python's standard output, and the library beneath it to
    the process's standard error.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
