"""Depth files of every kind, and ways to break them: test input."""

import io
import struct
import zipfile
import zlib

import imagecodecs
import numpy as np
import OpenEXR
import tifffile
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


def any_tiff(values, **options):
    """A TIFF of types and layouts that Pillow does not write."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def any_exr(path, channels, compression="ZIP"):
    """An OpenEXR file of any channels, {name: (H, W)}."""
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION")}
    OpenEXR.File(header, dict(channels)).write(str(path))
    return path.read_bytes()


def png16_of(*channels):
    """A 16-bit PNG of 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels."""
    return imagecodecs.png_encode(np.stack(channels, -1).astype(np.uint16))


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


def whole_files_of_other_layouts(values):
    """Whole files of the same kinds as other programs write them."""
    return {
        "colour.png": png16_of(values, values, values),
        "double.tif": any_tiff(values.astype(float), compression="zlib", predictor=True),
        "half.tif": any_tiff(values.astype(np.float16), byteorder=">"),
        "tiled.tif": any_tiff(values.astype(np.float32), tile=(16, 16), compression="lzw"),
        "zstd.tif": any_tiff(values.astype(np.uint64), compression="zstd", rowsperstrip=5),
        "planar.tif": any_tiff(
            np.stack([values.astype(np.float32)] * 3), photometric="rgb", planarconfig="separate"
        ),
        "colour.pfm": b"PF\r\n# red, green, blue\r\n%d %d\r\n1.0\r\n" % values.shape[::-1]
        + np.repeat(values[::-1].astype(">f4"), 3).tobytes(),
    }


def whole_exrs(folder, values):
    """Whole OpenEXR files of several compressions and channels."""
    floats = values.astype(np.float32)
    grey = dict.fromkeys("RGB", floats)
    depth = {"Depth.Z": floats, "Normal.X": floats, "Normal.Y": floats, "Normal.Z": floats}
    return {
        f"{compression}{len(channels)}.exr": any_exr(folder / "x.exr", channels, compression)
        for compression in ("NO", "RLE", "ZIPS", "PIZ")
        for channels in (grey, depth)
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
        "huge3.pfm": f"PF\n{side} {side}\n-1\n".encode() + bytes(64),
        "bomb.tif": _tiff_bomb(),
        "huge.pfm": f"Pf\n{side} {side}\n-1\n".encode() + bytes(64),
    }


def _tiff_bomb():
    """A TIFF of 4 x 4 pixels whose one strip unpacks to 1 GiB."""
    packer = zlib.compressobj()
    mebibyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = mebibyte + mebibyte[2:] * 1023  # all but the first without the stream's head
    contents = any_tiff(np.ones((4, 4), np.float32), compression="zlib")
    sizes = contents.index(struct.pack("<HHI", 279, 4, 1))  # StripByteCounts; StripOffsets: 273
    offsets = contents.index(struct.pack("<HHI", 273, 4, 1))
    bomb = bytearray(contents)
    bomb[sizes + 8 : sizes + 12] = struct.pack("<I", len(packed))
    bomb[offsets + 8 : offsets + 12] = struct.pack("<I", len(contents))
    return bytes(bomb) + packed


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
