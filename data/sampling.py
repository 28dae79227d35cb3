"""How many frames from which scene, and which: pure functions of the seed and of the scenes.

Nothing here looks at the file system or at how many workers there are, so the same scenes and the
same seed give the same frames.  Chance comes from `random.Random(text).random()` alone: unlike
numpy's generators, it is promised to stay the same from one version to the next.
"""

import random
from collections.abc import Sequence

from data.protocol import Frame, Scene


def allocate(sizes: Sequence[int], total: int, seed: int) -> list[int]:
    """Shares `total` out as evenly as the sizes allow; the sum of the answer is exactly `total`.

    Small entries give all they have, the others the same number; where that leaves a remainder, the
    seed decides which of them give one more.

    >>> allocate([2, 100, 100], 10, seed=0)
    [2, 4, 4]

    Raises ValueError when `total` is negative or more than there is.
    """
    if not 0 <= total <= sum(sizes):
        raise ValueError(f"cannot take {total} of {sum(sizes)}")
    remaining, level = total, 0
    # Level by level, like water rising in vessels: each full vessel leaves more for the others.
    for position, size in enumerate(sorted(sizes)):
        vessels = len(sizes) - position
        if (size - level) * vessels > remaining:
            level += remaining // vessels
            remaining %= vessels
            break
        remaining -= (size - level) * vessels
        level = size
    shares = [min(size, level) for size in sizes]
    generator = random.Random(f"{seed}/allocate")
    order = sorted(range(len(sizes)), key=lambda _: generator.random())
    for index in [each for each in order if sizes[each] > level][:remaining]:
        shares[index] += 1
    return shares


def allocate_scenes(scenes: Sequence[Scene], total: int, seed: int) -> list[int]:
    """How many frames each scene gives: evenly, and no second view before every first is taken.

    Raises ValueError when `total` is negative or more than there is.
    """
    rounds = [scene.rounds() for scene in scenes]
    available = sum(map(sum, rounds))
    if not 0 <= total <= available:
        raise ValueError(f"cannot take {total} of {available}")
    counts = [0] * len(scenes)
    for taken in range(max(map(len, rounds), default=0)):
        sizes = [each[taken] if taken < len(each) else 0 for each in rounds]
        share = min(total - sum(counts), sum(sizes))
        for index, count in enumerate(allocate(sizes, share, seed)):
            counts[index] += count
    return counts


def choose(scene: Scene, count: int, seed: int) -> list[Frame]:
    """`count` different frames of a scene, in the scene's order, spread evenly over its places.

    A second view of a place is taken only when every place has given its first; which view comes
    first is drawn for each place.  Raises ValueError when the scene does not have `count`.
    """
    generator = random.Random(f"{seed}/{scene.name}")
    candidates: Sequence[int] = range(len(scene.places))
    first_view: dict[int, int] = {}
    chosen: list[tuple[int, int]] = []
    taken = 0
    while len(chosen) < count and candidates:
        for place in _spread(candidates, min(count - len(chosen), len(candidates)), generator):
            views = len(scene.places[place])
            if place not in first_view:
                first_view[place] = _draw(generator, views)
            chosen.append((place, (first_view[place] + taken) % views))
        taken += 1
        if len(chosen) < count:
            candidates = [place for place in candidates if len(scene.places[place]) > taken]
    if len(chosen) != count:
        raise ValueError(f"cannot take {count} of {len(chosen)} in {scene.name}")
    return [scene.places[place][view] for place, view in sorted(chosen)]


def _spread(candidates: Sequence[int], count: int, generator: random.Random) -> list[int]:
    """`count` different candidates at even distances, from a drawn start."""
    # In integers: k * n / count + start / count never meets itself, and stays under n.
    start = _draw(generator, len(candidates))
    return [candidates[(k * len(candidates) + start) // count] for k in range(count)]


def _draw(generator: random.Random, below: int) -> int:
    return int(generator.random() * below)
