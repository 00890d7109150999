"""One connection to a store, which the threads of a process use in turn."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, ExceptionContext, StaticPool, create_engine, event

Answer = TypeVar("Answer")


class Database(ABC):
    """Opens when first needed, again after :meth:`close`, a fork or unpickling.

    Args:
        name: what messages call it; it holds no password.
        path: its file; None where there is none.

    Attributes:
        READ: begins a transaction that sees one state of the store.
        WRITE: begins one that nobody else writes beside, so that what it read stays true until it ends.
    """

    READ: str
    WRITE: str

    def __init__(self, name: str, path: Path | None = None) -> None:
        self.name = name
        self.path = path
        self._lock = threading.Lock()
        self._open: Opened | None = None
        self._held_for_fork = False

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store."""
        with self._lock, self._clear_errors(), self._opened().transaction(self.READ) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block ends, or leaves nothing if it fails.

        It holds the write lock from its beginning, so what it read stays true until it ends.
        """
        with self._lock, self._clear_errors(), self._opened().transaction(self.WRITE) as connection:
            yield connection

    def patiently(self, work: Callable[[], Answer]) -> Answer:
        """Do ``work``, which is one transaction; again while the connection breaks, where there is one that can."""
        return work()

    def open(self) -> None:
        """Check the database, or create its tables.

        Raises:
            StoreError: the message names the fault; nothing was changed.
        """
        with self._lock, self._clear_errors():
            self._opened()

    def close(self) -> None:
        """Release it. A store in memory is gone then."""
        with self._lock:
            self._dispose()

    @abstractmethod
    def travelling(self) -> dict[str, Any]:
        """What another process needs to open it: the arguments of ``LatencyStore``.

        Raises:
            StoreError: it cannot leave this process.
        """

    @abstractmethod
    def now(self, connection: Connection) -> datetime:
        """The moment by the clock that everybody who uses the store shares."""

    @abstractmethod
    def size_bytes(self, connection: Connection) -> int:
        """How much room the store takes."""

    @abstractmethod
    def _connect(self) -> Opened:
        """Check what is there, or create it."""

    @abstractmethod
    def _clear_errors(self) -> AbstractContextManager[None]:
        """Turn the database's errors into ours."""

    def _opened(self) -> Opened:
        if self._open is None:
            self._open = self._connect()
        return self._open

    def _dispose(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            opened.close()

    def _close_before_forks(self) -> None:
        """A child must not inherit an open file or socket.

        SQLite's locks would not hold between parent and child, and both would speak on one connection to a server.
        """
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


class Opened:
    """SQLAlchemy over one connection, with transactions of our own.

    SQLAlchemy's end in an assertion when Ctrl-C strikes in their midst, and it drops the connection; so it is told that
    a transaction is open all the time, and the database's are begun and ended here.

    Args:
        dialect: URL of SQLAlchemy's dialect.
        raw: the driver's connection, which begins no transaction by itself.
    """

    def __init__(self, dialect: str, raw: Any) -> None:
        self.raw = raw
        engine = create_engine(dialect, creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None)
        event.listen(engine, "handle_error", _keep_connection)
        self._connection = engine.connect()
        self._connection.begin()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Connection]:
        """Commit when the block ends, undo everything if it fails."""
        self.undo()  # nothing is open here, unless Ctrl-C struck right after a BEGIN
        try:
            self.begin(begin)
            yield self._connection
            self.raw.commit()
        except BaseException:
            self.undo()
            raise

    def begin(self, begin: str) -> None:
        """Begin a transaction."""
        self.raw.execute(begin)

    def undo(self) -> None:
        """Leave the transaction that is open, if there is one."""
        self.raw.rollback()

    def release(self) -> None:
        """End SQLAlchemy's part; the connection stays open."""
        self._connection.close()

    def close(self) -> None:
        """End everything."""
        self.release()
        self.raw.close()


def _keep_connection(context: ExceptionContext) -> None:
    """At Ctrl-C SQLAlchemy would close the connection, and with it a store in memory; ours stay sound."""
    context.is_disconnect = False
