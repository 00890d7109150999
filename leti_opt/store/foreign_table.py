"""Tables that others published: which column is what, in which unit, and whether the figures can be true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from leti_opt.architecture import Architecture
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError
from leti_opt.search_space.definition import NAS_BENCH_201
from leti_opt.store.table_values import number

UNITS_MS = {"ms": 1.0, "us": 1e-3, "s": 1e3, "ns": 1e-6}
LEAST_MS, MOST_MS = 1e-3, 3.6e6
"""Medians outside, 1 microsecond to 1 hour for one inference, are taken for a wrong unit."""

NETWORK_COLUMNS = ("model_key", "cell", "architecture", "arch", "adjacency", "graph_hash")
_CELL_TEXTS = ("cell", "architecture", "arch")
_COUNTS = ("count", "runs", "num_runs")
_STEMS: Mapping[str, tuple[str, ...]] = {
    "mean": ("latency", "mean", "mean_latency", "latency_mean", "avg_latency", "average_latency", "inference_time"),
    **{name: (name, f"{name}_latency", f"latency_{name}") for name in ("std", "min", "max", "median", "p5", "p95")},
}
_LIKELY_MS = (0.01, 60_000.0)
_ORDER = (
    ("min", "mean"),
    ("mean", "max"),
    ("min", "p5"),
    ("p5", "median"),
    ("median", "p95"),
    ("p95", "max"),
    ("min", "median"),
    ("median", "max"),
)


@dataclass(frozen=True)
class LatencyColumnChoice:
    """A column of figures: what it is called, and milliseconds per unit."""

    name: str
    unit: str

    def read_ms(self, row: Mapping[str, Any]) -> float:
        """The figure of a row.

        Raises:
            ValueError: it is no positive finite number.
        """
        value = number(row[self.name], self.name)
        if value < 0:
            raise ValueError(f"{self.name} is {value:g}")
        return value * UNITS_MS[self.unit]


@dataclass(frozen=True)
class ForeignColumns:
    """What the columns of a table are: the statistics by name (``mean`` is always there) and the number of runs."""

    statistics: Mapping[str, LatencyColumnChoice]
    count: str | None


def choose_columns(columns: Sequence[str], latency: str | None, unit: str | None) -> ForeignColumns:
    """Find the columns with figures, each with its unit.

    Args:
        columns: of the table.
        latency: the one that holds the latency; None to find it by its name.
        unit: of columns whose name does not end with one.

    Raises:
        InvalidInputError: no such column, several, or one whose unit nobody says.
    """
    if unit is not None and unit not in UNITS_MS:
        raise InvalidInputError(f"unknown unit {unit!r}; known: {', '.join(UNITS_MS)}")
    found = {name: [column for column in columns if _stem(column) in stems] for name, stems in _STEMS.items()}
    if latency is not None:
        if latency not in columns:
            raise InvalidInputError(f"the table has no column {latency!r}; it has: {', '.join(columns)}")
        found = {name: [column for column in named if column != latency] for name, named in found.items()}
        found["mean"] = [latency]
    if len(found["mean"]) != 1:
        there = f"several: {', '.join(found['mean'])}" if found["mean"] else f"none of {', '.join(_STEMS['mean'])}"
        raise InvalidInputError(
            f"which column is the latency? The table has {there}: name it with --latency (of: {', '.join(columns)})"
        )
    statistics = {
        name: LatencyColumnChoice(named[0], _unit(named[0], unit)) for name, named in found.items() if len(named) == 1
    }
    return ForeignColumns(statistics, next((name for name in _COUNTS if name in columns), None))


def check_plausible(figures_ms: Iterable[float], column: LatencyColumnChoice) -> None:
    """Refuse figures that cannot be latencies in their unit.

    Raises:
        InvalidInputError: says which unit they look like.
    """
    middle_ms = median(figures_ms)
    if LEAST_MS <= middle_ms <= MOST_MS:
        return
    value = middle_ms / UNITS_MS[column.unit]
    low, high = _LIKELY_MS
    likely = [name for name, factor in UNITS_MS.items() if low <= value * factor <= high]
    guess = f"they look like {likely[0]}: --unit {likely[0]}" if likely else "no unit makes them latencies"
    raise InvalidInputError(
        f"half of the figures in {column.name!r} are below {value:g} {column.unit}, and a latency is between 1 us and "
        f"1 h; {guess}, with the column named without its unit"
    )


def check_order(batch: RunBatch) -> None:
    """Refuse statistics that no series of runs has, such as a mean above the maximum: a wrong unit or column.

    Raises:
        ValueError: names the two; 1 % and a microsecond are allowed for rounding.
    """
    for lower, upper in _ORDER:
        low_ms, high_ms = getattr(batch, f"{lower}_ms"), getattr(batch, f"{upper}_ms")
        if low_ms is not None and high_ms is not None and low_ms > high_ms * 1.01 + 1e-3:
            raise ValueError(
                f"its {lower}, {low_ms:g} ms, is above its {upper}, {high_ms:g} ms; is one in another unit?"
            )


def read_cell(row: Mapping[str, Any]) -> Architecture | None:
    """The cell of a row, from its text or its matrix; None where it names its network in another way.

    Raises:
        ValueError: it is no cell.
    """
    for name in _CELL_TEXTS:
        text = row.get(name)
        if text:
            native = str(text).startswith("|")
            return NAS_BENCH_201.parse_native(str(text)) if native else Architecture.parse(str(text))
    if row.get("adjacency") is None or row.get("operations") is None:
        return None
    return Architecture.from_dict({name: _plain(row[name]) for name in ("adjacency", "operations")})


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _stem(column: str) -> str:
    return re.sub(rf"_(?:{'|'.join(UNITS_MS)})$", "", column.lower())


def _unit(column: str, unit: str | None) -> str:
    match = re.search(rf"_({'|'.join(UNITS_MS)})$", column.lower())
    if match is None:
        if unit is None:
            raise InvalidInputError(f"the unit of the column {column!r} is not known; give --unit ms, us, s or ns")
        return unit
    if unit not in (None, match[1]):
        raise InvalidInputError(f"the column {column!r} is in {match[1]} by its name, and --unit says {unit}; which?")
    return match[1]
