"""One connection to a store, which the threads of a process use in turn."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Connection, ExceptionContext, StaticPool, create_engine, event

from leti_opt.errors import StoreError
from leti_opt.store import migrate, sqlite_file


class Database:
    """Opens when first needed, again after :meth:`close`, a fork or unpickling.

    Args:
        url: see :class:`~leti_opt.store.latency_store.LatencyStore`.

    Raises:
        StoreError: the URL means no SQLite file.
    """

    def __init__(self, url: str | Path) -> None:
        self.path = sqlite_file.parse_url(url)
        self.name = "the store in memory" if self.path is None else str(self.path)
        self._lock = threading.Lock()
        self._open: _Opened | None = None
        self._held_for_fork = False
        if self.path is not None:
            self._close_before_forks()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store."""
        with self._lock, sqlite_file.clear_errors(self.name), self._opened().transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block ends, or leaves nothing if it fails.

        It holds the write lock from its beginning, so what it read stays true until it ends.
        """
        with self._lock, sqlite_file.clear_errors(self.name), self._opened().transaction(_WRITE) as connection:
            yield connection

    def open(self) -> None:
        """Check the file, or create it.

        Raises:
            StoreError: the message names the fault; the file was not changed.
        """
        with self._lock, sqlite_file.clear_errors(self.name):
            self._opened()

    def close(self) -> None:
        """Release the file. A store in memory is gone then."""
        with self._lock:
            self._dispose()

    def _dispose(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _opened(self) -> _Opened:
        if self._open is None:
            self._open = self._open_memory() if self.path is None else self._open_file(self.path)
        return self._open

    def _open_memory(self) -> _Opened:
        connection = sqlite_file.connect(None)
        _make_tables(connection)
        return _Opened(connection)

    def _open_file(self, path: Path) -> _Opened:
        if not sqlite_file.check(path):
            sqlite_file.create(path, _make_tables)
            if not sqlite_file.check(path):
                raise StoreError(f"{path} was deleted while it was being created; start again")
        with ExitStack() as on_failure:
            connection = sqlite_file.connect(path)
            on_failure.callback(connection.close)
            opened = _Opened(connection)
            on_failure.callback(opened.release)
            with opened.transaction("BEGIN") as reading:
                old = migrate.needs_upgrade(migrate.stored_version(reading, self.name), self.name)
                sqlite_file.check_content(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            if old:
                _upgrade(opened, path)
            on_failure.pop_all()
        return opened

    def _close_before_forks(self) -> None:
        """A child must not inherit an open file: SQLite's locks would not hold between parent and child."""
        before = weakref.WeakMethod(self._before_fork)
        after = weakref.WeakMethod(self._after_fork)

        def call(method: Callable[[], Callable[[], None] | None]) -> None:
            alive = method()
            if alive is not None:
                alive()

        os.register_at_fork(
            before=lambda: call(before), after_in_parent=lambda: call(after), after_in_child=lambda: call(after)
        )

    def _before_fork(self) -> None:
        self._lock.acquire()
        self._held_for_fork = True
        self._dispose()

    def _after_fork(self) -> None:
        if self._held_for_fork:
            self._held_for_fork = False
            self._lock.release()


_WRITE = "BEGIN IMMEDIATE"


class _Opened:
    """SQLAlchemy over one SQLite connection, with transactions of our own.

    SQLAlchemy's end in an assertion when Ctrl-C strikes in their midst, and it drops the connection; so it is told that
    a transaction is open all the time, and SQLite's are begun and ended here.
    """

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        engine = create_engine("sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
        event.listen(engine, "handle_error", _keep_connection)
        self._connection = engine.connect()
        self._connection.begin()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Connection]:
        """Commit when the block ends, undo everything if it fails."""
        self.raw.rollback()  # nothing is open here, unless Ctrl-C struck right after a BEGIN
        self.raw.execute(begin)
        try:
            yield self._connection
            self.raw.commit()
        except BaseException:
            self.raw.rollback()
            raise

    def release(self) -> None:
        """End SQLAlchemy's part; the SQLite connection stays open."""
        self._connection.close()

    def close(self) -> None:
        """End everything."""
        self.release()
        self.raw.close()


def _keep_connection(context: ExceptionContext) -> None:
    """At Ctrl-C SQLAlchemy would close the connection, and with it a store in memory; SQLite's stays sound."""
    context.is_disconnect = False


def _make_tables(connection: sqlite3.Connection) -> None:
    opened = _Opened(connection)
    try:
        with opened.transaction(_WRITE) as writing:
            migrate.upgrade(writing)
    finally:
        opened.release()


def _upgrade(opened: _Opened, path: Path) -> None:
    # SQLite changes a column by making the table anew; references to it must not count meanwhile.
    opened.raw.execute("PRAGMA foreign_keys = OFF")
    with opened.transaction(_WRITE) as writing:
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
