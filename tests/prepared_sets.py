"""Prepared sets of rendered rooms, and what tests of the loader do with their batches."""

import itertools

import numpy as np
from box_rooms import box_room
from tiny import Rooms

from data.loading import pipeline
from data.loading.splits import Subset
from data.prepared import layout, manifest, records, writing
from data.prepared.manifest import Origin
from data.protocol import DepthMap


def subset(count=7):
    return Subset(Rooms(count), np.arange(count))


def training_batches(count=7, batch_size=3, seed=0, num_workers=0, **options):
    subsets, weights = [subset(count)], None
    return pipeline.training_batches(
        subsets, weights, batch_size, "depth", seed, num_workers, **options
    )


def make_set(folder, samples, format=layout.NPZ, dataset="scannet", scene="scene{:04d}_00"):
    """Rooms in whole millimetres, which both formats keep, each a scene unless told otherwise."""
    writing.begin(folder)
    for index in range(samples):
        depth, intrinsics = box_room(index, (24, 32))
        millimetres = np.rint(1000 * depth).astype(np.uint16)
        millimetres[:3, :5] = 0
        depth = np.divide(millimetres, np.float32(1000), dtype=np.float32)
        origin = Origin(dataset, scene.format(index), "source", index)
        row = writing.write_sample(folder, index, DepthMap(depth, intrinsics), origin, format)
        manifest.append_rows(folder, [row])
    if format == layout.ARRAY_RECORD:
        records.pack(folder, 0, 0, samples)
    writing.finish(folder, {"format": format}, software="0")
    return folder


def take(dataset, count):
    iterator = iter(dataset)
    try:
        return list(itertools.islice(iterator, count))
    finally:
        iterator.close()


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
