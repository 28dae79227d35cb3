"""What can be prepared: the three datasets, and captures of the user's own cameras."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.protocol import Reader
from data.readers.kenburns import KenBurns
from data.readers.maps import Maps
from data.readers.nerfstudio import Nerfstudio
from data.readers.record3d import Record3D
from data.readers.scannet import ScanNet
from data.readers.taskonomy import Taskonomy
from data.readers.tum import Tum
from train3d_jax.errors import UserError

Camera = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels of the depth maps; pixel centres are at integers."""

# In the order of the counts in --num_samples; a dataset is added here and in
# launch/preparation/flags.py.
READERS: dict[str, Callable[[Path], Reader]] = {
    ScanNet.name: ScanNet,
    KenBurns.name: KenBurns,
    Taskonomy.name: Taskonomy,
}

# Likewise, behind those; only folders that are given have a count.
OWN_READERS: dict[str, Callable[[Path], Reader]] = {
    Maps.name: Maps,
    Nerfstudio.name: Nerfstudio,
    Tum.name: Tum,
    Record3D.name: Record3D,
}

_ALL = {**READERS, **OWN_READERS}


class Source(NamedTuple):
    """A dataset, or captures of one kind: its name, its folder, how many samples it gives."""

    name: str
    root: Path | None
    count: int


def by_name(roots: Sequence[Path | None]) -> dict[str, Path | None]:
    """Folders by what they hold; as many as are given, in the order of the flags."""
    return dict(zip(_ALL, roots, strict=False))


def sources(roots: Sequence[Path | None], counts: Sequence[int]) -> list[Source]:
    """Which folder gives how many samples.

    Args:
      roots: of the three datasets, then of own captures; None where one is not given, and the
        latter may be left off.
      counts: of the three datasets, then one for each folder of own captures that is given; where
        no dataset is given, the first three may be left off.

    Raises:
      UserError: there are too many counts or too few, or one is negative.
    """
    named = by_name(roots)
    own = [name for name in OWN_READERS if named.get(name)]
    all_counts = list(counts)
    if own and len(counts) == len(own) and not any(named[name] for name in READERS):
        all_counts = [0] * len(READERS) + all_counts
    if len(all_counts) != len(READERS) + len(own) or min(all_counts) < 0:
        raise UserError(
            f"--num_samples={','.join(map(str, counts))}: give three counts of 0 or more, for"
            f" {', '.join(READERS)} in this order, such as 100,50,50{_of_own(own)}"
        )
    names = [*READERS, *own]
    return [Source(name, named[name], n) for name, n in zip(names, all_counts, strict=True)]


def _of_own(names: list[str]) -> str:
    if not names:
        return ""
    of_each = f"one for {', '.join(f'--{name}' for name in names)}"
    return f", and behind them {of_each}; or the latter alone where no dataset is given"


def flags() -> str:
    """The flags that take a folder, for messages."""
    return ", ".join(f"--{name}" for name in _ALL)


def open_reader(name: str, root: Path, tum_camera: Camera | None) -> Reader:
    """The reader of a folder; `tum_camera` is that of TUM captures."""
    return Tum(root, tum_camera) if name == Tum.name else _ALL[name](root)
