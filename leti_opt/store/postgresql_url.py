"""Names a PostgreSQL database, and keeps its password to itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from leti_opt.errors import StoreError

_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_FORM = "write postgresql://user:password@host:port/name, with %40 for an @ and %2F for a / in the password"

_DEFAULTS: Mapping[str, str | int] = {
    "application_name": "leti_opt",
    "connect_timeout": 10,
    # A host or a network that is gone is noticed after a minute, and not after the system's two hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


@dataclass(frozen=True)
class PostgresqlUrl:
    """Where a PostgreSQL database is. Its text, and what Python shows of it, is without the password.

    Args:
        whole: as the user wrote it.
        shown: without the password and options.
        database: the database's name.
        user: as whom to connect; empty for the system user's name.
        arguments: of ``psycopg.connect``.

    >>> str(parse("postgresql://ada:secret@db.example:5433/latency?sslmode=require"))
    'postgresql://ada@db.example:5433/latency'
    """

    whole: str = field(repr=False)
    shown: str
    database: str
    user: str = ""
    arguments: Mapping[str, str | int] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        return self.shown

    def hide(self, text: str) -> str:
        """A message without the password, should it hold it."""
        for secret in (str(self.arguments.get(name, "")) for name in ("password", "sslpassword")):
            for form in {secret, quote(secret, safe="")} - {""}:
                text = text.replace(form, "***")
        return text


def is_postgresql(url: object) -> bool:
    """Whether a store's URL means a PostgreSQL database.

    >>> is_postgresql("postgres://db/latency"), is_postgresql("latency.db")
    (True, False)
    """
    return str(url).partition("://")[0] in _SCHEMES and "://" in str(url)


def parse(url: str) -> PostgresqlUrl:
    """Read a URL.

    Raises:
        StoreError: it is none, or names no database; the message does not repeat it, for its password's sake.
    """
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"the store's URL cannot be read; {_FORM}") from None
    options = {name: value for name, value in found.query.items() if isinstance(value, str)}
    host = found.host or options.get("host") or ""
    if "@" in host or len(options) < len(found.query):
        raise StoreError(f"the store's URL cannot be read; {_FORM}")
    if not found.database:
        raise StoreError(f"the URL {_shown(found.username, host, found.port, '')} names no database; {_FORM}")
    named = {
        "host": found.host,
        "port": found.port,
        "user": found.username,
        "password": found.password,
        "dbname": found.database,
    }
    arguments = {**_DEFAULTS, **options} | {name: value for name, value in named.items() if value is not None}
    return PostgresqlUrl(
        url, _shown(found.username, host, found.port, found.database), found.database, found.username or "", arguments
    )


def _shown(user: str | None, host: str, port: int | None, database: str) -> str:
    place = f"[{host}]" if ":" in host else host
    return f"postgresql://{user + '@' if user else ''}{place}{f':{port}' if port else ''}/{database}"
