import os

import pytest

from train3d_jax.errors import UserError
from train3d_jax.files import write_whole


def test_no_name_ever_stands_for_half_a_file(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", b"old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_folders_are_made_and_nothing_is_left_beside(tmp_path):
    write_whole(tmp_path / "a" / "b" / "file", b"contents")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"contents"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


def test_what_the_system_refuses_to_write_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(UserError, match=r"plain/file: cannot be written: "):
        write_whole(tmp_path / "plain" / "file", b"new")
