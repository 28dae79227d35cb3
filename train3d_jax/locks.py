"""One process at a time in a folder: a lock that ends with the process that holds it."""

import contextlib
import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from train3d_jax.errors import UserError

LOCK = ".lock"
"""In the folder while it is locked: host and number of the process.  After a kill it stays behind,
unlocked."""

_LONGEST = 1000  # bytes that are read of it

_HELD = (errno.EWOULDBLOCK, errno.EACCES)
"""What `flock` says where another process holds the lock."""


@contextlib.contextmanager
def hold(folder: Path, doing: str) -> Iterator[None]:
    """Locks a folder, which is made if need be, as long as the context lasts.

    `flock` works across the machines of a cluster where the shared file system has locks (NFS,
    Lustre with its option flock).  Where it has none, processes of one machine exclude each other.

    Args:
      folder: to lock.
      doing: what the process does with it, for the message of another: `trains`.

    Raises:
      UserError: another process holds it, which the message names; or nothing can be written there.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path, doing)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{platform.node()} {os.getpid()}\n".encode(), 0)
        os.fsync(file)  # for other machines to read
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        # While it is held: who has opened the file meanwhile sees that the name is gone.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)


def _locked(path: Path, doing: str) -> int:
    """The lock file, open and locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(file, _LONGEST, 0).decode(errors="replace").split()
            if error.errno in _HELD or _runs_here(holder):
                os.close(file)
                raise _refusal(path.parent, holder, doing) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # removed by the process that held it: a new one has to be locked


def _refusal(folder: Path, holder: list[str], doing: str) -> UserError:
    who = f"process {holder[1]} on {holder[0]}" if len(holder) == 2 else "another process"
    return UserError(
        f"{folder}: {who} {doing} it; wait for its end or stop it, or give another folder"
    )


def _runs_here(holder: list[str]) -> bool:
    if len(holder) != 2 or holder[0] != platform.node() or not holder[1].isdecimal():
        return False
    try:
        os.kill(int(holder[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
