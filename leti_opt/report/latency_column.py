"""One side of a comparison of latencies, and how the networks of two sides are matched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from leti_opt.store.records import CellAlias

FEWEST_NETWORKS = 3
"""With fewer networks there is nothing to compare."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class LatencyColumn:
    """One side of a comparison.

    Args:
        name: what people call it: device, epoch, dates, file.
        origin: ``measured``, ``simulated``, ``replayed`` or ``imported``.
        latency_ms: the figure of each network, by ``model_key`` or whatever the two sides share.
        error_ms: half the width of the 95 % interval of each figure, where it is known.
        labels: what people call each network: its cell, or its file's name.
        cells: the cell behind a key, where there is one. Sides without a common key are matched by it.
        notes: what was left out or chosen on the way here, a sentence each.
    """

    name: str
    origin: str
    latency_ms: Mapping[str, float]
    error_ms: Mapping[str, float]
    labels: Mapping[str, str]
    cells: Mapping[str, CellAlias] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def usable(column: LatencyColumn) -> LatencyColumn:
    """The column without figures that are no positive finite numbers."""
    figures = {key: ms for key, ms in column.latency_ms.items() if isfinite(ms) and ms > 0}
    return LatencyColumn(column.name, column.origin, figures, column.error_ms, column.labels, column.cells)


def matched(first: LatencyColumn, second: LatencyColumn) -> tuple[LatencyColumn, LatencyColumn, str]:
    """The sides by their own keys, or by cell and network where they have no key but cells in common."""
    if first.latency_ms.keys().isdisjoint(second.latency_ms):
        by_cell = _by_cell(first), _by_cell(second)
        if not by_cell[0].latency_ms.keys().isdisjoint(by_cell[1].latency_ms):
            return *by_cell, "cell and network"
    return first, second, "model_key"


def _by_cell(column: LatencyColumn) -> LatencyColumn:
    """Of two models of one cell the later one counts; what is no cell keeps its key."""
    cells = column.cells
    chosen = {
        f"{cells[key].cell} {cells[key].graph_hash} {cells[key].network_digest}" if key in cells else key: key
        for key in column.latency_ms
    }

    def renamed(values: Mapping[str, _Value]) -> dict[str, _Value]:
        return {name: values[key] for name, key in chosen.items() if key in values}

    return LatencyColumn(
        column.name,
        column.origin,
        renamed(column.latency_ms),
        renamed(column.error_ms),
        renamed(column.labels),
        renamed(cells),
    )


def too_few(first: LatencyColumn, second: LatencyColumn, shared: int) -> str:
    """What to say where two matched sides share too few networks: how many, why, and what to do."""
    counts = f"{len(first.latency_ms)} of {first.name} and {len(second.latency_ms)} of {second.name}"
    found = f"{shared} networks are in both sides ({counts}); a comparison needs {FEWEST_NETWORKS}"
    return f"{found}: {_why_too_few(first, second, shared)}"


def _why_too_few(first: LatencyColumn, second: LatencyColumn, shared: int) -> str:
    if not (first.latency_ms and second.latency_ms):
        return "a side has no figures at all"
    if shared:
        return "measure more of the same networks on both"
    cells = [{(cell.graph_hash, cell.cell) for cell in column.cells.values()} for column in (first, second)]
    if cells[0] & cells[1]:
        return (
            f"they have {len(cells[0] & cells[1])} cells in common, laid out by different network configs; "
            "measure both sides with the same --network and --set"
        )
    if all(cells):
        return "their cells are different ones; measure the same cells on both"
    return "no key is common; are these the same models, or the same files under another renderer or converter?"
