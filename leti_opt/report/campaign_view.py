"""How a campaign is shown: a table that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from leti_opt.campaign.planning import CampaignPlan, PlanRow
from leti_opt.campaign.progress import ProgressRow
from leti_opt.campaign.status import CampaignStatus, StatusRow
from leti_opt.device.use import COOLING, INITIALIZATION, TIMED_RUNS
from leti_opt.report.quantities import duration_text, size_text
from leti_opt.report.tables import plain_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

LINES_EVERY_S = 15.0
BUSY_KINDS = (TIMED_RUNS, INITIALIZATION, COOLING)
"""What a device is there for: the share of its time that goes into these is shown."""

_HEADINGS = ("device", "done", "of", "unstable", "infeasible", "an hour", "left", "°C", "state")


class CampaignProgress:
    """Shows how far each device is, as often as it is told.

    Args:
        stream: where to write; a terminal gets a table that changes, anything else a line a device now and then.
        every_s: seconds between two such lines.
        clock: for tests.
    """

    def __init__(
        self, stream: TextIO, every_s: float = LINES_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._every_s = every_s
        self._clock = clock
        self._shown_at = clock()
        self._live: Live | None = None

    def __enter__(self) -> CampaignProgress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, rows: Sequence[ProgressRow]) -> None:
        """Show how far each device is. When nobody reads it any more, the campaign goes on unseen."""
        try:
            self._show(rows)
        except OSError:
            self._every_s = math.inf

    def _show(self, rows: Sequence[ProgressRow]) -> None:
        if self._live is not None:
            table = progress_table(rows)
            narrow = "\n".join(map(progress_line, rows))
            self._live.update(table if fits(table, self._live.console) else narrow)
            return
        now = self._clock()
        if now - self._shown_at < self._every_s:
            return
        self._shown_at = now
        for row in rows:
            self._stream.write(progress_line(row) + "\n")
        self._stream.flush()


def fits(table: Table, console: Console) -> bool:
    """Whether a table fits the console's width whole: a number that is cut is a wrong number."""
    from rich.measure import Measurement

    return bool(Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width)


def progress_table(rows: Sequence[ProgressRow]) -> Table:
    """A row a device."""
    return plain_table(_HEADINGS, [_cells(row, f"{_origin(row)} {row.state}".strip()) for row in rows])


def progress_line(row: ProgressRow) -> str:
    """How far a device is, in a line.

    >>> progress_line(ProgressRow("host-cpu", "ready", 300, 99, 1, 0, 100, 1200.0, 600.0, None))
    'host-cpu: 100 of 300, 1 unstable, 0 infeasible, 1,200 an hour, about 10 min left, ready'
    """
    return _line(row, f"{_origin(row)} {row.state}".strip())


def status_line(row: StatusRow) -> str:
    """The same by the store."""
    return _line(row, _standing(row))


def _line(row: ProgressRow | StatusRow, state: str) -> str:
    done = row.total - row.lacking
    rate = "" if row.per_hour is None else f", {row.per_hour:,.0f} an hour"
    left = "" if row.left_s is None or not row.lacking else f", about {duration_text(row.left_s)} left"
    warm = "" if row.temperature_c is None else f", {row.temperature_c:.1f} °C"
    return (
        f"{row.uri}: {done:,} of {row.total:,}, {row.unstable:,} unstable, {row.infeasible:,} infeasible{rate}{left}"
        f"{warm}{', ' if state else ''}{state}"
    )


def status_table(status: CampaignStatus) -> Table:
    """A row a device."""
    return plain_table(_HEADINGS, [_cells(row, _standing(row)) for row in status.rows])


def _standing(row: StatusRow) -> str:
    return row.note or f"{_origin(row)} {'' if row.lacking else 'complete'}".strip()


def status_lines(status: CampaignStatus) -> list[str]:
    """Whether it runs, and what happened last."""
    state = "running" if status.running else "complete" if not status.lacking else "not running"
    lines = [f"{status.name}: {state}, {status.lacking:,} measurements lacking"]
    for event in status.events:
        moment = event.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        lines.append(f"  {moment} {event.kind}: {event.text}")
    return lines


def plan_table(plan: CampaignPlan) -> Table:
    """A row for each device and network config."""
    several = len({row.network for row in plan.rows}) > 1
    headings = (
        "device",
        *(["network"] if several else []),
        "networks",
        "in the store",
        "to measure",
        "each",
        "forecast",
    )
    return plain_table(headings, [_plan_cells(row, several) for row in plan.rows])


def plan_row_line(row: PlanRow) -> str:
    """One device and network config, in a line."""
    each = "" if row.seconds_each is None else f", {row.seconds_each:.2f} s each"
    return (
        f"{row.uri}, network {row.network + 1}: {row.total - row.lacking:,} of {row.total:,} in the store, "
        f"{row.lacking:,} to measure{each} ({row.note or row.basis})"
    )


def plan_lines(plan: CampaignPlan) -> list[str]:
    """What it takes in all."""
    seconds = plan.seconds
    time_text = "not known yet" if seconds is None else f"about {duration_text(seconds)}"
    return [
        f"{plan.name}: {plan.cells:,} cells, {plan.lacking:,} measurements to make; time: {time_text}; "
        f"the store will grow by about {size_text(plan.disk_bytes)}"
    ]


def busy_lines(rows: Sequence[ProgressRow]) -> list[str]:
    """Which share of its time each device was in timed runs, initialization or cooling.

    >>> row = ProgressRow("host-cpu", "finished", 9, 9, 0, 0, 9, None, 0.0, None, {"timed runs": 9.5, "transfer": 0.5})
    >>> busy_lines([row])
    ['host-cpu: 95.0 % of 10.0 s at work: timed runs 9.5, transfer 0.5']
    """
    lines = []
    for row in rows:
        total_s = sum(row.seconds.values())
        if total_s:
            busy_s = sum(row.seconds.get(kind, 0.0) for kind in BUSY_KINDS)
            parts = ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in row.seconds.items() if seconds >= 0.05)
            lines.append(f"{row.uri}: {100 * busy_s / total_s:.1f} % of {total_s:.1f} s at work: {parts}")
    return lines


def _cells(row: ProgressRow | StatusRow, state: str) -> list[str]:
    return [
        row.uri,
        f"{row.total - row.lacking:,}",
        f"{row.total:,}",
        f"{row.unstable:,}",
        f"{row.infeasible:,}",
        "" if row.per_hour is None or not row.lacking else f"{row.per_hour:,.0f}",
        "" if row.left_s is None or not row.lacking else duration_text(row.left_s),
        "" if row.temperature_c is None else f"{row.temperature_c:.1f}",
        state,
    ]


def _origin(row: ProgressRow | StatusRow) -> str:
    return row.origin.upper() if row.origin not in ("", "measured") else ""


def _plan_cells(row: PlanRow, several: bool) -> list[Any]:
    return [
        row.uri,
        *([str(row.network + 1)] if several else []),
        f"{row.total:,}",
        f"{row.total - row.lacking:,}",
        f"{row.lacking:,}",
        "" if row.seconds_each is None else f"{row.seconds_each:.2f} s",
        row.note or row.basis,
    ]
