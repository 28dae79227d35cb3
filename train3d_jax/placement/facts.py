"""Facts that give a map its metres: a known length, a known depth, the height of the camera.

Plain records, which flags can make before JAX is imported; `metres` measures them.
"""

from dataclasses import dataclass
from typing import ClassVar

Pixel = tuple[float, float]
"""(u, v): column and row, pixel centres at integers."""


@dataclass(frozen=True)
class KnownLength:
    """The distance between the points that two pixels show.

    Attributes:
      first: one pixel.
      second: the other.
      metres: between them, > 0.
    """

    first: Pixel
    second: Pixel
    metres: float

    name: ClassVar = "known_length"

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in (*self.first, *self.second, self.metres))


@dataclass(frozen=True)
class KnownDepth:
    """The depth, along the optical axis, of the point that a pixel shows.

    Attributes:
      pixel: which.
      metres: z, > 0.
    """

    pixel: Pixel
    metres: float

    name: ClassVar = "known_depth"

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in (*self.pixel, self.metres))


@dataclass(frozen=True)
class CameraHeight:
    """The height of the camera above the floor, or the lowest level surface that is seen.

    Attributes:
      metres: > 0.
    """

    metres: float

    name: ClassVar = "camera_height"

    def __str__(self) -> str:
        return f"{self.metres:g}"


Fact = KnownLength | KnownDepth | CameraHeight
