"""Reads PLY files as their format says, with nothing of the project."""

import struct

import numpy as np


def parse_ply(contents):
    """The rows of a PLY's vertices, and the comments of its head."""
    lines, position = [], 0
    while not lines or lines[-1] != "end_header":
        end = contents.index(b"\n", position)
        lines.append(contents[position:end].decode("ascii"))
        position = end + 1
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    layout = {"float": "f", "uchar": "B"}
    properties = [line.split()[1:] for line in lines if line.startswith("property")]
    names = [name for _, name in properties]
    normal, colour = ["nx", "ny", "nz"], ["red", "green", "blue"]
    assert names in [["x", "y", "z", *more] for more in ([], normal, colour, normal + colour)]
    (elements,) = [line.split() for line in lines if line.startswith("element")]
    assert elements[:2] == ["element", "vertex"]
    form = "<" + "".join(layout[kind] for kind, _ in properties)
    points = list(struct.iter_unpack(form, contents[position:]))
    assert len(points) == int(elements[2])
    return points, [line for line in lines if line.startswith("comment")]


def read_ply(path):
    """The points of a PLY, (N, 3) float32, without their colours."""
    points, _ = parse_ply(path.read_bytes())
    return np.array([point[:3] for point in points], np.float32).reshape(-1, 3)
