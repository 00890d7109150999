"""The picture of a comparison: every network on both sides, and how their ratios are spread."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leti_opt.report.canvas import blank_figure
from leti_opt.report.comparison import ComparedNetwork, Comparison, RankMove

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = 0.05
"""Half the width of the drawn band around the median ratio."""

_LOG_SPAN = 4
"""Latencies that span a larger factor are drawn on logarithmic axes."""
_SHOWN_RATIOS = (0.5, 99.5)
"""The histogram shows these percentiles and what lies between; the rest is counted below it."""
_DODGED = 500
"""How many networks the numbers keep off; among more they could not."""
_BLUE, _PALE, _RED, _GREY = "#4477aa", "#88aacc", "#cc3311", "#777777"

_OFFSETS = [
    distance * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    for distance in (20, 34, 48, 62)
    for angle in (135, -45, 160, -20, 110, -70)
]
"""Where a point's number may stand, in typographic points from it, the best first."""


def comparison_figure(comparison: Comparison, path: Path, moved: int = 5) -> Path:
    """Draw a comparison: latencies against each other with the line of the median ratio, and the ratios' histogram.

    Bars are the 95 % intervals of the figures where they are known. The networks that moved most are numbered, in the
    order of ``comparison.moved``.

    Args:
        comparison: what to draw.
        path: a ``.png`` file; its folder must exist.
        moved: how many of the moved networks to number.
    """
    figure = blank_figure(12, 7)
    figure.suptitle(_title(comparison), fontsize=10)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    marked = comparison.moved[:moved]
    _draw_latencies(left, comparison, marked)
    _draw_ratios(right, comparison)
    figure.draw_without_rendering()
    _number(left, comparison.rows, marked)
    figure.savefig(path, dpi=130)
    return path


def _title(comparison: Comparison) -> str:
    sides = (
        ("A", comparison.first, comparison.first_origin),
        ("B", comparison.second, comparison.second_origin),
    )
    lines = [textwrap.fill(f"{letter}: {name}, {origin}", 140) for letter, name, origin in sides]
    return "\n".join([*lines, textwrap.fill(comparison.verdict("A", "B"), 140)])


