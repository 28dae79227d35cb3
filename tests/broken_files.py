"""Depth files of every kind, and ways to break them: test input."""

import gzip
import io
import json
import zipfile

import h5py
import imagecodecs
import numpy as np
import OpenEXR
import scipy.io
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


def hdf5(values, key="depth", userblock=0, others=(), **options):
    """An HDF5 file; options as of h5py's `create_dataset`."""
    file = io.BytesIO()
    with h5py.File(file, "w", userblock_size=userblock) as held:
        held.create_dataset(key, data=values, **options)
        for name, array in dict(others).items():
            held.create_dataset(name, data=array)
    return file.getvalue()


def mat73(values, key="depth", others=(), **options):
    """A .mat of version 7.3: HDF5 behind 512 bytes of text, axes in MATLAB's order."""
    text = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    contents = hdf5(np.asarray(values).T, key, 512, others, **options)
    return text.ljust(512, b"\0") + contents[512:]


def mat(compressed=True, **arrays):
    """A .mat of version 5."""
    file = io.BytesIO()
    scipy.io.savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


def depth(values):
    return imagecodecs.lzfse_encode(values.astype("<f4").tobytes())


def r3d(*frames, metadata=None, more=(), compression=zipfile.ZIP_DEFLATED):
    """A .r3d; without metadata of its own it states the size of the first frame."""
    height, width = frames[0].shape if frames else (256, 192)
    if metadata is None:
        metadata = {"dw": width, "dh": height, "w": 4 * width, "h": 4 * height, "K": [1.0] * 9}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as held:
        held.writestr("metadata", json.dumps(metadata))
        for number, values in enumerate(frames):
            held.writestr(f"rgbd/{number}.depth", depth(values))
            held.writestr(f"rgbd/{number}.jpg", b"")
        for name, contents in dict(more).items():
            held.writestr(name, contents)
    return file.getvalue()


def colmap(values, channels=1):
    head = f"{values.shape[1]}&{values.shape[0]}&{channels}&".encode()
    return head + values.astype("<f4").tobytes() * channels


def whole_files_of_arrays(values):
    """Whole files of formats that hold arrays of any shape, and of sensors and reconstructions."""
    floats = values.astype(np.float32)
    others = {"mask": values > 0, "fov": np.float32(60)}
    return {
        "plain.npy.gz": gzip.compress(npy(values), mtime=0),
        "plain.h5": hdf5(values),
        "chunks.h5": hdf5(floats, chunks=(10, 8), others=others),
        "deflated.hdf5": hdf5(floats, "dataset", compression="gzip", shuffle=True),
        "checked.h5": hdf5(values, "a/b/depth", compression="gzip", fletcher32=True),
        "lzf.h5": hdf5(values, compression="lzf", chunks=(16, 16)),
        "seven.mat": mat73(values.astype(float)),
        "seven_deflated.mat": mat73(floats, compression="gzip"),
        "five.mat": mat(compressed=False, depth=values, name="room", fov=60.0),
        "five_deflated.mat": mat(depth=values.astype(float), mask=np.array([[1, 2]], np.uint8)),
        "frame.r3d": r3d(values, compression=zipfile.ZIP_STORED),
        "deflated.r3d": r3d(values),
        "room.jpg.geometric.bin": colmap(values),
        "room.jpg.photometric.bin": colmap(values),
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
