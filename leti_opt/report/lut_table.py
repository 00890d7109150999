"""The table of a study of lookup tables: direct measurement and sums side by side, as in the LETI paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence

from leti_opt.campaign.lut_result import LutFigure, LutResult, ModelResult
from leti_opt.predictor.lut import TablePrediction
from leti_opt.predictor.lut_sum import PieceTimes

HEADINGS = ("model", "direct, ms", "pieces", "sum, ms", "error, ms", "error", "notes")
NOTE = (
    "± is the standard deviation of a run: measured for the whole network, for a sum the root of the summed variances "
    "of its pieces. The error is the sum less the direct figure, as a share of that. A residual was fitted on the "
    "other networks of the table."
)
_NAMED = 3


def table_rows(result: LutResult) -> list[tuple[str, ...]]:
    """A row for each network and granularity, under :data:`HEADINGS`."""
    return [_row(model, figure) for model in result.models for figure in model.sums]


def _row(model: ModelResult, figure: LutFigure) -> tuple[str, ...]:
    share = model.error_share(figure)
    return (
        model.name,
        with_spread(model.direct.latency_ms, model.direct.std_ms) + ("" if model.direct.stable else " unstable"),
        f"{figure.pieces} {figure.granularity}" if figure.pieces else figure.granularity,
        with_spread(figure.latency_ms, figure.spread_ms),
        "" if figure.error_ms is None else f"{figure.error_ms:+.3f}",
        "" if share is None else f"{100 * share:+.1f} %",
        "; ".join(_notes(model, figure)),
    )


def _notes(model: ModelResult, figure: LutFigure) -> list[str]:
    notes = [text for text in (model.direct.reason, figure.reason) if text]
    if figure.pieces and not figure.reason:
        notes.append(f"{figure.distinct} different")
    if figure.free:
        notes.append(f"{sum(times.count for times in figure.free)} without operators")
    if figure.unstable:
        notes.append(f"{len(figure.unstable)} unstable")
    return notes


def with_spread(latency_ms: float | None, std_ms: float | None) -> str:
    """A latency with its spread, with as many digits as its size deserves.

    >>> with_spread(552.123, 7.12), with_spread(0.12345, None), with_spread(None, None)
    ('552.12 ± 7.12', '0.1235', '-')
    """
    if latency_ms is None:
        return "-"
    digits = 2 if latency_ms >= 100 else 3 if latency_ms >= 1 else 4
    return f"{latency_ms:.{digits}f}" + ("" if std_ms is None else f" ± {std_ms:.{digits}f}")


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown.

    >>> markdown_table(["a", "b"], [["1", "2"]])
    ['| a | b |', '| --- | --- |', '| 1 | 2 |']
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def costly_lines(model: ModelResult, cutting: str, most: int = 10) -> list[str]:
    """Which pieces cost the most: time of all equal ones together, share of the sum, how many, what they are."""
    times = sorted(model.times.get(cutting, ()), key=lambda each: -(each.latency_ms or 0.0))
    total = sum(each.latency_ms or 0.0 for each in times)
    return [_costly_line(each, total) for each in times[:most] if each.latency_ms]


def _costly_line(times: PieceTimes, total: float) -> str:
    cost = times.latency_ms or 0.0
    mark = "" if times.entry is None or times.entry.stable else "  unstable"
    what = f"{times.count} x {times.operation}  {times.description}"
    return f"{cost:10.4f} ms {100 * cost / total:5.1f} %  {what}{mark}"


def prediction_lines(found: TablePrediction, device: str, measured: str) -> list[str]:
    """What a table says of a network, and what it lacks.

    Args:
        found: the prediction.
        device: that the table was measured on, in words.
        measured: ``measured``, or what the device does in place of it.
    """
    origin = f"sum of {found.granularity} entries {measured} on {device}"
    if found.latency_ms is None:
        lines = [
            f"{found.name}: no latency, {len(found.missing)} entries are missing; what is there takes "
            f"{found.partial_ms:.4f} ms ({origin})"
        ]
    else:
        lines = [f"{found.name}: {with_spread(found.latency_ms, found.std_ms)} ms ({origin})"]
    lines += [f"  missing: {_named(times)}: {times.reason}" for times in found.missing]
    lines += [f"  unstable, in the sum: {_named(times)}" for times in found.unstable]
    return lines + [f"  without operators: {_named(times)}" for times in found.free]


def _named(times: PieceTimes) -> str:
    more = "" if times.count <= _NAMED else f" and {times.count - _NAMED} more"
    return f"{times.operation} {times.description} ({', '.join(times.names[:_NAMED])}{more})"
