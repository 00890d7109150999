"""Folders that end with their process: what a killed one left behind is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_LOCK = "lock"


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder in the system's place for temporary files, for as long as the context.

    Args:
        purpose: the beginning of its name.

    Raises:
        OSError: it cannot be made.

    >>> with temporary_folder("doctest") as folder:
    ...     (folder / "model.tflite").write_bytes(b"1")
    ...     folder.exists()
    1
    True
    >>> folder.exists()
    False
    """
    folder, lock = own_folder(Path(tempfile.gettempdir()) / f"leti-opt-{os.getuid()}", f"{purpose}-")
    owner = os.getpid()
    try:
        yield folder
    finally:
        remove_folder(folder, lock, owner)


def own_folder(parent: Path, prefix: str) -> tuple[Path, IO[bytes]]:
    """A new locked folder; those of this prefix that no process locks any more are removed.

    Args:
        parent: made if absent; nobody else can look into it.
        prefix: the beginning of the folder's name.

    Returns:
        The folder, and the lock that the process keeps.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(parent, fcntl.LOCK_EX | fcntl.LOCK_NB) as nobody_makes_any:
        for left in parent.glob(f"{prefix}*"):
            _remove_if_left(left, nobody_makes_any)
    with _alone_in(parent, fcntl.LOCK_SH):
        own = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        new = own / f"new {_LOCK}"
        lock = new.open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(own / _LOCK)  # only now may others look whether it is locked
    return own, lock


def remove_folder(folder: Path, lock: IO[bytes], owner: int) -> None:
    """Remove an own folder, unless this is a forked child of the process that made it."""
    try:
        if owner == os.getpid():
            _empty(folder)
    finally:
        lock.close()


@contextmanager
def _alone_in(parent: Path, mode: int) -> Iterator[bool]:
    """Lock a folder itself: whoever makes one in it shares the lock, who removes has it alone. Yields whether it has.

    On a network file system, where folders cannot be locked, nobody has it.
    """
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, mode)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has a copy of the descriptor
    finally:
        os.close(descriptor)


def _remove_if_left(folder: Path, nobody_makes_any: bool) -> None:
    """Remove a folder that no process locks.

    One without a lock is being made or removed at this moment; where nobody does, its process was killed doing so.
    """
    try:
        lock = (folder / _LOCK).open("r+b")  # a network file system locks only what can be written
    except FileNotFoundError:
        if nobody_makes_any:
            _empty(folder)
        return
    except PermissionError:  # another user's is none of ours
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        _empty(folder)


def _empty(folder: Path) -> None:
    with suppress(FileNotFoundError):  # it may be gone already, with all around it
        for file in sorted(folder.iterdir(), key=lambda file: file.name == _LOCK):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)
        folder.rmdir()
