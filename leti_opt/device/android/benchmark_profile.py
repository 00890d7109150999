"""Times of single operators, as benchmark_model's own profiler prints them: within the whole network, not alone."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from leti_opt.device.operator_time import OperatorTime
from leti_opt.errors import AttemptError

METHOD = "benchmark_model's own profiler, within the whole network; profiling itself takes some of the time"

_SECTION = "Run Order"
_NEXT_SECTION = re.compile(r"Top by Computation Time|Summary by node type|Number of nodes executed")
_TYPES = ("node type", "[node type]")
_NAMED = re.compile(r"^\[(.*)\](?::\d+)?$", re.DOTALL)


def read_profile(text: str) -> tuple[OperatorTime, ...]:
    r"""Read the table of operators in the order of execution, as text or as CSV.

    Both begin with a line that names their columns; builds differ in which they have. Of several tables (one for the
    initialization, one for the runs) the last counts.

    Raises:
        AttemptError: there is no such table, or it was cut short.

    >>> table = "== Run Order ==\nnode type, avg_ms, %, name\nCONV_2D, 1.5, 75%, [a]:0\nADD, 0.5, 25%, [b]:1\n\n"
    >>> [(time.operator, time.latency_ms) for time in read_profile(table)]
    [('CONV_2D', 1.5), ('ADD', 0.5)]
    """
    tables = list(_tables(text.replace("\r\n", "\n")))
    if not tables:
        end = " | ".join(text.split("\n")[-3:])[-200:]
        raise AttemptError(f"benchmark_model's profile has no table of operators ({end}); is profiling built in?")
    columns, rows = tables[-1]
    average = next((columns.index(name) for name in ("avg_ms", "[avg ms]", "avg ms") if name in columns), None)
    name_at = next((columns.index(name) for name in ("name", "[name]") if name in columns), None)
    if average is None or name_at is None:
        raise AttemptError(f"benchmark_model's profile has the columns {', '.join(columns)}, none of which is avg_ms")
    return tuple(_operator(place, row, average, name_at) for place, row in enumerate(rows))


def _operator(place: int, row: list[str], average: int, name_at: int) -> OperatorTime:
    # A tensor's name may hold commas; it is the last column.
    name = ", ".join(row[name_at:]).strip()
    named = _NAMED.match(name)
    try:
        latency_ms = float(row[average])
    except (ValueError, IndexError) as error:
        raise AttemptError(f"benchmark_model's profile has an operator without a time: {', '.join(row)}") from error
    return OperatorTime(place, row[0], named[1] if named else name, latency_ms, stable=True)


def _tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    lines = iter(text.split("\n"))
    for line in lines:
        if _SECTION not in line:
            continue
        columns = _cells(next(lines, ""))
        if not columns or columns[0] not in _TYPES:
            continue
        rows = []
        for row in lines:
            if not row.strip() or _NEXT_SECTION.search(row) or row.startswith("==="):
                break
            rows.append(_cells(row))
        yield columns, rows


def _cells(line: str) -> list[str]:
    """Cells of a line of either form: separated by commas, or by tabs."""
    separator = "\t" if "\t" in line and "," not in line else ","
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
