"""Draws a cell as boxes and arrows into a matplotlib axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leti_opt.architecture import INPUT, OUTPUT, Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#4477aa", "#66ccee", "#ccbb44", "#ee6677", "#228833", "#aa3377", "#bbbbbb")
_ENDS = "#eeeeee"


def draw_cell(axes: Axes, architecture: Architecture, title: str = "") -> None:
    """Draw the canonical cell, the input at the top, each vertex below everything that feeds it."""
    cell = architecture.canonical()
    positions = cell_layout(cell)
    for source, target in cell.edges:
        axes.annotate(
            "",
            xy=positions[target],
            xytext=positions[source],
            arrowprops={
                "arrowstyle": "-|>",
                "color": "#555555",
                "shrinkA": 9,
                "shrinkB": 9,
                "linewidth": 1.0,
                "connectionstyle": "arc3,rad=0.3" if _passes_a_row(positions, source, target) else "arc3",
            },
        )
    for vertex, name in enumerate(cell.operations):
        axes.text(
            *positions[vertex],
            name,
            ha="center",
            va="center",
            fontsize=6,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": _colour(cell, name), "edgecolor": "#333333"},
        )
    lowest = min(y for _, y in positions)
    widest = max(abs(x) for x, _ in positions)
    axes.set_xlim(-widest - 0.8, widest + 0.8)
    axes.set_ylim(lowest - 0.5, 0.5)
    axes.set_title(title, fontsize=8)
    axes.axis("off")


def cell_layout(cell: Architecture) -> list[tuple[float, float]]:
    """Where each vertex of a pruned cell goes: rows by longest path from the input, spread evenly.

    >>> cell_layout(Architecture.parse("0-1,0-2,1-3,2-3:maxpool3x3,maxpool3x3"))
    [(0.0, 0.0), (-0.5, -1.0), (0.5, -1.0), (0.0, -2.0)]
    """
    depths = [0] * len(cell)
    for source, target in cell.edges:
        depths[target] = max(depths[target], depths[source] + 1)
    rows: dict[int, list[int]] = {}
    for vertex, depth in enumerate(depths):
        rows.setdefault(depth, []).append(vertex)
    positions = [(0.0, 0.0)] * len(cell)
    for depth, row in rows.items():
        for place, vertex in enumerate(row):
            positions[vertex] = (place - (len(row) - 1) / 2, float(-depth))
    return positions


def _passes_a_row(positions: list[tuple[float, float]], source: int, target: int) -> bool:
    return positions[source][1] - positions[target][1] > 1


def _colour(cell: Architecture, name: str) -> str:
    if name in (INPUT, OUTPUT):
        return _ENDS
    return _COLOURS[cell.labels.index(name) % len(_COLOURS)]
