"""The number of frames from each scene, and which: pure functions of the seed and of the scenes.

Nothing here depends on the file system or the number of workers, so the same scenes and seed give
the same frames.  Random numbers come from `random.Random(text).random()` alone, which, unlike
numpy's generators, is guaranteed to stay the same in later versions.
"""

import heapq
import math
import random
from collections.abc import Sequence

from data.protocol import Frame, Scene


def allocate(sizes: Sequence[int], total: int, seed: int) -> list[int]:
    """Divides `total` as evenly as the sizes allow; the shares add up to exactly `total`.

    Small entries give all they have, the others the same number; of a remainder the seed decides
    which entries give one more.

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
    """The number of frames of each scene: even, and no second view before every first is taken.

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


class Spares:
    """The frames of a scene that were not chosen, in the order in which they replace broken ones.

    The order is a function of seed, scene and which frames were broken.  A place that has given
    least comes first: one that was not chosen, then another view of the one that was broken.
    """

    def __init__(self, scene: Scene, chosen: Sequence[Frame], seed: int):
        generator = random.Random(f"{seed}/{scene.name}/spares")
        given = set(chosen)
        self._views: dict[Frame, tuple[Frame, ...]] = {}  # of places with more than one
        self._waiting: list[tuple[int, float, Frame]] = []  # a heap: given by its place, chance
        self._rank: dict[Frame, int] = {}
        for views in scene.places:
            left = [view for view in views if view not in given]
            left.sort(key=lambda _: generator.random())
            for rank, view in enumerate(left, start=len(views) - len(left)):
                self._waiting.append((rank, generator.random(), view))
                self._rank[view] = rank
            if len(views) > 1:
                self._views.update(dict.fromkeys(views, views))
        heapq.heapify(self._waiting)

    def broken(self, frame: Frame) -> None:
        """Records that a frame, chosen or drawn, was broken: its place has given one less."""
        for view in self._views.get(frame, ()):
            if view in self._rank:
                self._rank[view] -= 1
                # The older entry stays in the heap; it is passed over once this one is drawn.
                heapq.heappush(self._waiting, (self._rank[view], 0.0, view))

    def next_given(self) -> int | None:
        """How many views the place of the next one has given already; None when none is left."""
        while self._waiting and self._waiting[0][2] not in self._rank:
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def draw(self) -> Frame | None:
        """The next one; None when none is left."""
        if self.next_given() is None:
            return None
        frame = heapq.heappop(self._waiting)[2]
        del self._rank[frame]
        return frame


class Replacements:
    """Replacements of broken frames of one dataset.

    A replacement comes from the same scene while it has frames left, then from the other scenes in
    turn, first from those with an unused place.  Broken frames must be reported in the order of
    their samples.
    """

    def __init__(self, scenes: Sequence[Scene], counts: Sequence[int], seed: int):
        self._scenes, self._counts, self._seed = scenes, counts, seed
        self._spares: dict[int, Spares] = {}
        self._giver = 0  # the scene that is asked first when the own one has none left

    def replace(self, home: int, scene: int, frame: Frame) -> tuple[int, Frame] | None:
        """What to try next for a sample of scene number `home` after a frame of `scene` broke.

        Returns the number of a scene and a frame of it; None when the dataset has none left.
        """
        self._of(scene).broken(frame)
        drawn = self._of(home).draw()
        if drawn is not None:
            return home, drawn
        giver = self._next_giver()
        if giver is None:
            return None
        self._giver = giver + 1
        drawn = self._of(giver).draw()
        assert drawn is not None
        return giver, drawn

    def _next_giver(self) -> int | None:
        """The scene to ask: in turns, but no second view while any scene has an unused place."""
        fewest, best = math.inf, None
        for step in range(len(self._scenes)):
            number = (self._giver + step) % len(self._scenes)
            given = self._of(number).next_given()
            if given is not None and given < fewest:
                fewest, best = given, number
            if fewest <= 0:  # no need to look at the frames of all other scenes
                break
        return best

    def _of(self, number: int) -> Spares:
        if number not in self._spares:
            scene = self._scenes[number]
            chosen = choose(scene, self._counts[number], self._seed)
            self._spares[number] = Spares(scene, chosen, self._seed)
        return self._spares[number]


def _spread(candidates: Sequence[int], count: int, generator: random.Random) -> list[int]:
    """`count` different candidates at even distances, from a drawn start."""
    # In integers: k * n / count + start / count never meets itself, and stays under n.
    start = _draw(generator, len(candidates))
    return [candidates[(k * len(candidates) + start) // count] for k in range(count)]


def _draw(generator: random.Random, below: int) -> int:
    return int(generator.random() * below)
