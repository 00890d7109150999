"""Pictures of results, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.objective.accuracy_latency import AccuracyLatency
from leti_opt.report.canvas import blank_figure
from leti_opt.report.cell_drawing import draw_cell
from leti_opt.report.evenly import evenly_spread
from leti_opt.report.tables import statistic_prefix
from leti_opt.search.architecture_search import SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DRAWN_CELLS = 4


def search_figure(
    result: SearchResult, network: NetworkConfig, path: Path, title: str, statistic: str = "mean"
) -> Path:
    """Draw every measured cell, the front, and some cells of the front, numbered as in the front's order.

    Cells whose figures are provisional are hollow. Bars are the standard deviation of the runs around their mean; other
    statistics have none. A search for latency alone is drawn against FLOPs.

    Args:
        result: what the search found.
        network: its network config.
        path: a ``.png`` file; its folder must exist.
        title: one line: device, network, and whether the figures are measured.
        statistic: what the objective answered.

    Raises:
        InvalidInputError: nothing was measured.
    """
    evaluations = _distinct(result)
    if not evaluations:
        raise InvalidInputError("no cell was measured, so there is nothing to draw")
    figure = blank_figure(10, 8.5)
    front = result.front
    drawn = evenly_spread(front, _DRAWN_CELLS)
    grid = figure.add_gridspec(2, max(1, len(drawn)), height_ratios=[3, 2])
    axes = figure.add_subplot(grid[0, :])
    _scatter(axes, evaluations, front, network, statistic)
    axes.set_title(title, fontsize=10)
    for column, evaluation in enumerate(drawn):
        number = str(front.index(evaluation) + 1)
        label = f"{number}: {evaluation.latency_ms:.3g} ms"
        if evaluation.accuracy is not None:
            label += f", {100 * evaluation.accuracy:.1f} %"
        draw_cell(figure.add_subplot(grid[1, column]), evaluation.architecture, label)
        axes.annotate(
            number,
            (evaluation.latency_ms, _height(evaluation, network)),
            xytext=(6, 6),
            textcoords="offset points",
            fontweight="bold",
        )
    figure.savefig(path, dpi=130)
    return path


def _scatter(
    axes: Axes,
    evaluations: Sequence[AccuracyLatency],
    front: Sequence[AccuracyLatency],
    network: NetworkConfig,
    statistic: str,
) -> None:
    held = [e for e in evaluations if not e.answer.provisional]
    provisional = [e for e in evaluations if e.answer.provisional]
    axes.errorbar(
        [e.latency_ms for e in held],
        [_height(e, network) for e in held],
        xerr=[_std_ms(e) for e in held] if statistic == "mean" else None,
        fmt="o",
        color="#4477aa",
        ecolor="#aabbcc",
        markersize=5,
        label=f"{_origin(evaluations)} ({len(held)})",
    )
    if provisional:
        axes.plot(
            [e.latency_ms for e in provisional],
            [_height(e, network) for e in provisional],
            "o",
            markerfacecolor="none",
            color="#999999",
            label=f"provisional: spread above the rule ({len(provisional)})",
        )
    if front and front[0].accuracy is not None:
        axes.plot(
            [e.latency_ms for e in front],
            [_height(e, network) for e in front],
            "-",
            drawstyle="steps-post",
            color="#ee6677",
            label="Pareto front",
        )
    axes.set_xlabel(f"{statistic_prefix(statistic)}latency in ms, batch of {network.batch_size}")
    with_accuracy = evaluations[0].accuracy is not None
    axes.set_ylabel("accuracy in %" if with_accuracy else "FLOPs in millions")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _distinct(result: SearchResult) -> list[AccuracyLatency]:
    found = {step.evaluation.architecture: step.evaluation for step in reversed(result.steps)}
    return [evaluation for evaluation in found.values() if evaluation.answer.measurement is not None]


def _origin(evaluations: Sequence[AccuracyLatency]) -> str:
    """``measured``, ``simulated`` or ``replayed``."""
    measurement = evaluations[0].answer.measurement
    return "" if measurement is None else measurement.device.origin


def _height(evaluation: AccuracyLatency, network: NetworkConfig) -> float:
    if evaluation.accuracy is not None:
        return 100 * evaluation.accuracy
    return network_cost(evaluation.architecture, network).flops / 1e6


def _std_ms(evaluation: AccuracyLatency) -> float:
    measurement = evaluation.answer.measurement
    std = None if measurement is None else measurement.batch.std_ms
    return std or 0.0
