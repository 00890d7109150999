"""Finds out what a store's URL means."""

from __future__ import annotations

from pathlib import Path

from leti_opt.store import sqlite_file
from leti_opt.store.database import Database
from leti_opt.store.postgresql import PATIENCE_S, PostgresqlDatabase
from leti_opt.store.postgresql_url import is_postgresql, parse
from leti_opt.store.sqlite_database import SqliteDatabase


def database_of(url: str | Path, patience_s: float = PATIENCE_S) -> Database:
    """The database that a URL means; it is not opened yet.

    Args:
        url: see :class:`~leti_opt.store.latency_store.LatencyStore`.
        patience_s: how long to wait for a server that is away.

    Raises:
        StoreError: it means no database that can hold a store.
    """
    return PostgresqlDatabase(str(url), patience_s) if is_postgresql(url) else SqliteDatabase(url)


def shown(url: str | Path) -> str:
    """A store's URL as messages may show it.

    >>> shown("postgresql://ada:secret@db/latency"), shown("latency.db")
    ('postgresql://ada@db/latency', 'latency.db')
    """
    return str(parse(str(url))) if is_postgresql(url) else str(url)


def exists(url: str | Path) -> bool:
    """Whether there is something to open; nothing is made. A store in memory never is.

    Raises:
        StoreError: it means no database that can hold a store, or a server that cannot be asked.
    """
    if not is_postgresql(url):
        path = sqlite_file.parse_url(url)
        return path is not None and path.exists()
    return PostgresqlDatabase(str(url)).stored_version() is not None