def _draw_latencies(axes: Axes, comparison: Comparison, moved: Sequence[RankMove]) -> None:
    rows = comparison.rows
    first, second = np.array([row.first_ms for row in rows]), np.array([row.second_ms for row in rows])
    bars = {
        "xerr": _bars([row.first_error_ms for row in rows]),
        "yerr": _bars([row.second_error_ms for row in rows]),
    }
    axes.errorbar(
        first,
        second,
        **bars,
        fmt="o",
        color=_BLUE,
        ecolor=_PALE,
        markersize=_marker(len(rows)),
        alpha=0.7,
        label=f"{len(rows)} networks",
    )
    ends = np.array([first.min() * 0.9, first.max() * 1.1])
    line = np.geomspace(ends[0], ends[1], 50)
    ratio = comparison.ratio
    axes.plot(line, line * ratio, color=_RED, linewidth=1, label=f"B = {ratio:.3f} · A (median ratio)")
    axes.fill_between(
        line,
        line * ratio * (1 - BAND),
        line * ratio * (1 + BAND),
        color=_RED,
        alpha=0.12,
        linewidth=0,
        label=f"±{100 * BAND:.0f} % of it",
    )
    axes.plot(line, line, color=_GREY, linewidth=1, linestyle=":", label="B = A")
    if max(_span(first), _span(second)) > _LOG_SPAN:
        for scale in (axes.set_xscale, axes.set_yscale):
            scale("log", nonpositive="clip")
        _plain_ticks(axes, (1.0, 2.0, 5.0) if max(_span(first), _span(second)) > 30 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
    axes.set_xlim(*ends)
    _circle(axes, rows, moved)
    axes.set_xlabel(f"A: latency in ms ({comparison.first_origin})")
    axes.set_ylabel(f"B: latency in ms ({comparison.second_origin})")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")


def _bars(errors: Sequence[float | None]) -> Any:
    """Lengths of error bars; none where nothing is known."""
    if all(error is None for error in errors):
        return None
    return np.array([math.nan if error is None else error for error in errors])


def _marker(count: int) -> float:
    return 5.0 if count <= 200 else 3.0 if count <= 2000 else 1.5


def _span(values: Any) -> float:
    return float(values.max() / values.min())


def _plain_ticks(axes: Axes, multiples: Sequence[float]) -> None:
    """Milliseconds as people write them, 0.5 and not 5 × 10⁻¹, and few enough not to touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=multiples, numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _circle(axes: Axes, rows: Sequence[ComparedNetwork], moved: Sequence[RankMove]) -> None:
    if moved:
        places = _places(rows, moved)
        first, second = [place[0] for place in places], [place[1] for place in places]
        axes.plot(
            first, second, "o", markersize=10, markerfacecolor="none", color=_RED, label="rank moved most", zorder=4
        )


def _places(rows: Sequence[ComparedNetwork], moved: Sequence[RankMove]) -> list[tuple[float, float]]:
    by_key = {row.key: row for row in rows}
    return [(by_key[move.key].first_ms, by_key[move.key].second_ms) for move in moved]


def _number(axes: Axes, rows: Sequence[ComparedNetwork], moved: Sequence[RankMove]) -> None:
    """Number points, each number at the best free spot around its point: off the points and the other numbers.

    Call it when everything else is laid out, because it looks at where things are on the page.
    """
    dots_a_point = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    places = _places(rows, moved)
    points = [np.array(axes.transData.transform(place)) / dots_a_point for place in places]
    others = [(row.first_ms, row.second_ms) for row in rows[:_DODGED]]
    taken = [*points, *(np.array(axes.transData.transform(place)) / dots_a_point for place in others)]
    corners = np.array(axes.transAxes.transform([(0, 0), (1, 1)])) / dots_a_point
    for number, (place, point) in enumerate(zip(places, points, strict=True), start=1):
        spots = [point + offset for offset in _OFFSETS]
        inside = [spot for spot in spots if (spot > corners[0] + 8).all() and (spot < corners[1] - 8).all()] or spots
        spot = max(inside, key=lambda candidate: min(14.0, *(float(np.hypot(*(candidate - at))) for at in taken)))
        taken.append(spot)
        axes.annotate(
            str(number),
            place,
            xytext=tuple(spot - point),
            textcoords="offset points",
            ha="center",
            va="center",
            color=_RED,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": _RED, "linewidth": 0.6, "shrinkA": 5, "shrinkB": 5},
        )


def _draw_ratios(axes: Axes, comparison: Comparison) -> None:
    ratios = np.array([row.ratio for row in comparison.rows])
    low, high = np.percentile(ratios, _SHOWN_RATIOS)
    shown = ratios[(ratios >= low) & (ratios <= high)] if len(ratios) > 200 else ratios
    bins = int(np.clip(2 * np.sqrt(shown.size), 5, 60))
    if np.ptp(shown) <= 1e-9 * abs(shown[0]):
        axes.set_xlim(shown[0] * 0.95, shown[0] * 1.05)
    axes.hist(shown, bins=bins, color=_BLUE, alpha=0.8)
    axes.axvspan(comparison.ratio_low, comparison.ratio_high, color=_RED, alpha=0.2, label="its 95 % interval")
    axes.axvline(comparison.ratio, color=_RED, label=f"median {comparison.ratio:.3f}")
    axes.axvline(1, color=_GREY, linestyle=":", label="B = A")
    hidden = len(ratios) - shown.size
    tail = f"\n({hidden} of {len(ratios)} lie outside)" if hidden else ""
    axes.set_xlabel(f"B / A of a network{tail}")
    axes.set_ylabel("networks")
    axes.grid(alpha=0.3, axis="y")
    axes.margins(y=0.25)
    axes.legend(fontsize=8, loc="upper right")
