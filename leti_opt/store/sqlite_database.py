"""A store in an SQLite file, or in memory."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, text

from leti_opt.errors import StoreError
from leti_opt.store import migrate, sqlite_file
from leti_opt.store.database import Database, Opened

_DIALECT = "sqlite://"


class SqliteDatabase(Database):
    """See :class:`~leti_opt.store.database.Database`.

    Args:
        url: a path, ``sqlite:///path``, or ``:memory:``.

    Raises:
        StoreError: the URL means no SQLite file.
    """

    READ = "BEGIN"
    WRITE = "BEGIN IMMEDIATE"

    def __init__(self, url: str | Path) -> None:
        path = sqlite_file.parse_url(url)
        super().__init__("the store in memory" if path is None else str(path), path)
        self._errors = sqlite_file.ClearErrors(self.name)
        self._file: tuple[int, int] | None = None
        if path is not None:
            self._close_before_forks()

    def travelling(self) -> dict[str, str]:
        """The file's whole path."""
        if self.path is None:
            raise StoreError("a store in memory cannot go to another process; give it a file, such as latency.db")
        return {"url": str(self.path)}

    def now(self, _connection: Connection) -> datetime:
        """By this host's clock: an SQLite file belongs to one host."""
        return datetime.now(UTC)

    def size_bytes(self, connection: Connection) -> int:
        """Of the file and its write-ahead log."""
        if self.path is None:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())
        log = Path(f"{self.path}-wal")
        return self.path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _clear_errors(self) -> AbstractContextManager[None]:
        return self._errors

    def _connect(self) -> Opened:
        if self.path is None:
            return _open_memory()
        opened = _open_file(self.path)
        self._file = _file_at(self.path)
        return opened

    def _opened(self) -> Opened:
        """What is open, if it is still what lies at the path: into a deleted file much could be written in vain."""
        opened = super()._opened()
        if self.path is not None and _file_at(self.path) != self._file:
            raise StoreError(
                f"{self.path} was deleted or replaced while it was open, and what would be stored now would be lost; "
                "put it back, or start again with another store"
            )
        return opened


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _open_memory() -> Opened:
    connection = sqlite_file.connect(None)
    _make_tables(connection)
    return Opened(_DIALECT, connection)


def _open_file(path: Path) -> Opened:
    if not sqlite_file.check(path):
        sqlite_file.create(path, _make_tables)
        if not sqlite_file.check(path):
            raise StoreError(f"{path} was deleted while it was being created; start again")
    with ExitStack() as on_failure:
        connection = sqlite_file.connect(path)
        on_failure.callback(connection.close)
        opened = Opened(_DIALECT, connection)
        on_failure.callback(opened.release)
        with opened.transaction(SqliteDatabase.READ) as reading:
            old = migrate.needs_upgrade(migrate.stored_version(reading, str(path)), str(path))
            sqlite_file.check_content(connection, path)
        if not sqlite_file.is_on_read_only_media(path):
            connection.execute("PRAGMA journal_mode = WAL")
            if old:
                _upgrade(opened, path)
        elif old:
            raise StoreError(f"{path} is of an earlier version and on read-only media; copy it to another place")
        on_failure.pop_all()
    return opened


def _make_tables(connection: sqlite3.Connection) -> None:
    opened = Opened(_DIALECT, connection)
    try:
        with opened.transaction(SqliteDatabase.WRITE) as writing:
            migrate.upgrade(writing)
    finally:
        opened.release()


def _upgrade(opened: Opened, path: Path) -> None:
    # SQLite changes a column by making the table anew; references to it must not count meanwhile.
    opened.raw.execute("PRAGMA foreign_keys = OFF")
    with opened.transaction(SqliteDatabase.WRITE) as writing:
        version = migrate.stored_version(writing, str(path))
        # Another process may have been faster.
        if migrate.needs_upgrade(version, str(path)):
            _migrate_with_copy(opened.raw, writing, path, version)
    opened.raw.execute("PRAGMA foreign_keys = ON")


def _migrate_with_copy(raw: sqlite3.Connection, writing: Connection, path: Path, version: str) -> None:
    copy = sqlite_file.back_up(path, version)
    try:
        migrate.upgrade(writing)
        broken = raw.execute("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StoreError(f"upgrading {path} would break {len(broken)} references; it stays as it was")
    except BaseException:
        copy.unlink()
        raise
