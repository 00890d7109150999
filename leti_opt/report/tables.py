"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from leti_opt.device.use import (
    COOLING,
    FAILING,
    INITIALIZATION,
    TIMED_RUNS,
    TRANSFER,
    WAITING_FOR_BUILD,
    WAITING_FOR_WORK,
)
from leti_opt.report.search_report import FrontRow

if TYPE_CHECKING:
    from rich.table import Table

    from leti_opt.device.pool import DeviceReport

_KINDS_OF_USE = (TIMED_RUNS, INITIALIZATION, TRANSFER, COOLING, WAITING_FOR_BUILD, WAITING_FOR_WORK, FAILING)


def front_table(rows: Sequence[FrontRow]) -> Table:
    """The cells of a front, numbered, the fastest first: latency with standard deviation, accuracy, costs, hash."""
    with_accuracy = any(row.accuracy is not None for row in rows)
    origin = rows[0].origin if rows else "measured"
    limit = next((row.limit for row in rows if row.limit is not None), None)
    headings = [
        "",
        f"{statistic_prefix(rows[0].statistic if rows else 'mean')}latency in ms ({origin})",
        *([] if limit is None else [f"under {limit.limit_ms:g} ms"]),
        *(["accuracy"] if with_accuracy else []),
    ]
    return plain_table(
        [*headings, "MFLOPs", "parameters", "hash"],
        (
            [
                str(number),
                latency_text(row.latency_ms, row.std_ms, row.runs, row.statistic),
                *([] if limit is None else ["" if row.limit is None else row.limit.verdict]),
                *([f"{100 * (row.accuracy or 0):.1f} %"] if with_accuracy else []),
                f"{row.flops / 1e6:.1f}",
                f"{row.parameters:,}",
                row.graph_hash[:8],
            ]
            for number, row in enumerate(rows, start=1)
        ),
    )


def cell_lines(rows: Sequence[FrontRow]) -> list[str]:
    """The text of each cell, numbered as in the table, whole on its line so that it can be copied."""
    return [f"{number}  {row.cell}" for number, row in enumerate(rows, start=1)]


def statistic_prefix(statistic: str) -> str:
    """What a heading puts before the word latency; the mean needs no word.

    >>> statistic_prefix("p95") + "latency"
    'p95 latency'
    """
    return "" if statistic == "mean" else f"{statistic} "


def latency_text(latency_ms: float, std_ms: float | None, runs: int | None, statistic: str = "mean") -> str:
    """A latency with the spread and the number of its runs; without both no rule can be checked.

    >>> latency_text(3.14159, 0.05, 300)
    '3.142 ± 0.050 (300 runs)'
    >>> latency_text(3.14159, None, None)
    '3.142 (runs not known, rule not checkable)'
    """
    spread = "" if std_ms is None else f" ± {std_ms:.3f}"
    if statistic != "mean" and spread:  # the standard deviation lies around the mean, not around this figure
        spread = f", std {std_ms:.3f}"
    made = "runs not known" if runs is None else f"{runs} runs"
    rule = ", rule not checkable" if std_ms is None or runs is None else ""
    return f"{latency_ms:.3f}{spread} ({made}{rule})"


def use_lines(rows: Sequence[DeviceReport]) -> list[str]:
    """What each device of a pool did, and where its seconds went, a line a device.

    >>> from leti_opt.device.pool import DeviceReport
    >>> use_lines([DeviceReport("android:A/cpu", "ready", 40, 1, {"failing": 12.34, "timed runs": 60.0})])
    ['android:A/cpu: 40 networks, 1 failure, ready; seconds: timed runs 60.0, failing 12.3']
    """
    return [
        f"{row.uri}: {_counted(row.done, 'network')}, {_counted(row.failed, 'failure')}, {row.state}; seconds: "
        + ", ".join(f"{kind} {row.seconds[kind]:.1f}" for kind in _KINDS_OF_USE if row.seconds.get(kind))
        for row in rows
    ]


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose last column takes what width is left, and is never cut."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        last = number == len(headings) - 1
        table.add_column(heading, overflow="fold", justify="left" if last or number == 0 else "right", no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    return table
