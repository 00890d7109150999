"""Checks and plain forms of single values on their way into a store."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Sequence
from datetime import datetime
from sys import byteorder
from typing import Any, overload
from zlib import compress, decompress
from zlib import error as zlib_error

from leti_opt.errors import CorruptStoreError, InvalidInputError


@overload
def number(value: float, what: str) -> float: ...


@overload
def number(value: float | None, what: str) -> float | None: ...


def number(value: float | None, what: str) -> float | None:
    """A plain float, or None.

    Raises:
        InvalidInputError: not a number; a database would keep it as an absent one.
    """
    if value is None:
        return None
    if math.isnan(value):
        raise InvalidInputError(f"{what} is NaN; what is not known must be None")
    return float(value)


def moment(value: datetime, what: str) -> datetime:
    """The moment itself.

    Raises:
        InvalidInputError: it has no time zone.
    """
    if value.tzinfo is None:
        raise InvalidInputError(f"{what} is {value}, which has no time zone; use datetime.now(UTC)")
    return value


def canonical_json(data: Any, what: str) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises:
        InvalidInputError: JSON cannot hold it.

    >>> canonical_json({"b": 1, "a": [True, None]}, "settings")
    '{"a":[true,null],"b":1}'
    """
    try:
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} cannot be stored as JSON: {error}; use plain finite values") from error


def plain_json(data: Any, what: str) -> Any:
    """What reading the value back from JSON gives; raises as :func:`canonical_json` does."""
    return json.loads(canonical_json(data, what))


def digest(data: Any, what: str) -> str:
    """Hexadecimal SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(data, what).encode("utf-8", "surrogatepass")).hexdigest()


def raw_runs(runs_ms: Sequence[float]) -> bytes:
    """Run times as little-endian float64.

    Raises:
        InvalidInputError: one is not a number.
    """
    if any(map(math.isnan, runs_ms)):
        raise InvalidInputError("a run time is NaN; leave out what was not measured")
    return _swapped_if_needed(array("d", runs_ms)).tobytes()


def pack_runs(raw: bytes) -> bytes:
    """Compress what :func:`raw_runs` gave.

    >>> unpack_runs(pack_runs(raw_runs([0.1, 2.5])))
    (0.1, 2.5)
    """
    return compress(raw)


def unpack_runs(blob: bytes) -> tuple[float, ...]:
    """Read what :func:`pack_runs` wrote.

    Raises:
        CorruptStoreError: the bytes are damaged.
    """
    runs = array("d")
    try:
        runs.frombytes(decompress(blob))
    except (zlib_error, ValueError) as error:
        raise CorruptStoreError(f"the run times of a measurement are damaged ({error}); restore a copy") from error
    return tuple(_swapped_if_needed(runs))


def _swapped_if_needed(numbers: array[float]) -> array[float]:
    if byteorder == "big":
        numbers.byteswap()
    return numbers
