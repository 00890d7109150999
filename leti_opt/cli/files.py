"""The files that commands write: refused before any work if they cannot be written, and whole or not there at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from leti_opt import atomic_file
from leti_opt.errors import InvalidInputError, LetiError


def check_file(option: str, path: Path, ending: str) -> None:
    """Find out before hours of work whether a file has the right ending, and can be written at their end.

    Args:
        option: that names the file.
        path: the file.
        ending: such as ``.png``, in small letters or capitals.

    Raises:
        InvalidInputError: it has another ending, or cannot be written.
    """
    if path.suffix.lower() != ending:
        raise InvalidInputError(f"{option} {path} must end with {ending}")
    check_writable(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place if all goes well; nothing half-written stays.

    Raises:
        InvalidInputError: the folder cannot be written.
    """
    check_writable(path)
    try:
        with atomic_file.replacing(path) as temporary:
            yield temporary
    except LetiError:
        raise
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Find out before hours of work whether a file can be written at their end; nothing is left behind.

    Raises:
        InvalidInputError: it is a folder, or its folder is missing or cannot be written.
    """
    if path.is_dir():
        raise InvalidInputError(f"cannot write {path}: it is a folder; name a file")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror}; name a file in another folder") from error
