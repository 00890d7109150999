"""What ``leti-opt measure`` prints for people: a few lines for one network, else a table that grows row by row."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leti_opt.cli.measure_row import MeasuredRow, NetworkFacts

if TYPE_CHECKING:
    from leti_opt.device.operator_time import OperatorTime

UNKNOWN = "–"
_GAP = "  "
_ROOM_FOR_NAME = 24
_HEADS = {"mean": "mean ±", "median": "median", "p95": "p95"}


@dataclass(frozen=True)
class Column:
    """A column of fixed width, since rows are printed before the later ones are known."""

    heading: str
    width: int
    text: Callable[[MeasuredRow], str]
    left: bool = False

    def cell(self, text: str) -> str:
        """The text in the column's width; a longer one is never cut."""
        return text.ljust(self.width) if self.left else text.rjust(self.width)


@dataclass(frozen=True)
class MeasureTable:
    """Rows of several networks or devices. The name comes last and is never cut.

    Args:
        networks: name and facts of every network, in order.
        devices: URI of each device; the column is left out where there is one.
        statistic: the figure that comes first.
        width: of the terminal; None for whole lines, for what reads them next.
        published: whether a device gives published figures, whose status may be a long one.
        grouped: whether runs may be timed several at once.
    """

    networks: Sequence[tuple[str, NetworkFacts]]
    devices: Sequence[str]
    statistic: str = "mean"
    width: int | None = None
    published: bool = False
    grouped: bool = False
    columns: tuple[Column, ...] = field(init=False)
    costs_apart: bool = field(init=False)

    def __post_init__(self) -> None:
        whole = (*self._device(wide=True), *self._times(), *self._costs())
        fits = self.width is None or _total(whole) + _ROOM_FOR_NAME <= self.width
        object.__setattr__(self, "costs_apart", not fits)
        object.__setattr__(self, "columns", whole if fits else (*self._device(wide=False), *self._times()))

    def _device(self, wide: bool) -> tuple[Column, ...]:
        if len(self.devices) == 1:
            return ()
        if wide:
            width = max(len("device"), *(len(uri) for uri in self.devices))
            return (Column("device", width, lambda row: row.uri, left=True),)
        return (Column("#", 2, lambda row: str(self.devices.index(row.uri) + 1), left=True),)

    def _times(self) -> tuple[Column, ...]:
        figures = {
            "mean": Column("mean ±", 16, _mean_text),
            "std": Column("std", 7, lambda row: ms_text(row.std_ms)),
            "median": Column("median", 8, lambda row: ms_text(row.median_ms)),
            "p95": Column("p95", 8, lambda row: ms_text(row.p95_ms)),
        }
        first = figures.pop(self.statistic)
        return (
            first,
            *figures.values(),
            Column("runs", 10 if self.grouped else 5, _runs_text),
            Column("status", 28 if self.published else 11, status_text, left=True),
            Column("from", 5, _source_text, left=True),
        )

    def _costs(self) -> tuple[Column, ...]:
        costs = (
            Column("FLOPs", 8, lambda row: count_text(row.facts.flops)),
            Column("params", 8, lambda row: count_text(row.facts.parameters)),
            Column("peak mem", 9, lambda row: bytes_text(row.facts.peak_memory_bytes)),
        )
        if all(facts.gpu_rules is None for _, facts in self.networks):
            return costs
        width = max(len(gpu_text(facts)) for _, facts in self.networks)
        return (*costs, Column("GPU", max(3, width), lambda row: gpu_text(row.facts), left=True))

    def head(self, devices: Sequence[str]) -> list[str]:
        """What the figures are, each device in words, costs where they need a table of their own, and headings."""
        lines = ["latency in ms; ± is half the width of the 95 % interval of the mean"]
        numbered = self.costs_apart and len(devices) > 1
        for number, (uri, words) in enumerate(zip(self.devices, devices, strict=True), start=1):
            lines.append(f"{f'{number} ' if numbered else ''}{uri}: {words}")
        if self.costs_apart:
            costs = self._costs()
            lines += ["", _line(costs, [column.heading for column in costs], "model")]
            for name, facts in self.networks:
                row = MeasuredRow(name, "", "", "", facts=facts)
                lines.append(_line(costs, [column.text(row) for column in costs], name))
        return [*lines, "", _line(self.columns, [column.heading for column in self.columns], "model")]

    def lines(self, row: MeasuredRow) -> list[str]:
        """The row, and under it why there is no latency."""
        line = _line(self.columns, [column.text(row) for column in self.columns], row.name)
        return [line] if row.failure is None else [line, f"    {row.failure}"]

    def notes(self, rows: Sequence[MeasuredRow]) -> list[str]:
        """What a reader must know of some of the rows."""
        notes = [f"{name}: {gpu_sentence(facts)}" for name, facts in self.networks if facts.gpu_refusals]
        notes += [
            f"{name}: costs not known: {facts.costs_unknown}" for name, facts in self.networks if facts.costs_unknown
        ]
        if any(row.status == "provisional" for row in rows):
            notes.append(PROVISIONAL)
        if any(row.rule == "not checkable" for row in rows):
            notes.append(NOT_CHECKABLE)
        notes += [f"{row.name} on {row.uri}: {row.shared_figure}" for row in rows if row.shared_figure is not None]
        if any((row.runs_per_sample or 1) > 1 for row in rows):
            notes.append(GROUPED)
        return ["", *notes] if notes else []


