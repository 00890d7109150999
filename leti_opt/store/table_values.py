"""Values of a table's fields, read strictly: a number, a whole one, a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def number(value: Any, name: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}, which is no number") from error
    if not -float("inf") < found < float("inf"):
        raise ValueError(f"{name} is {value!r}, which is no finite number")
    return found


def moment_of(value: Any) -> datetime:
    """A moment, in UTC.

    Raises:
        ValueError: there is none, or it has no time zone.
    """
    if value is None:
        raise ValueError("it has no started_at")
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"started_at is {value}, which has no time zone")
    return found.astimezone(UTC)


def optional_number(value: Any, name: str) -> float | None:
    """A finite number; None where there is none, or NaN.

    Raises:
        ValueError: it is no number.
    """
    return None if value is None or value != value else number(value, name)


def whole_number(value: Any) -> int | None:
    """A whole number; None where there is none, or NaN.

    Raises:
        ValueError: it is no whole number.
    """
    if value is None or value != value:
        return None
    found = number(value, "a count")
    if found != int(found):
        raise ValueError(f"{value!r} is no whole number")
    return int(found)
