"""Times of single operators, as benchmark_model's own profiler prints them: within the whole network, not alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile

from leti_opt.device.operator_time import OperatorTime
from leti_opt.errors import AttemptError

METHOD = "benchmark_model's own profiler, within the whole network; profiling itself takes some of the time"

_SECTION = re.compile(r"^.*=+ Run Order =+[ \t]*$", re.MULTILINE)
_HEADING = re.compile(
    r"(?P<other>^.*Subgraph \(index.*|Profiling Info for Benchmark Initialization)|(?P<delegate>^Delegate internal)|"
    r"(?P<runs>Profiling Info for Regular Benchmark Runs|^Primary graph)",
    re.MULTILINE,
)
_DELEGATE = re.compile(r"^Delegate internal", re.MULTILINE)
_AFTER_ROWS = re.compile(r"\s*$|=+ |Number of nodes executed")
_EXECUTED = re.compile(r"^Number of nodes executed: (\d+)$", re.MULTILINE)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan|inf)%?")
_TIME = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_NAMED = re.compile(r"\[(.*)\](?::\d+)?", re.DOTALL)
_ALL_OF_IT = 99.9


@dataclass(frozen=True)
class _Table:
    """A table as it is printed; its first column is the operator's type, its last one the name of what it writes."""

    columns: list[str]
    rows: list[list[str]]


def read_profile(text: str) -> tuple[OperatorTime, ...]:
    r"""Read the table of operators in the order of execution, as text or as CSV.

    Both begin with a line that names their columns; builds differ in which they have. Of several tables the last one
    of the runs counts, not that of the initialization; where a delegate ran the network as one operator, the
    delegate's own.

    Raises:
        AttemptError: there is no such table, or it was cut short.

    >>> table = "== Run Order ==\nnode type, avg_ms, %, name\nCONV_2D, 1.5, 75%, [a]:0\nADD, 0.5, 25%, [b]:1\n\n"
    >>> [(time.operator, time.latency_ms) for time in read_profile(table)]
    [('CONV_2D', 1.5), ('ADD', 0.5)]
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    runs, delegate = None, None
    for part, table_text in _parts(text[: text.rfind("\n") + 1]):
        if part == "runs":
            runs, delegate = table_text, None
        elif part == "delegate":
            delegate = table_text
    if runs is None:
        end = " | ".join(text.split("\n")[-3:])[-200:]
        raise AttemptError(f"benchmark_model's profile has no table of operators ({end}); is profiling built in?")
    table = _table(runs)
    if len(table.rows) == 1 and _DELEGATE.search(runs):
        if delegate is None:
            raise AttemptError("benchmark_model's profile was cut short: the delegate's own operators are missing")
        table = _table(delegate)
    average = table.columns.index("avg_ms")
    return tuple(_operator(place, row, average) for place, row in enumerate(table.rows))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """What each table is about, and its text up to the next one."""
    places = [(match.start(), match.end()) for match in _SECTION.finditer(text)]
    for (start, end), (until, _) in pairwise([*places, (len(text), len(text))]):
        headings = list(_HEADING.finditer(text, 0, start))
        yield (headings[-1].lastgroup or "") if headings else "runs", text[end:until]


def _table(text: str) -> _Table:
    _, header, *lines = [*text.split("\n"), ""]
    columns = _columns(header)
    if columns[0] != "node type" or "avg_ms" not in columns or columns[-1] != "name":
        raise AttemptError(
            f"benchmark_model's profile has the columns {', '.join(columns)}; there is no avg_ms or name"
        )
    printed = list(takewhile(lambda line: not _AFTER_ROWS.match(line), lines))
    rows = [_cells(line, len(columns), tabs="\t" in header) for line in printed]
    executed = _EXECUTED.search(text)
    # split() leaves one empty line where the text ends, and one was added.
    is_whole = len(printed) < len(lines) - 2 or _adds_up(columns, rows)
    if not rows or not is_whole or (executed and int(executed[1]) != len(rows)):
        expected = f" of {executed[1]}" if executed else ""
        raise AttemptError(f"benchmark_model's profile was cut short: {len(rows)}{expected} operators")
    return _Table(columns, rows)


def _adds_up(columns: list[str], rows: list[list[str]]) -> bool:
    """Whether the shares of the time, up to the last row, are all of it."""
    return bool(rows) and "cdf%" in columns and float(rows[-1][columns.index("cdf%")].rstrip("%")) >= _ALL_OF_IT


def _operator(place: int, row: list[str], average: int) -> OperatorTime:
    if not _TIME.fullmatch(row[average]):
        raise AttemptError(f"benchmark_model's profile has an operator without a time: {', '.join(row)}")
    named = _NAMED.fullmatch(row[-1])
    return OperatorTime(place, row[0], named[1] if named else row[-1], float(row[average]), stable=True)


def _columns(header: str) -> list[str]:
    """Names of the columns, in the spelling of the CSV."""
    cells = header.strip().split("\t" if "\t" in header else ",")
    return [re.sub(r"^avg ms$", "avg_ms", cell.strip().strip("[]").lower()) for cell in cells]


def _cells(line: str, count: int, tabs: bool) -> list[str]:
    """Cells of a row; with commas between them, type and name, which hold commas, too, are what is around the numbers.

    Raises:
        AttemptError: it is not a row.
    """
    cells = [cell.strip() for cell in line.strip().split("\t")] if tabs else line.strip().split(", ")
    numbers = count - 2
    for first in range(1, len(cells) - numbers):
        if all(_NUMBER.fullmatch(cell) for cell in cells[first : first + numbers]):
            between = "\t" if tabs else ", "
            kind, name = between.join(cells[:first]), between.join(cells[first + numbers :])
            return [kind, *cells[first : first + numbers], name]
    raise AttemptError(f"benchmark_model's profile has a line that is no operator: {line.strip()}")
