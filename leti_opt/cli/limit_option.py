"""The options for a limit on latency, and how what it says of networks is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import EXIT_LIMIT_MISSED, EXIT_LIMIT_UNDECIDED

if TYPE_CHECKING:
    from leti_opt.objective.answers import Question
    from leti_opt.objective.limit_decisions import LimitRow
    from leti_opt.objective.limits import LatencyLimit
    from leti_opt.objective.measuring import MeasuringService

LimitOption = Annotated[
    float | None,
    typer.Option("--limit-ms", help="Say which networks are under so many milliseconds; undecided ones get more runs."),
]
StatisticOption = Annotated[str, typer.Option("--statistic", help="The figure that counts: mean, median or p95.")]


def limit_of(limit_ms: float | None, statistic: str) -> LatencyLimit | None:
    """The limit that the user set; None without one. Both options are checked.

    Raises:
        InvalidInputError: no positive number, or a statistic without bounds.
    """
    from leti_opt.device.bounds import check_bounded
    from leti_opt.device.certainty import CONFIDENCE
    from leti_opt.objective.limits import LatencyLimit

    check_bounded(statistic, CONFIDENCE)
    return None if limit_ms is None else LatencyLimit(limit_ms, statistic)


def decided(service: MeasuringService, questions: Sequence[Question], limit: LatencyLimit | None) -> list[LimitRow]:
    """What the limit says of each network, after more runs of those that were undecided; nothing without a limit.

    Raises:
        DeviceError: the device is gone.
    """
    from leti_opt.objective.limit_decisions import decide_limits

    return [] if limit is None else decide_limits(service, questions, limit)


def limit_lines(rows: Sequence[LimitRow]) -> list[str]:
    """A heading and a line for each network; no lines without rows."""
    if not rows:
        return []
    heading = f"under {rows[0].limit_ms:g} ms by the {rows[0].statistic}? Bounds hold with 95 % confidence"
    return [heading, *(f"  {_line(row)}  {row.name}" for row in rows)]


def limit_exit_codes(rows: Sequence[LimitRow]) -> list[int]:
    """What each network's verdict alone would end a command with."""
    codes = {"missed": EXIT_LIMIT_MISSED, "undecided": EXIT_LIMIT_UNDECIDED}
    return [codes.get(row.verdict, 0) for row in rows]


def _line(row: LimitRow) -> str:
    figure = "" if row.latency_ms is None else f" {row.latency_ms:.3f} ms"
    bounds = "" if row.low_ms is None or row.high_ms is None else f", {row.low_ms:.3f} to {row.high_ms:.3f}"
    runs = "" if row.runs is None else f" ({row.runs} runs)"
    more = "" if row.further_runs is None else f"; about {row.further_runs:,} more runs would tell"
    reason = "" if row.reason is None else f": {row.reason}{more}"
    return f"{row.verdict:9}{figure}{bounds}{runs}{reason}"
