"""Small things that stand on furniture, each a function of a numpy Generator.

A thing stands on z = 0 near the origin; sizes in metres are those of common household goods.  To
add one: write a function `(rng) -> Mesh` and enter it in `SMALL_THINGS`.
"""

import numpy as np

from data.rooms.meshes import (
    Mesh,
    ball,
    box,
    cylinder,
    lump,
    merge,
    place,
    revolution,
    rotation,
    transform,
    tube,
)
from data.rooms.pieces import tilted, wavy_profile


def _small_box(rng: np.random.Generator) -> Mesh:
    width, depth, height = rng.uniform(0.05, 0.35, 3)
    return place(box(width, depth, height), 0, 0, 0, rng.uniform(0, np.pi))


def _vase(rng: np.random.Generator) -> Mesh:
    profile = wavy_profile(rng, rng.uniform(0.04, 0.14), rng.uniform(0.12, 0.45))
    return tube(profile[1:-1], 0.25 * float(profile[1:-1, 0].min()))


def _bowl(rng: np.random.Generator) -> Mesh:
    radius, height = rng.uniform(0.07, 0.2), rng.uniform(0.04, 0.12)
    angle = np.linspace(0.3, np.pi / 2, 10)
    return tube(
        np.column_stack([radius * np.sin(angle), height * (1 - np.cos(angle))]), 0.15 * radius
    )


def _small_ball(rng: np.random.Generator) -> Mesh:
    return ball(rng.uniform(0.03, 0.15), rng.uniform(0.7, 1.0))


def _can(rng: np.random.Generator) -> Mesh:
    upright = cylinder(rng.uniform(0.025, 0.1), rng.uniform(0.08, 0.35))
    return upright if rng.random() < 0.8 else place(_lying(upright), 0, 0, 0, rng.uniform(0, 6))


def _lying(mesh: Mesh) -> Mesh:
    """An upright thing laid on its side, on z = 0 again."""
    laid = transform(mesh, rotation(0, np.pi / 2))
    return place(laid, 0, 0, -float(laid.vertices[:, 2].min()))


def _table_lamp(rng: np.random.Generator) -> Mesh:
    foot = wavy_profile(rng, rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.3))
    rim = rng.uniform(0.1, 0.2)
    shade = np.array([[rim, 0.0], [0.6 * rim, 0.2]])
    ring = np.concatenate([shade, shade[::-1] - [0.005, 0], shade[:1]])
    return merge([revolution(foot), place(revolution(ring), 0, 0, float(foot[-1, 1]))])


def _soft_thing(rng: np.random.Generator) -> Mesh:
    """A toy, a bag, a loaf, a bundle of clothes."""
    return lump(rng, rng.uniform(0.04, 0.2), rng.uniform(0.3, 1.2), rng.uniform(0.1, 0.4))


def _laptop(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(0.28, 0.4)
    screen = tilted(box(width, 0.01, 0.65 * width), rng.uniform(0.1, 0.6))
    mesh = merge([box(width, 0.7 * width, 0.02), place(screen, 0, -0.35 * width, 0.02)])
    return place(mesh, 0, 0, 0, rng.normal(0, 0.5))


def _book_pile(rng: np.random.Generator) -> Mesh:
    parts, height = [], 0.0
    for _ in range(rng.integers(1, 6)):
        thick = rng.uniform(0.01, 0.05)
        book = box(rng.uniform(0.12, 0.25), rng.uniform(0.15, 0.3), thick)
        parts.append(place(book, 0, 0, height, rng.normal(0, 0.3)))
        height += thick
    return merge(parts)


SMALL_THINGS = (_small_box, _small_box, _vase, _bowl, _small_ball, _can, _table_lamp, _laptop,
                _book_pile, _soft_thing, _soft_thing)  # fmt: skip
