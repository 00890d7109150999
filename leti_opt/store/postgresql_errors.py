"""What PostgreSQL and its driver complain of, in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leti_opt.errors import InvalidInputError, LetiError, StoreError
from leti_opt.store.postgresql_url import PostgresqlUrl

if TYPE_CHECKING:
    import psycopg

_CONNECTION_STATES = ("08", "57P01", "57P02", "57P03", "53300", "25P03", "25P04")
"""Classes and codes of a connection that the server broke or refuses for now."""

_NO_SUCH = ("does not exist",)
_REFUSED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "permission denied for database")
_NOT_READY = ("starting up", "shutting down", "not yet accepting connections", "recovery mode", "too many clients")
_MISSING = "pip install 'leti_opt[cluster]'"


def missing_driver(url: PostgresqlUrl) -> StoreError:
    """psycopg is not installed."""
    return StoreError(f"{url} needs the driver psycopg, which is not installed; run: {_MISSING}")


def is_lost(error: psycopg.Error, closed: bool) -> bool:
    """Whether the connection broke, so that the same call may succeed on another one.

    Args:
        error: what the driver raised.
        closed: whether the connection is closed now.
    """
    import psycopg

    if error.sqlstate is None:
        return closed or isinstance(error, psycopg.OperationalError)  # what the driver itself says of a connection
    return closed or error.sqlstate.startswith(_CONNECTION_STATES)


def is_not_ready(error: psycopg.Error) -> bool:
    """Whether a server refused a connection that it will take soon."""
    return any(words in str(error) for words in _NOT_READY)


def refusal(error: psycopg.Error, url: PostgresqlUrl) -> StoreError | None:
    """What to say of a server that refuses this user or this database; None if it did not answer so.

    A connection's errors have no code, so only their English texts tell; others count as a server that is away.
    """
    text = _line(error, url)
    user = f'"{url.user}"'
    if any(words in text for words in _NO_SUCH) and f'"{url.database}"' in text and "role" not in text:
        return StoreError(
            f"{url}: there is no database {url.database}; run: createdb {_options(url)}{url.database}, or name another"
        )
    if any(words in text for words in (*_NO_SUCH, *_REFUSED)):
        return StoreError(
            f"{url} refuses the user {user if url.user else 'of this system'}: {text}; check the "
            f"user and the password (in the URL, in PGPASSWORD or in ~/.pgpass), and pg_hba.conf"
        )
    return None


def unreachable(error: BaseException, url: PostgresqlUrl) -> str:
    """What to say of a server that does not answer."""
    return (
        f"{url} does not answer ({_line(error, url)}); check that the server runs and can be reached: "
        f"pg_isready {_options(url)}".rstrip()
    )


def translated(error: psycopg.Error, url: PostgresqlUrl) -> LetiError:
    """An error of a statement as one of ours."""
    state = error.sqlstate or ""
    text = _line(error, url)
    if state.startswith("22") or (not state and "NUL" in text):
        return InvalidInputError(f"a value cannot be stored in PostgreSQL: {text}")
    if state == "42501":
        return StoreError(
            f"{url}: {text}; the owner of the database lets a user in with: GRANT ALL ON SCHEMA public TO "
            f"{url.user or 'the user'}"
        )
    if state.startswith("53"):
        return StoreError(
            f"the server of {url} has no room left ({text}); everything stored before is kept: free some space, then "
            "start again"
        )
    if state == "25006" or (state == "0A000" and "during recovery" in text):
        return StoreError(f"{url} cannot be written ({text}); name the primary server, not a standby")
    return StoreError(f"{url}: {text} ({state or type(error).__name__}); look into the server's log")


def _line(error: BaseException, url: PostgresqlUrl) -> str:
    return url.hide(" ".join(str(error).split()))


def _options(url: PostgresqlUrl) -> str:
    """How PostgreSQL's own commands reach this server."""
    named = (("-h", "host"), ("-p", "port"), ("-U", "user"))
    return "".join(f"{option} {url.arguments[name]} " for option, name in named if name in url.arguments)
