"""Opens and creates a store's file, and refuses every other file without touching it."""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import stat
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType

from sqlalchemy.exc import DBAPIError

from leti_opt.errors import CorruptStoreError, ForeignStoreError, InvalidInputError, StoreError

APPLICATION_ID = 0x4C455449
"""``LETI``: what SQLite's header says of a file of ours."""

BUSY_TIMEOUT_S = 30
QUICK_CHECK_BYTES = 64 * 2**20
"""Files up to this size are checked whole when opened (a fraction of a second); of larger ones only what is read."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_ANOTHER = "name another file for the store"
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


def parse_url(url: str | Path) -> Path | None:
    """Path that a store's URL means; None for a store in memory.

    Raises:
        StoreError: another kind of database.

    >>> parse_url("sqlite:///latency.db").name
    'latency.db'
    >>> parse_url(":memory:") is None
    True
    """
    text = os.fspath(url)
    if text in (":memory:", "sqlite://", "sqlite:///:memory:"):
        return None
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme != "sqlite" or not rest.startswith("/"):
            raise StoreError(
                f"{_without_password(text)!r} cannot be a store: only SQLite files and PostgreSQL databases can; "
                "write a path, sqlite:///PATH or postgresql://user:password@host:port/name"
            )
        text = rest[1:]
    if not text:
        raise StoreError("the store has an empty name; write a path such as latency.db")
    if "\0" in text:
        raise StoreError(f"{text!r} cannot be a store: a path holds no NUL character")
    return Path(text).expanduser().resolve()


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def connect(path: Path | None) -> sqlite3.Connection:
    """Open a checked file, or a database in memory. Transactions are begun by hand; threads take turns by a lock."""
    # Nobody can change what is on read-only media, so SQLite needs no files beside it there.
    fixed = path is not None and is_on_read_only_media(path)
    connection = sqlite3.connect(
        ":memory:" if path is None else f"{path.as_uri()}?immutable=1" if fixed else path,
        uri=fixed,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def check(path: Path) -> bool:
    """Whether there is a store at this path; false if there is nothing and one can be created.

    Only the header is read: SQLite never opens a file that is not ours.

    Raises:
        StoreError: it is a folder, cannot be written though its media can, or its folder does not exist.
        ForeignStoreError: it is no store of ours.
        CorruptStoreError: its header or its size is damaged.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        _check_folder(path)
        _check_no_leftover(path)
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be a store: {error.strerror}; {_ANOTHER}") from error
    if stat.S_ISDIR(mode):
        raise StoreError(f"{path} is a folder; name a file in it, for instance {path / 'latency.db'}")
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path} is no regular file; {_ANOTHER}")
    _check_header(path)
    if is_on_read_only_media(path):
        _check_no_log(path)
        return True
    if not _writable(path, mode):
        raise StoreError(f"{path} is read-only; run: chmod u+w {path}")
    _check_folder(path)
    return True


