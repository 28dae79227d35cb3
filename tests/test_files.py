import os
import subprocess
import sys
from pathlib import Path

import pytest

from train3d_jax.errors import UserError
from train3d_jax.files import own_part, write_whole


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


def test_two_processes_write_the_same_file_beside_each_other(tmp_path):
    code = (
        "from pathlib import Path; from train3d_jax.files import own_part;"
        "print(own_part(Path('f')))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True
    ).stdout.strip()
    assert other.startswith("f.") and other.endswith(".part")
    assert own_part(Path("f")) == own_part(Path("f")) != Path(other)
    (tmp_path / other).write_bytes(b"hal")
    write_whole(tmp_path / "f", b"whole", beside=own_part)
    assert (tmp_path / "f").read_bytes() == b"whole"
    assert (tmp_path / other).read_bytes() == b"hal"
