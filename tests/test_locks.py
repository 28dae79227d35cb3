import errno
import fcntl
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from train3d_jax.errors import UserError
from train3d_jax.locks import LOCK, hold

HERE = f"process {os.getpid()} on {platform.node()} trains it;"
HOLDER = """
import sys; from pathlib import Path; from train3d_jax.locks import hold
with hold(Path(sys.argv[1]), "trains"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], cwd=Path(__file__).parents[1], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "locked\n"
    return process


def refused(folder):
    with pytest.raises(UserError) as error, hold(folder, "trains"):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_process_is_named_and_its_end_however_it_comes_opens_the_folder(tmp_path):
    folder = tmp_path / "new" / "run"
    for end in ("kill", "close"):
        process = holder(folder)
        output = refused(folder)
        assert output.startswith(f"{folder}: process {process.pid} on {platform.node()} trains it;")
        if end == "kill":
            process.kill()
        else:
            process.stdin.close()
        process.wait()
        process.stdout.close()
        assert (folder / LOCK).exists() == (end == "kill")
        with hold(folder, "trains"):
            assert HERE in refused(folder)
        assert list(folder.iterdir()) == []


def test_an_error_within_opens_the_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), hold(tmp_path, "trains"):
        raise KeyboardInterrupt
    with hold(tmp_path, "trains"):
        pass


def test_a_lock_file_that_is_removed_between_opening_and_locking_is_made_anew(
    tmp_path, monkeypatch
):
    whole, removed = fcntl.flock, []

    def flock(file, operation):
        if not removed:
            removed.append((tmp_path / LOCK).unlink())
        whole(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(tmp_path, "trains"):
        assert HERE in refused(tmp_path)


def test_without_locks_of_the_file_system_processes_of_one_machine_see_each_other(
    tmp_path, monkeypatch
):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    process = holder(tmp_path)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert f"process {process.pid} on" in refused(tmp_path)
    process.kill()
    process.communicate()
    with hold(tmp_path, "trains"):  # it is gone
        assert HERE in refused(tmp_path)
    (tmp_path / LOCK).write_text("elsewhere 1\n")  # nobody knows whether that one still runs
    with hold(tmp_path, "trains"):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    wanted = r"file/run/\.lock: cannot be written: Not a directory"
    with pytest.raises(UserError, match=wanted), hold(tmp_path / "file" / "run", "trains"):
        pass