def is_on_read_only_media(path: Path) -> bool:
    """Whether a file is there and nobody at all can write it, since its file system was mounted so."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Let SQLite look for damage.

    Raises:
        CorruptStoreError: it found some.
    """
    if path.stat().st_size > QUICK_CHECK_BYTES:
        return
    (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise _corrupt(path, answer)


def create(path: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Put a complete file in place at once; if another process was faster, its file stands.

    Args:
        path: where; nothing is there yet.
        fill: makes the tables.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.creating")
    try:
        with closing(connect(temporary)) as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            fill(connection)
            connection.execute("PRAGMA journal_mode = WAL")
        _place(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be created: {error.strerror or error}; {_ANOTHER}") from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def back_up(path: Path, version: str) -> Path:
    """Copy a store beside itself before it is upgraded; an earlier copy is kept.

    The caller holds the write lock, so the copy is of one moment.
    """
    for number in range(1000):
        target = path.with_name(f"{path.name}.backup-{version}" + (f".{number}" if number else ""))
        if not target.exists():
            break
    else:
        raise StoreError(f"{path} has a thousand backups of version {version} beside it; move them away")
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.creating")
    try:
        copy(path, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def copy(path: Path, target: Path) -> None:
    """Copy a store as of one moment, with what is still in its log."""
    with closing(connect(path)) as source, closing(sqlite3.connect(target)) as written:
        source.backup(written)


class ClearErrors:
    """Turns SQLite's errors into ours. Every look-up goes through one, so it is no generator, and is used many times.

    Args:
        name: what messages call the store.
    """

    def __init__(self, name: object) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(cause, sqlite3.Error):
                raise _translated(cause, self.name) from error
            if isinstance(error, UnicodeEncodeError):
                raise InvalidInputError(f"{error.object!r} cannot be stored: it is no valid Unicode text") from error
            if isinstance(error, OverflowError):
                raise InvalidInputError(f"a number is too large to be stored: {error}") from error


def _translated(error: sqlite3.Error, name: object) -> StoreError:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _corrupt(name, str(error))
    if code == "SQLITE_FULL":
        return StoreError(
            f"the disk that holds {name} is full; everything stored before is kept: free some space, then start again"
        )
    if code.startswith("SQLITE_READONLY"):
        return StoreError(f"{name} cannot be written ({error}); check its permissions")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(f"{name} was locked by another process for {BUSY_TIMEOUT_S} s; end that process first")
    return StoreError(f"{name}: {error} ({code or type(error).__name__}); check the disk and the permissions")


def _corrupt(name: object, detail: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"{name} is damaged ({' '.join(detail.split())}); it was left as it is: restore a copy of it, or name another "
        "file for the store"
    )


def _check_header(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not header:
        raise ForeignStoreError(f"{path} is an empty file and no store; delete it, or {_ANOTHER}")
    ours = header[68:72] == APPLICATION_ID.to_bytes(4, "big")
    if not header.startswith(_MAGIC):
        if ours:
            raise _corrupt(path, "the beginning of its header was overwritten")
        raise ForeignStoreError(f"{path} is not an SQLite file, so no store of leti_opt; {_ANOTHER}")
    if len(header) < _HEADER_BYTES:
        raise _corrupt(path, "it ends within its header")
    if not ours:
        raise ForeignStoreError(f"{path} is an SQLite file of another program; it was left as it is; {_ANOTHER}")
    _check_size(path, header)


def _check_size(path: Path, header: bytes) -> None:
    """A file that was cut off. With a write-ahead log beside it the size may change at any time."""
    if _size(Path(f"{path}-wal")):
        return
    page_bytes = int.from_bytes(header[16:18], "big")
    expected = int.from_bytes(header[28:32], "big") * (65536 if page_bytes == 1 else page_bytes)
    actual = _size(path)
    if actual < expected and not _size(Path(f"{path}-wal")):
        raise _corrupt(path, f"it has {actual} of {expected} bytes")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _check_folder(path: Path) -> None:
    folder = path.parent
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        raise StoreError(f"the folder {folder} does not exist; run: mkdir -p {shlex.quote(str(folder))}") from error
    if not stat.S_ISDIR(mode):
        raise StoreError(f"{folder} is no folder, so the store cannot be in it; {_ANOTHER}")
    if not _writable(folder, mode):
        raise StoreError(f"the folder {folder} is read-only; the store needs files beside it: {_ANOTHER}")


def _writable(path: Path, mode: int) -> bool:
    """Also root keeps its hands off what nobody may write: somebody meant it."""
    return bool(mode & 0o222) and os.access(path, os.W_OK)


def _check_no_leftover(path: Path) -> None:
    """A log without its store would be played into the new store and damage it."""
    log = Path(f"{path}-wal")
    if _size(log) and not path.exists():
        raise StoreError(f"{log} is left over from a store that is gone; move it away, or {_ANOTHER}")


def _check_no_log(path: Path) -> None:
    """What a store's log holds is not read where it cannot be played back."""
    if _size(Path(f"{path}-wal")):
        raise StoreError(f"{path} was copied while it was in use; run: cp {path}* to a place that can be written")


def _place(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _place_without_hard_links(temporary, path)


def _place_without_hard_links(temporary: Path, path: Path) -> None:
    """Rename under a lock that the system releases if we are killed."""
    from filelock import FileLock

    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock, timeout=BUSY_TIMEOUT_S):
        if not path.exists():
            temporary.rename(path)


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the file system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
