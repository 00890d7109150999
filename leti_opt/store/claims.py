"""Who works on what for the time being: a claim that is not renewed ends by itself, so a dead host blocks nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, CursorResult, bindparam, delete, func, insert, select, update

from leti_opt.errors import InvalidInputError
from leti_opt.store import schema
from leti_opt.store.base import StoreBase
from leti_opt.store.records import Claim

_CHUNK = 500
_Clock = Callable[[Connection], datetime]


class ClaimStore(StoreBase):
    """The claims of a store."""

    def claim(self, keys: Sequence[str], owner: str, lasts_s: float) -> list[str]:
        """Take what nobody else holds, for some time: two owners never hold one key at once.

        A claim of another owner that has run out is taken over; one that this owner holds already is renewed. The
        clock is the database server's, where there is one, and else this host's.

        Args:
            keys: what to take, for instance of networks.
            owner: who takes it, such as a host with a process; equal names are one owner.
            lasts_s: how many seconds from now the claims last without :meth:`renew_claims`.

        Returns:
            Those of the keys that the owner holds now, in the order given.

        Raises:
            InvalidInputError: no owner, or a time that is not positive.

        >>> from leti_opt.store import LatencyStore
        >>> with LatencyStore(":memory:") as store:
        ...     store.claim(["a", "b"], "first host", 60), store.claim(["c", "b"], "second host", 60)
        (['a', 'b'], ['c'])
        """
        _check(owner, lasts_s)
        return self._write(_claim, self._database.now, list(dict.fromkeys(keys)), owner, lasts_s)

    def renew_claims(self, owner: str, lasts_s: float) -> int:
        """Let every claim of an owner last from now on; also those that ran out and that nobody took over.

        Returns:
            How many claims the owner holds. A claim that somebody took over is gone, and not among them.

        Raises:
            InvalidInputError: no owner, or a time that is not positive.
        """
        _check(owner, lasts_s)
        return self._write(_renew, self._database.now, owner, lasts_s)

    def release_claims(self, owner: str, keys: Sequence[str] | None = None) -> int:
        """Give claims of an owner back.

        Args:
            owner: whose.
            keys: only these, where the owner holds them; None for all.

        Returns:
            How many there were. Where the connection broke at the very end, those that were gone by then do not count.
        """
        return self._write(_release, owner, None if keys is None else list(dict.fromkeys(keys)))

    def is_claimed(self, key: str) -> bool:
        """Whether somebody holds a key now, by the clock that claims go by: hosts' own may be minutes apart."""
        return self._read(_is_claimed, self._database.now, key)

    def claims(self, prefix: str = "") -> list[Claim]:
        """Claims in order of key, also those that ran out and that nobody took over.

        Args:
            prefix: only of keys that begin so.
        """
        return self._read(_load, prefix)


def _check(owner: str, lasts_s: float) -> None:
    if not owner:
        raise InvalidInputError("a claim needs an owner; name the host and the process, for instance")
    if not (math.isfinite(lasts_s) and lasts_s > 0):
        raise InvalidInputError(f"a claim lasts a positive number of seconds, not {lasts_s}")


def _claim(connection: Connection, now: _Clock, keys: list[str], owner: str, lasts_s: float) -> list[str]:
    moment = now(connection)
    held = {row.key: row for row in _rows(connection, keys)}
    ours = [key for key in keys if key not in held or held[key].owner == owner or held[key].expires_at <= moment]
    values = {"owner": owner, "expires_at": moment + timedelta(seconds=lasts_s)}
    taken_over = [{"held_key": key, **values} for key in ours if key in held]
    fresh = [{"key": key, **values} for key in ours if key not in held]
    if taken_over:
        connection.execute(_TAKE_OVER, taken_over)
    if fresh:
        connection.execute(insert(schema.claims), fresh)
    return ours


def _renew(connection: Connection, now: _Clock, owner: str, lasts_s: float) -> int:
    ends = now(connection) + timedelta(seconds=lasts_s)
    return _count(
        connection.execute(update(schema.claims).where(schema.claims.c.owner == owner).values(expires_at=ends))
    )


def _release(connection: Connection, owner: str, keys: list[str] | None) -> int:
    own = delete(schema.claims).where(schema.claims.c.owner == owner)
    if keys is None:
        return _count(connection.execute(own))
    return sum(_count(connection.execute(own.where(schema.claims.c.key.in_(part)))) for part in _parts(keys))


def _is_claimed(connection: Connection, now: _Clock, key: str) -> bool:
    row = next(_rows(connection, [key]), None)
    return row is not None and row.expires_at > now(connection)


def _load(connection: Connection, prefix: str) -> list[Claim]:
    # Not LIKE, which knows no capitals in SQLite, and no comparison, whose order is up to PostgreSQL's collation.
    begins = func.substr(schema.claims.c.key, 1, len(prefix)) == prefix
    found = connection.execute(select(schema.claims).where(begins) if prefix else select(schema.claims))
    return sorted((Claim(row.key, row.owner, row.expires_at) for row in found), key=lambda claim: claim.key)


def _rows(connection: Connection, keys: list[str]) -> Iterator[Any]:
    for part in _parts(keys):
        yield from connection.execute(select(schema.claims).where(schema.claims.c.key.in_(part))).all()


def _parts(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]


def _count(result: CursorResult[*tuple[Any, ...]]) -> int:
    return int(result.rowcount)


_TAKE_OVER = update(schema.claims).where(schema.claims.c.key == bindparam("held_key"))
