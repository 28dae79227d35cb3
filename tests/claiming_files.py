"""Depth files whose heads claim too much, and small ones that unpack to a lot: test input."""

import gzip
import io
import struct
import zipfile
import zlib

import h5py
import imagecodecs
import numpy as np
from broken_files import any_tiff, mat, npy, r3d, tiff
from raw_files import exr, png16

GIBIBYTE = 1 << 30


def claims_too_much(side=1_000_000):
    """Files whose heads claim `side` x `side` pixels, and archives that unpack to a lot."""
    values = np.ones((4, 4), np.uint16)
    bomb = io.BytesIO()
    claim = {"descr": "<f4", "fortran_order": False, "shape": (1 << 14, 1 << 14)}
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as held,
        held.open("depth.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, claim)
        for _ in range(64):
            file.write(bytes(1 << 20))
    png = png16(values)
    png = png[:16] + struct.pack(">II", side, side) + png[24:]
    whole_tiff = tiff(values)
    tiff_head = bytearray(whole_tiff)
    for tag in (256, 257):  # width and length; each entry: tag, type, count, value
        place = (
            whole_tiff.index(struct.pack("<HHI", tag, 4, 1))
            if (struct.pack("<HHI", tag, 4, 1) in whole_tiff)
            else whole_tiff.index(struct.pack("<HHI", tag, 3, 1))
        )
        tiff_head[place : place + 12] = struct.pack("<HHII", tag, 4, 1, side)
    window = struct.pack("<4i", 0, 0, 3, 3)
    whole_exr = exr(np.ones((4, 4), np.float16))
    return {
        "huge.npy": _claiming_npy(side),
        "bomb.npz": bomb.getvalue(),
        "huge.png": png,
        "huge.tiff": bytes(tiff_head),
        "huge.exr": whole_exr.replace(window, struct.pack("<4i", 0, 0, side - 1, side - 1)),
        "huge3.pfm": f"PF\n{side} {side}\n-1\n".encode() + bytes(64),
        "bomb.tif": _tiff_bomb(),
        **_arrays_that_claim_too_much(side),
        "huge.pfm": f"Pf\n{side} {side}\n-1\n".encode() + bytes(64),
    }


def _claiming_npy(side):
    head = npy(np.ones((4, 4), np.float32)).replace(b"(4, 4), }", f"({side}, {side}), }}".encode())
    # The head's length is fixed: what the numbers take is taken from the spaces behind them.
    return head.replace(b" " * len(f"{2 * side}") + b"\n", b"\n", 1)


def _tiff_bomb():
    """A TIFF of 4 x 4 pixels whose one strip unpacks to 1 GiB."""
    packed = _zeros_behind(b"")
    contents = any_tiff(np.ones((4, 4), np.float32), compression="zlib")
    sizes = contents.index(struct.pack("<HHI", 279, 4, 1))  # StripByteCounts; StripOffsets: 273
    offsets = contents.index(struct.pack("<HHI", 273, 4, 1))
    bomb = bytearray(contents)
    bomb[sizes + 8 : sizes + 12] = struct.pack("<I", len(packed))
    bomb[offsets + 8 : offsets + 12] = struct.pack("<I", len(contents))
    return bytes(bomb) + packed


def _arrays_that_claim_too_much(side):
    """Files of arrays, of sensors and of reconstructions."""
    ones = np.ones((4, 4), np.float32)
    deflated = _zeros_behind(b"")
    packed = imagecodecs.lzfse_encode(bytes(1 << 24))
    unpacks_to_a_lot = packed[:-4] * 64 + packed[-4:]  # all but the mark of the end, repeatedly
    return {
        "huge.npy.gz": gzip.compress(_claiming_npy(side), mtime=0),
        "huge.h5": _chunked(side, chunks=(16, 16)),
        "chunks.h5": _chunked(1 << 13, bytes(4), chunks=(1, 1)),
        "chunk.h5": _chunked(4, chunks=(1 << 14, 1 << 14)),
        "bomb.h5": _chunked(4, deflated, chunks=(4, 4), compression="gzip"),
        "lzf.h5": _chunked(4, deflated, chunks=(4, 4), compression="lzf"),
        "huge.mat": _claiming_mat(mat(depth=ones), 1 << 14),
        "bomb.mat": _claiming_mat(mat(depth=ones), 4, size=GIBIBYTE),
        "bomb.depth": unpacks_to_a_lot,
        "huge.r3d": r3d(ones, metadata={"dw": side, "dh": side}),
        "bomb.r3d": r3d(metadata={"dw": 4, "dh": 4}, more={"rgbd/0.depth": unpacks_to_a_lot}),
        "bomb_in_bomb.r3d": r3d(more={"rgbd/0.depth": bytes(1 << 26)}),
        "huge.geometric.bin": f"{side}&{side}&1&".encode() + bytes(64),
    }


def _zeros_behind(contents):
    """Contents and a gibibyte of zeros, deflated to a mebibyte."""
    packer, zeros = zlib.compressobj(), zlib.compressobj(wbits=-zlib.MAX_WBITS)
    first = packer.compress(contents) + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = zeros.compress(bytes(1 << 20)) + zeros.flush(zlib.Z_FULL_FLUSH)
    return first + 1024 * mebibyte


def _chunked(side, chunk=None, **options):
    """An HDF5 file of `side` x `side` values whose first chunk is stored as it is given."""
    file = io.BytesIO()
    with h5py.File(file, "w") as held:
        most = (None, None)
        data = held.create_dataset("depth", (side, side), np.float32, maxshape=most, **options)
        if chunk is not None:
            data.id.write_direct_chunk((0, 0), chunk)
    return file.getvalue()


def _claiming_mat(contents, side, size=None):
    """A compressed .mat of one variable, with another size in its head and zeros behind it."""
    body = bytearray(zlib.decompress(contents[136:]))
    dims = body.index(struct.pack("<4i", 5, 8, 4, 4)) + 8
    body[dims : dims + 8] = struct.pack("<2i", side, side)
    values = body.index(struct.pack("<2i", 7, 64))
    body[values + 4 : values + 8] = struct.pack("<I", size or 4 * side * side)
    packed = _zeros_behind(bytes(body))
    return contents[:128] + struct.pack("<II", 15, len(packed)) + packed
