"""One line of benchmark_model's statistics, ``count=300 first=… avg=… std=…`` in microseconds, taken to pieces.

Nothing in such a line is taken on trust: figures that no series of runs could have are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise

from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError

__all__ = ["NUMBER", "find_statistics", "number_of", "printed", "read_statistics"]

NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
"""Of a non-negative number, as a C++ stream prints it."""

# Nothing but a log's own prefix may precede: the operator profiler's "Timings (microseconds): count=" is not a latency.
_STATISTICS = re.compile(
    r"^(?:.*\btflite *: )?(?:INFO: )?(?:\[[^\]\n]*\] ?)?(count=\d+ (?:[a-z0-9]+=\S+ )*[a-z0-9]+=[^\n]*)$", re.MULTILINE
)
_NUMBER = re.compile(NUMBER)
_ALL_SAME = "(all same)"
_NAMES = ("count", "first", "curr", "min", "max", "avg", "std", "p5", "median", "p95")
_ASCENDING = ("min", "p5", "median", "p95", "max")
_WHOLE = ("first", "curr", "min", "max", "avg", "std")
_DIGITS = 6


def find_statistics(text: str, start: int, end: int) -> list[str]:
    """Every line of statistics between two places, without what a log puts before it."""
    return [match[1] for match in _STATISTICS.finditer(text, start, end)]


def read_statistics(line: str) -> RunBatch:
    """Read one line.

    Raises:
        AttemptError: it is not whole, or its figures contradict each other.

    >>> read_statistics("count=3 first=1010 curr=990 min=990 max=1010 avg=1000 std=8").std_ms
    0.008
    >>> read_statistics("count=3 curr=990(all same)").mean_ms
    0.99
    """
    same = _ALL_SAME in line
    values = _values(line.replace(_ALL_SAME, "", 1))
    if same or set(values) & set(_WHOLE) == {"curr"}:
        _check_same(values, same, line)
        values |= {"min": values["curr"], "max": values["curr"], "avg": values["curr"]}
        if same:
            values["std"] = 0.0
    else:
        _check_series(values, line)
    ms = {name: value / 1e3 for name, value in values.items() if name != "count"}
    return RunBatch(
        count=int(values["count"]),
        mean_ms=ms["avg"],
        std_ms=ms.get("std"),
        min_ms=ms["min"],
        max_ms=ms["max"],
        median_ms=ms.get("median"),
        p5_ms=ms.get("p5"),
        p95_ms=ms.get("p95"),
    )


def printed(value: float) -> float:
    """A number after the program has printed it, with six significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def number_of(text: str, where: str) -> float:
    """Read a number.

    Raises:
        AttemptError: it is none, or not a finite one.
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise AttemptError(f"benchmark_model has {text!r} for a number: {where}")
    return float(text)


def _values(line: str) -> dict[str, float]:
    values: dict[str, float] = {}
    for word in line.split():
        name, _, value = word.partition("=")
        if name not in _NAMES or name in values:
            raise AttemptError(f"benchmark_model's figures cannot be read: {line}")
        values[name] = number_of(value, line)
    if values.get("count", 0) < 1 or "curr" not in values:
        raise AttemptError(f"benchmark_model's figures cannot be read: {line}")
    return values


def _check_same(values: Mapping[str, float], same: bool, line: str) -> None:
    """One run, or several that took equally long."""
    if same != (values["count"] > 1) or not set(values) <= {"count", "curr", "p5", "median", "p95"}:
        raise AttemptError(f"benchmark_model's figures are not whole: {line}")
    if {value for name, value in values.items() if name != "count"} != {values["curr"]}:
        raise AttemptError(f"benchmark_model's figures contradict each other: {line}")


def _check_series(values: Mapping[str, float], line: str) -> None:
    """Whether runs exist that have these figures."""
    if any(name not in values for name in _WHOLE) or values["count"] < 2:
        raise AttemptError(f"benchmark_model's figures are not whole: {line}")
    ordered = [values[name] for name in _ASCENDING if name in values]
    in_order = all(low <= high for low, high in pairwise(ordered))
    ends_within = all(values["min"] <= values[name] <= values["max"] for name in ("first", "curr"))
    if not (in_order and ends_within and _mean_possible(values) and _spread_possible(values)):
        raise AttemptError(f"benchmark_model's figures contradict each other: {line}")


def _slack_us(values: Mapping[str, float]) -> float:
    """How far the mean may be off by its being printed with six digits, and the others by being whole microseconds."""
    return values["max"] * 10.0 ** (1 - _DIGITS) + 1


def _mean_possible(values: Mapping[str, float]) -> bool:
    slack = _slack_us(values)
    return values["min"] - slack <= values["avg"] <= values["max"] + slack


def _spread_possible(values: Mapping[str, float]) -> bool:
    """The fastest and the slowest run alone make for some spread, and with the mean they bound it above."""
    slack = _slack_us(values)
    above, below = values["max"] - values["avg"], values["avg"] - values["min"]
    least = (max(0.0, above - slack) ** 2 + max(0.0, below - slack) ** 2) / values["count"]
    most = (above + slack) * (below + slack)
    return least <= (values["std"] + 1) ** 2 and values["std"] ** 2 <= most + slack
