"""Parts of a folder, one for each of several machines."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from train3d_jax.errors import UserError

_Item = TypeVar("_Item")


class Shard(NamedTuple):
    """Part `number` of `count`, counted from 1."""

    number: int
    count: int

    def take(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Every count-th item: neighbours, which take similar time, go to different parts."""
        return items[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def shard_of(text: str | None, merge: bool) -> Shard | None:
    """The shard that --shard names; None for the whole folder.

    Raises:
      UserError: it names none, or --merge is given with it.
    """
    if text is None:
        return None
    if merge:
        raise UserError(f"--shard={text} and --merge: merge once all shards are done, without it")
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = Shard(*map(int, match.groups())) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise UserError(f"--shard={text}: give the number of the part and how many, such as 2/8")
    return shard
