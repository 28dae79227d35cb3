"""How everything here is measured: rivals take turns, so that all see the same machine."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      name: what was measured, and against what.
      value: median over the rounds.
      spread: half the difference between the second highest and second lowest round, relative to
        the value; what moves by less is noise.
      unit: "x" for ratios.
      aim: what the project wants to reach, in the same unit.
      better: whether more is better or less.
      floor: what the machine allows at best, in words and figures.
    """

    name: str
    value: float
    spread: float
    unit: str
    aim: float | None
    better: Literal["more", "less"] = "more"
    floor: str = ""


def in_turns(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of each task in each round; the first round, which compiles, is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            began = clock()
            task()
            taken[name].append(clock() - began)
    return {name: np.array(seconds[1:]) for name, seconds in taken.items()}


def row(name: str, rounds: np.ndarray, unit: str, aim: float | None, **more) -> Row:
    """A row of figures of one kind, one a round; ratios are taken within a round."""
    low, high = np.sort(rounds)[[1, -2]] if len(rounds) > 3 else (rounds.min(), rounds.max())
    value = float(np.median(rounds))
    return Row(name, value, float(high - low) / 2 / value, unit, aim, **more)