PROVISIONAL = "provisional: every attempt broke the rule; the figures are medians over the attempts"
NOT_CHECKABLE = "rule not checkable: published without the number or the spread of its runs"
GROUPED = "runs 'by 4': four were timed as one, so std, median and p95 are those of such samples"


def single_lines(row: MeasuredRow) -> list[str]:
    """One network on one device."""
    lines = [f"on {row.device}, latency in ms", f"  {_single_result(row)}  {row.name}"]
    facts = row.facts
    if facts.costs_unknown:
        lines.append(f"  costs not known: {facts.costs_unknown}")
    else:
        lines.append(
            f"  {count_text(facts.flops)} FLOPs, {count_text(facts.parameters)} parameters, "
            f"activations peak at {bytes_text(facts.peak_memory_bytes)}"
        )
    if facts.gpu_refusals is not None:
        lines.append(f"  {gpu_sentence(facts)}")
    notes = {PROVISIONAL: row.status == "provisional", GROUPED: (row.runs_per_sample or 1) > 1}
    if row.shared_figure is not None:
        lines.append(f"  {row.shared_figure}")
    return lines + [f"  {note}" for note, holds in notes.items() if holds]


def _single_result(row: MeasuredRow) -> str:
    if row.rule is None:
        return f"{row.status} ({row.source}): {row.failure}"
    figures = {
        "mean": f"{_mean_text(row)} (95 % interval of the mean)" if row.mean_error_ms is not None else _mean_text(row),
        "std": f"std {ms_text(row.std_ms)}",
        "median": f"median {ms_text(row.median_ms)}",
        "p95": f"p95 {ms_text(row.p95_ms)}",
    }
    first = figures.pop(row.statistic)
    if row.statistic != "mean":
        figures["mean"] = f"mean {figures['mean']}"
    runs = "runs not known" if row.runs is None else f"{_runs_text(row)} runs"
    origin = "anew" if row.source == "device" else "from the store"
    known = [first, *(text for text in figures.values() if not text.endswith(UNKNOWN)), runs]
    reason = "" if row.failure is None else f"; {row.failure}"
    checkable = ", rule not checkable" if row.rule == "not checkable" else ""
    return f"{', '.join(known)}, {row.status} {origin}{checkable}{reason}"


def profile_lines(row: MeasuredRow, times: Sequence[OperatorTime]) -> list[str]:
    """Operators by share of time, the largest first, with the sum beside the whole."""
    from leti_opt.objective.operator_profile import sum_ms

    total = sum_ms(times)
    lines = [
        "",
        f"operators of {row.name} on {row.device}",
        f"({row.operators_method})",
        f"{'share':>7}  {'ms ±':>16}  {'#':>4}  operator",
    ]
    kind_width = max((len(time.operator) for time in times), default=0)
    for time in sorted(times, key=lambda time: -(time.latency_ms or 0.0)):
        if time.latency_ms is None:
            what = f"{UNKNOWN:>7}  {UNKNOWN:>16}"
        else:
            what = f"{100 * time.latency_ms / total:5.1f} %  {_with_error(time.latency_ms, time.mean_error_ms):>16}"
        marks = [time.reason] if time.reason else [] if time.stable else ["unstable"]
        note = f"  ({', '.join(marks)})" if marks else ""
        lines.append(f"{what}  {time.position:>4}  {time.operator:<{kind_width}}  {time.name}{note}")
    share = ""
    if row.mean_ms:
        provisional = " (provisional)" if row.status == "provisional" else ""
        share = f", {100 * total / row.mean_ms:.0f} % of the whole network's {ms_text(row.mean_ms)} ms{provisional}"
    missing = sum(time.latency_ms is None for time in times)
    without = f"; {missing} of {len(times)} operators could not be measured alone" if missing else ""
    return [*lines, f"the sum is {ms_text(total)} ms{share}{without}"]


