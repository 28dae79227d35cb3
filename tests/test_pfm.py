import numpy as np
import pytest
from broken_files import pfm
from raw_files import put

from train3d_jax.errors import DataError
from train3d_jax.formats.pfm import read_pfm

VALUES = np.random.default_rng(0).integers(1, 2000, (5, 7)).astype(np.float32)
BODY = VALUES[::-1].astype("<f4").tobytes()


def read(tmp_path, contents):
    return read_pfm(put(tmp_path / "map.pfm", contents))


@pytest.mark.parametrize("scale", [-1.0, 1.0, -0.5])
def test_a_pfm_is_read_from_its_lowest_row_in_either_byte_order(tmp_path, scale):
    np.testing.assert_array_equal(read(tmp_path, pfm(VALUES, scale)), VALUES)


HEADS = [
    b"Pf\n7 5\n-1\n",
    b"Pf\r\n7 5\r\n-1.0\r\n",
    b"Pf\r7 5\r-1\r",
    b"Pf 7 5 -1 ",
    b"Pf\n7\n5\n-1\t",
    b"Pf\n# made by hand\n7 5 # columns, rows\n# and then\n-1e0\n",
    b"Pf\r\n# comment\r\n7 5\r\n-1\r\n",
    b"Pf\n7 5\n-1 # scale\n# the values\n",
    b"Pf\n7 5\n-1 \n",
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("first", [b"\n", b"\r", b" ", b"#", b"\x80"])
def test_heads_of_any_writer_are_read_whatever_byte_the_values_begin_with(tmp_path, head, first):
    body = first + BODY[1:]
    values = np.frombuffer(body, "<f4").reshape(5, 7)[::-1]
    np.testing.assert_array_equal(read(tmp_path, head + body), values)


@pytest.mark.parametrize("head", HEADS[:2])
@pytest.mark.parametrize("first", [b"\n", b"\r", b"\x80"])
def test_a_file_of_a_byte_more_or_less_is_refused(tmp_path, head, first):
    body = first + BODY[1:]
    for contents, reason in ((body[:-1], "ends too early"), (body + b"\n", "follow its scale")):
        with pytest.raises(DataError, match=f"not a readable PFM: .*{reason}"):
            read(tmp_path, head + contents)


def test_colour_is_read_where_its_channels_agree(tmp_path):
    head = b"PF\n7 5\n-1\n"
    same = np.repeat(VALUES[::-1], 3, 1).astype("<f4")
    np.testing.assert_array_equal(read(tmp_path, head + same.tobytes()), VALUES)
    same[2, 4] += 1
    with pytest.raises(DataError, match="in colour: its 32-bit channels differ"):
        read(tmp_path, head + same.tobytes())


@pytest.mark.parametrize("scale", [b"0", b"-", b"1e", b"--1"])
def test_a_scale_without_a_sign_to_go_by_is_refused(tmp_path, scale):
    with pytest.raises(DataError, match="its scale"):
        read(tmp_path, b"Pf\n7 5\n" + scale + b"\n" + BODY)
