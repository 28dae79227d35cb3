"""Whatever a file holds, it is read or refused in one line; and none stops the others."""

import resource
import sys

import h5py
import numpy as np
import pytest
from broken_files import (
    hdf5,
    npy,
    spoil,
    whole_exrs,
    whole_files,
    whole_files_of_arrays,
    whole_files_of_other_layouts,
)
from claiming_files import claims_too_much

from train3d_jax.errors import DataError
from train3d_jax.formats.depth import ReadSettings, read_depth_file

# pytest sets the filters of data.images aside.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

VALUES = np.random.default_rng(0).integers(1, 2000, (37, 21)).astype(np.uint16)
WHOLE = {
    **whole_files(VALUES),
    **whole_files_of_other_layouts(VALUES),
    **whole_files_of_arrays(VALUES),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read_and_spoilt_ones_read_or_refused_in_one_line(tmp_path, capfd, name):
    refused = read_spoilt(tmp_path / name, WHOLE[name])
    assert refused > 5
    assert capfd.readouterr() == ("", "")  # no library speaks up


def test_exrs_of_any_kind_are_read_and_spoilt_ones_read_or_refused(tmp_path, capfd):
    for name, contents in whole_exrs(tmp_path, VALUES).items():
        assert read_spoilt(tmp_path / name, contents, times=20) > 2, name
    assert capfd.readouterr() == ("", "")


def read_spoilt(path, contents, times=40):
    """How many of `times` spoilt copies are refused; a whole one is read."""
    path.write_bytes(contents)
    np.testing.assert_array_equal(read_depth_file(path), VALUES)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(times):
        path.write_bytes(spoil(contents, rng))
        try:
            values = read_depth_file(path)
            assert values.ndim == 2 and values.dtype == np.float32
        except DataError as error:
            refused += 1
            assert path.name in str(error) and "\n" not in str(error) and len(error.reason) < 300
    return refused


@pytest.mark.parametrize("side", [1_000_000, 40_000])
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory in Linux' units")
def test_files_that_claim_too_much_are_refused_before_memory_is_taken(tmp_path, side):
    files = claims_too_much(side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, contents in files.items():
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(DataError, match=name):
            read_depth_file(tmp_path / name)
    # KiB.  The smallest claim is of 3 GiB, in 16 bits.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_an_hdf5_file_reads_no_other_file(tmp_path):
    values = np.ones((4, 4), np.float32)
    (tmp_path / "other").write_bytes(values.tobytes())
    (tmp_path / "other.h5").write_bytes(hdf5(values))
    links = {"a.h5": h5py.ExternalLink(str(tmp_path / "other.h5"), "depth")}
    for name, link in {**links, "b.h5": h5py.SoftLink("/c")}.items():
        with h5py.File(tmp_path / name, "w") as held:
            held["depth"] = link
        with pytest.raises(DataError, match=rf"{name}: holds no depth, only nothing"):
            read_depth_file(tmp_path / name, ReadSettings(key="depth"))
    with h5py.File(tmp_path / "c.h5", "w") as held:
        kept = [(str(tmp_path / "other"), 0, 64)]
        held.create_dataset("depth", (4, 4), np.float32, external=kept)
    with h5py.File(tmp_path / "d.h5", "w") as held:
        layout = h5py.VirtualLayout((4, 4), np.float32)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "depth", (4, 4))
        held.create_virtual_dataset("depth", layout)
    for name in ("c.h5", "d.h5"):
        with pytest.raises(DataError, match="values are in other files"):
            read_depth_file(tmp_path / name)


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("was unpickled",))

    for name, contents in {
        "map.npy": npy(np.array([[Bomb()]], object), allow_pickle=True),
        "map.npz": b"",
    }.items():
        if contents:
            (tmp_path / name).write_bytes(contents)
        else:
            np.savez(tmp_path / name, depth=np.array([[Bomb()]], object))
        with pytest.raises(DataError, match="not numbers"):
            read_depth_file(tmp_path / name)