def ms_text(value: float | None) -> str:
    """Milliseconds with three decimals, four below 0.1.

    >>> ms_text(12.3456), ms_text(0.01234), ms_text(None)
    ('12.346', '0.0123', '–')
    """
    if value is None:
        return UNKNOWN
    return f"{value:.3f}" if value >= 0.1 else f"{value:.4f}"


def count_text(value: int | None) -> str:
    """A count in three digits with its thousands' letter.

    >>> count_text(85_300_000), count_text(720), count_text(999_999), count_text(0), count_text(None)
    ('85.3 M', '720', '1.00 M', '0', '–')
    """
    return UNKNOWN if value is None else _scaled(value, 1000, ("", "k", "M", "G", "T", "P"))


def bytes_text(value: int | None) -> str:
    """Bytes in binary units.

    >>> bytes_text(1536), bytes_text(3 * 2**20), bytes_text(None)
    ('1.50 KiB', '3.00 MiB', '–')
    """
    return UNKNOWN if value is None else _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _scaled(value: int, step: int, units: Sequence[str]) -> str:
    number, place = float(value), 0
    while number >= step * (1 - 0.0005) and place < len(units) - 1:
        number, place = number / step, place + 1
    digits = str(value) if place == 0 else f"{number:.{max(0, 3 - len(str(int(number + 0.005))))}f}"
    return f"{digits} {units[place]}".strip()


def gpu_text(facts: NetworkFacts) -> str:
    """Yes, or the first operator that is refused."""
    if facts.gpu_refusals is None:
        return UNKNOWN
    return f"no: {facts.gpu_refusals[0].operator}" if facts.gpu_refusals else "yes"


def gpu_sentence(facts: NetworkFacts) -> str:
    """The forecast with its reason and its rules."""
    if not facts.gpu_refusals:
        return f"a phone's GPU would take all of it, by the rules {facts.gpu_rules} (a forecast)"
    first, more = facts.gpu_refusals[0], len(facts.gpu_refusals) - 1
    others = f", and {more} more" if more else ""
    return (
        f"a phone's GPU would refuse {first.operator} of {first.layer}: {first.reason}{others}, "
        f"by the rules {facts.gpu_rules} (a forecast)"
    )


def status_text(row: MeasuredRow) -> str:
    """The status, and that the rule could not be checked where that is so."""
    return f"{row.status}, rule not checkable" if row.rule == "not checkable" else row.status


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _mean_text(row: MeasuredRow) -> str:
    return _with_error(row.mean_ms, row.mean_error_ms)


def _with_error(mean_ms: float | None, error_ms: float | None) -> str:
    if mean_ms is None:
        return UNKNOWN
    return ms_text(mean_ms) if error_ms is None else f"{ms_text(mean_ms)} ± {ms_text(error_ms)}"


def _runs_text(row: MeasuredRow) -> str:
    if row.runs is None:
        return UNKNOWN
    per_sample = row.runs_per_sample or 1
    return str(row.runs) if per_sample == 1 else f"{row.runs} by {per_sample}"


def _source_text(row: MeasuredRow) -> str:
    if not row.source:
        return UNKNOWN
    return "anew" if row.source == "device" else "store"


def _total(columns: Iterable[Column]) -> int:
    return sum(column.width + len(_GAP) for column in columns)


def _line(columns: Sequence[Column], texts: Sequence[str], name: str) -> str:
    return _GAP.join([*(column.cell(text) for column, text in zip(columns, texts, strict=True)), name])
