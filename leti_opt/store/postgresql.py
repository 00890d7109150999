"""A store in a PostgreSQL database, which several hosts share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from leti_opt.errors import ForeignStoreError, InvalidInputError, StoreConnectionError, StoreError
from leti_opt.store import migrate, postgresql_errors
from leti_opt.store.database import Database, Opened
from leti_opt.store.postgresql_url import PostgresqlUrl, parse

Answer = TypeVar("Answer")

PATIENCE_S = 300.0
"""How long a call waits for a server that is away."""

MARK = "leti_opt"
"""The comment on the version's table. Others use Alembic too, so a table of that name is not enough."""

_LOGGER = logging.getLogger("leti_opt")
_LOCK = int.from_bytes(b"LETI", "big")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
# A client that was stopped, or whose host is gone, must not keep the others from writing.
_SETTINGS = (
    "SET idle_in_transaction_session_timeout = '120s'",
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
)


class PostgresqlDatabase(Database):
    """See :class:`~leti_opt.store.database.Database`.

    A transaction that reads sees one snapshot (REPEATABLE READ). One that writes first takes an advisory lock, so that
    writers come one after the other, as with SQLite: "look up, else insert" stays right. Under SERIALIZABLE it would
    stay right too, but writers of the same tables would refuse each other and begin again, the more the longer they
    are; under the lock they wait, first come, first served. READ COMMITTED is meant: a snapshot would be taken with the
    lock's own statement, before the wait, and miss what the writer before has stored.

    A call that finds its connection broken is made again as a whole. Where the connection broke in the very commit,
    nobody knows whether it counted; whatever is stored is therefore recognized when it comes again.

    Args:
        url: ``postgresql://user:password@host:port/name``.
        patience_s: how long a call waits for a server that was there and is away.

    Raises:
        StoreError: the URL cannot be read, or psycopg is missing.
    """

    READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({_LOCK})"

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        self.url = parse(url)
        super().__init__(str(self.url))
        if not patience_s >= 0:
            raise InvalidInputError(f"patience_s is a number of seconds, not {patience_s}")
        self.patience_s = patience_s
        self.reconnections = 0
        self._is_first = False
        self._check_options()
        self._close_before_forks()

    def open(self) -> None:
        """See :meth:`Database.open`. A server that was never there is not waited for: its URL may be wrong."""
        self._is_first = True
        try:
            super().open()
        finally:
            self._is_first = False

    def travelling(self) -> dict[str, Any]:
        """The URL, with its password."""
        return {"url": self.url.whole, "patience_s": self.patience_s}

    def now(self, connection: Connection) -> datetime:
        """By the server's clock."""
        moment: datetime = connection.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
        return moment.replace(tzinfo=UTC)

    def size_bytes(self, connection: Connection) -> int:
        """Of the whole database."""
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())

    def stored_version(self) -> str | None:
        """Schema version of the store that is there; None for an empty database. Nothing is made or upgraded.

        Raises:
            StoreError: the server cannot be asked, or the database is of another program.
        """
        with self._clear_errors(), ExitStack() as at_end:
            opened = _PostgresqlOpened(self._connection())
            at_end.callback(opened.close)
            return self._version(at_end.enter_context(opened.transaction(self.READ)))

    def patiently(self, work: Callable[[], Answer]) -> Answer:
        """Do ``work``; again, after growing pauses, while the connection breaks.

        Raises:
            StoreConnectionError: the server was away for longer than ``patience_s``.
        """
        began, pause_s = None, _FIRST_PAUSE_S
        while True:
            try:
                return work()
            except _LostError as lost:
                if lost.database is not self:
                    raise
                level = logging.WARNING if began is None else logging.INFO
                began = time.monotonic() if began is None else began
                left_s = began + self.patience_s - time.monotonic()
                if left_s <= 0:
                    raise StoreConnectionError(
                        f"{lost}; it was away for {self.patience_s:g} s. What was stored before is kept: start the "
                        "server, then start again, or wait longer with patience_s=…"
                    ) from lost
                _LOGGER.log(level, "%s; trying again for %.0f s", lost, left_s)
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self.reconnections += 1

    def _opened(self) -> Opened:
        if self._open is not None and self._open.raw.closed:
            self._dispose()
        return super()._opened()

    def _connect(self) -> Opened:
        with ExitStack() as on_failure:
            opened = _PostgresqlOpened(self._connection())
            on_failure.callback(opened.close)
            for setting in _SETTINGS:
                opened.raw.execute(setting, prepare=False)
            with opened.transaction(self.READ) as reading:
                is_ready = self._is_ready(reading)
            if not is_ready:
                self._make_tables(opened)
            on_failure.pop_all()
        return opened

    def _check_options(self) -> None:
        psycopg = _driver(self.url)
        try:
            psycopg.conninfo.make_conninfo(**self.url.arguments)
        except psycopg.ProgrammingError as error:
            what = self.url.hide(str(error).strip())
            raise StoreError(f"{self.name}: {what}; check the options in the URL") from None

    def _connection(self) -> Any:
        psycopg = _driver(self.url)
        try:
            return psycopg.connect(**self.url.arguments, autocommit=True)
        except psycopg.Error as error:
            refused = postgresql_errors.refusal(error, self.url)
            if refused is not None:
                raise refused from error
            message = postgresql_errors.unreachable(error, self.url)
            if self._is_first and not postgresql_errors.is_not_ready(error):
                raise StoreConnectionError(message) from error
            raise _LostError(message, self) from error

    def _is_ready(self, connection: Connection) -> bool:
        """Whether the tables are there in the newest version."""
        version = self._version(connection)
        return version is not None and not migrate.needs_upgrade(version, self.name)

    def _version(self, connection: Connection) -> str | None:
        """Schema version of the store; None for an empty database."""
        if connection.execute(_MARK_THERE).scalar() == MARK:
            return migrate.stored_version(connection, self.name)
        tables = connection.execute(_TABLES).scalars().all()
        if tables:
            raise ForeignStoreError(
                f"{self.name} holds tables of another program ({', '.join(tables)}); it was left as it was: make a "
                "database for the store with createdb, and name that"
            )
        return None

    def _make_tables(self, opened: Opened) -> None:
        """Create the tables, or bring them to the newest version; who comes second finds it done."""
        with opened.transaction(self.WRITE) as writing:
            if not self._is_ready(writing):
                migrate.upgrade(writing)
                writing.execute(text(f"COMMENT ON TABLE alembic_version IS '{MARK}'"))

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        psycopg = _driver(self.url)
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if not isinstance(cause, psycopg.Error):
                raise
            if postgresql_errors.is_lost(cause, self._open is not None and self._open.raw.closed):
                self._dispose()
                raise _LostError(postgresql_errors.unreachable(cause, self.url), self) from error
            raise postgresql_errors.translated(cause, self.url) from error
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{error.object!r} cannot be stored: it is no valid Unicode text") from error


class _LostError(StoreConnectionError):
    """A connection broke; whose it was tells who may try again."""

    def __init__(self, message: str, database: PostgresqlDatabase) -> None:
        super().__init__(message)
        self.database = database


class _PostgresqlOpened(Opened):
    def __init__(self, raw: Any) -> None:
        super().__init__("postgresql+psycopg://", raw)

    def begin(self, begin: str) -> None:
        self.raw.execute(begin, prepare=False)

    def undo(self) -> None:
        """A connection on which nothing can be undone is closed; the server undoes it then."""
        import psycopg

        try:
            if not self.raw.closed:
                self.raw.rollback()
        except psycopg.Error:
            self.raw.close()

    def close(self) -> None:
        self.raw.close()
        self._connection.invalidate()
        self._connection.close()


def _driver(url: PostgresqlUrl) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise postgresql_errors.missing_driver(url) from error
    return psycopg


_MARK_THERE = text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")
_TABLES = text("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY 1 LIMIT 5")
