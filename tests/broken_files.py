"""Depth files of every kind, and ways to break them: test input."""

import io
import struct
import zipfile

import numpy as np
from PIL import Image
from raw_files import exr, png16


def npy(values, allow_pickle=False):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=allow_pickle)
    return file.getvalue()


def npz(compressed=True, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def tiff(values, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", **options)
    return file.getvalue()


def picture(values, kind):
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def pfm(values, scale=-1.0):
    order = "<" if scale < 0 else ">"
    head = f"Pf\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode()
    return head + values[::-1].astype(f"{order}f4").tobytes()


def whole_files(values):
    """A whole file of every kind that is read; `values` are uint16, exact in a half."""
    return {
        "plain.npy": npy(values),
        "double.npy": npy(values.astype(float)),
        "compressed.npz": npz(depth=values.astype(np.float32)),
        "stored.npz": npz(compressed=False, depth=values),
        "sixteen.png": png16(values),
        "sixteen.tif": tiff(values),
        "deflated.tiff": tiff(values, compression="tiff_adobe_deflate"),
        "integer.tiff": tiff(values.astype(np.int32), compression="tiff_lzw"),
        "float.tiff": tiff(values.astype(np.float32)),
        "half.exr": exr(values.astype(np.float16)),
        "little.pfm": pfm(values),
        "big.pfm": pfm(values, 1.0),
    }


def claims_too_much(side=1_000_000):
    """Files whose heads claim `side` x `side` pixels, and archives that unpack to a lot."""
    values = np.ones((4, 4), np.uint16)
    head = npy(np.ones((4, 4), np.float32)).replace(b"(4, 4), }", f"({side}, {side}), }}".encode())
    # The head's length is fixed: what the numbers take is taken from the spaces behind them.
    head = head.replace(b" " * len(f"{2 * side}") + b"\n", b"\n", 1)
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
        "huge.npy": head,
        "bomb.npz": bomb.getvalue(),
        "huge.png": png,
        "huge.tiff": bytes(tiff_head),
        "huge.exr": whole_exr.replace(window, struct.pack("<4i", 0, 0, side - 1, side - 1)),
        "huge.pfm": f"Pf\n{side} {side}\n-1\n".encode() + bytes(64),
    }


def spoil(contents, rng):
    """Breaks a file: cuts it, flips bits, overwrites or repeats a part, or adds to its end."""
    spoilt = bytearray(contents)
    way = rng.integers(5)
    place = int(rng.integers(len(spoilt) or 1))
    # Heads decide most, so half of the faults are in the first 64 bytes.
    place = min(place, 63) if rng.random() < 0.5 else place
    if way == 0:
        del spoilt[place:]
    elif way == 1:
        for flip in rng.integers(0, len(spoilt), rng.integers(1, 9)):
            spoilt[flip] ^= 1 << int(rng.integers(8))
    elif way == 2:
        part = rng.integers(0, 256, rng.integers(1, 17)).astype(np.uint8).tobytes()
        spoilt[place : place + len(part)] = part
    elif way == 3:
        spoilt[place:place] = spoilt[place : place + int(rng.integers(1, 200))]
    else:
        del spoilt[place : place + int(rng.integers(1, 40))]
    return bytes(spoilt)
