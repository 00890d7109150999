"""The picture of a sum: which pieces cost the most, each bar beginning where the one before it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.campaign.lut_result import LutResult, ModelResult
from leti_opt.predictor.lut_sum import PieceTimes
from leti_opt.report.canvas import blank_figure
from leti_opt.report.lut_table import with_spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _PALE, _RED = "#4477aa", "#bbccdd", "#cc3311"
_LABEL = 64


@dataclass(frozen=True)
class WaterfallBar:
    """One bar.

    Args:
        label: what it stands for.
        start_ms: where it begins: what the bars above it take.
        latency_ms: how long it is.
        provisional: whether a piece in it was unstable.
    """

    label: str
    start_ms: float
    latency_ms: float
    provisional: bool


def waterfall_bars(times: Sequence[PieceTimes], most: int = 15) -> list[WaterfallBar]:
    """The costliest pieces, equal ones together, and all others as one last bar; the bars add up to the sum.

    >>> from leti_opt.predictor.lut_sum import TableEntry
    >>> times = [
    ...     PieceTimes(("a", "b"), "ReLU", "8x8x4", TableEntry("r", "ReLU", "8x8x4", latency_ms=1.0)),
    ...     PieceTimes(("c",), "Conv2D", "8x8x3", TableEntry("c", "Conv2D", "8x8x3", latency_ms=5.0)),
    ... ]
    >>> [(bar.label, bar.start_ms, bar.latency_ms) for bar in waterfall_bars(times)]
    [('Conv2D 8x8x3', 0.0, 5.0), ('2 x ReLU 8x8x4', 5.0, 2.0)]
    """
    known = sorted((each for each in times if each.latency_ms), key=lambda each: -(each.latency_ms or 0.0))
    shown, others = (known, []) if len(known) <= most + 1 else (known[:most], known[most:])
    bars: list[WaterfallBar] = []
    start = 0.0
    for label, group in [*((_label(each), [each]) for each in shown), *_rest(others)]:
        cost = sum(each.latency_ms or 0.0 for each in group)
        bars.append(WaterfallBar(label, start, cost, any(each.entry and not each.entry.stable for each in group)))
        start += cost
    return bars


def _rest(others: Sequence[PieceTimes]) -> list[tuple[str, Sequence[PieceTimes]]]:
    count = sum(each.count for each in others)
    return [(f"{count} others, of {len(others)} kinds", others)] if others else []


def _label(times: PieceTimes) -> str:
    count = "" if times.count == 1 else f"{times.count} x "
    text = f"{count}{times.operation} {times.description}"
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def waterfall_figure(result: LutResult, path: Path, cutting: str = "layer", most: int = 15) -> Path:
    """Draw a waterfall for each network of a study, one below the other.

    Args:
        result: what to draw.
        path: a ``.png`` file; its folder must exist.
        cutting: ``layer`` or ``kernel``.
        most: how many kinds of pieces have a bar of their own.
    """
    drawn = [model for model in result.models if model.times.get(cutting)]
    bars = [waterfall_bars(model.times[cutting], most) for model in drawn]
    heights = [len(each) + 3 for each in bars]
    figure = blank_figure(13, max(3.0, 0.27 * sum(heights) + 0.8))
    figure.suptitle(f"{cutting}s on {result.device}, {result.origin} alone", fontsize=11)
    if drawn:
        places = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=heights)
        for axes, model, own in zip(places[:, 0], drawn, bars, strict=True):
            _draw(axes, model, own)
    figure.savefig(path, dpi=110)
    return path


def _draw(axes: Axes, model: ModelResult, bars: Sequence[WaterfallBar]) -> None:
    places = range(len(bars))
    colors = [_PALE if bar.provisional else _BLUE for bar in bars]
    axes.barh(places, [bar.latency_ms for bar in bars], left=[bar.start_ms for bar in bars], color=colors)
    total = bars[-1].start_ms + bars[-1].latency_ms if bars else 0.0
    for place, bar in zip(places, bars, strict=True):
        share = f" {bar.latency_ms:.3g} ms, {100 * bar.latency_ms / total:.1f} %"
        axes.text(bar.start_ms + bar.latency_ms, place, share, va="center", fontsize=7)
    axes.set_yticks(places, [bar.label for bar in bars], fontsize=7)
    axes.invert_yaxis()
    direct = model.direct.latency_ms
    if direct is not None:
        axes.axvline(direct, color=_RED, linewidth=1)
    axes.set_xlim(0, 1.18 * max(total, direct or 0.0))
    measured = f"measured whole (red line) {with_spread(direct, model.direct.std_ms)} ms"
    axes.set_title(f"{model.name}: sum {total:.3f} ms; {measured}", fontsize=9, loc="left")
    axes.set_xlabel("ms; pale bars hold unstable figures", fontsize=8)
    axes.grid(axis="x", alpha=0.3)
