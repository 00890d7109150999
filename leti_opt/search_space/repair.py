"""Turns preferences into a cell of a definition, whatever the preferences are.

A *margin* says how much an edge is wanted: above zero it is to be there, at or below zero it is not, and its size says
how firmly. Where the wanted edges make no valid cell, as little as possible is changed, measured in margin. Everything
here is pure and deterministic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.architecture import INPUT, OUTPUT, Architecture
from leti_opt.search_space.definition import SpaceDefinition

Edge = tuple[int, int]
Margins = dict[Edge, float]
_Way = tuple[float, int, tuple[Edge, ...]]

_LARGEST = 1e100


def finite(weights: ArrayLike) -> NDArray[np.float64]:
    """The weights as floats, infinite ones made huge and NaN the least wanted, so that they can be summed and compared.

    >>> finite([1.0, float("inf"), float("nan")]).tolist()
    [1.0, 1e+100, -1e+100]
    """
    filled = np.nan_to_num(np.asarray(weights, dtype=float), nan=-_LARGEST, posinf=_LARGEST, neginf=-_LARGEST)
    clipped: NDArray[np.float64] = np.clip(filled, -_LARGEST, _LARGEST)
    return clipped


def decode_vertices(
    definition: SpaceDefinition, edge_margins: Sequence[float], operations: Sequence[str]
) -> Architecture:
    """The pruned cell nearest to what is wanted, for operations on vertices.

    Args:
        definition: what is allowed.
        edge_margins: a finite margin for each of ``definition.edges``, in that order.
        operations: a name for each vertex between input and output, used or not.

    >>> from leti_opt.search_space.definition import SpaceDefinition
    >>> tiny = SpaceDefinition("tiny", ("conv", "pool"), max_vertices=3, max_edges=2)
    >>> str(decode_vertices(tiny, [1.0, -3.0, -2.0], ["pool"]))
    '0-1,1-2:pool:conv,pool'
    """
    margins = dict(zip(definition.edges, edge_margins, strict=True))
    edges = repaired_edges(margins, definition.max_vertices, definition.edge_limit)
    return cell_from_edges(edges, [INPUT, *operations, OUTPUT], definition.labels)


def decode_edges(
    definition: SpaceDefinition, operation_margins: Sequence[float], operations: Sequence[str]
) -> Architecture:
    """The lowered cell nearest to what is wanted, for operations on edges.

    Args:
        definition: what is allowed.
        operation_margins: for each of ``definition.edges`` how much it is to hold an operation and not the absent one.
        operations: for each edge the operation that it holds where it holds one.
    """
    margins = dict(zip(definition.edges, operation_margins, strict=True))
    present = _connected(margins, definition.max_vertices, len(margins))
    return definition.lower(
        [
            name if edge in present or definition.absent is None else definition.absent
            for edge, name in zip(definition.edges, operations, strict=True)
        ]
    )


def repaired_edges(margins: Margins, vertices: int, limit: int) -> list[Edge]:
    """The edges of the pruned cell that is nearest to the wanted edges.

    If the output is out of reach, the path is added that takes the least margin. A vertex that only gives or only takes
    is joined by one more edge, or dropped where that takes less. If there are too many edges, the one that takes the
    least margin with it goes, until ``limit`` is met.

    Args:
        margins: one for each possible edge.
        vertices: their number; the last one is the output.
        limit: the largest number of edges, at least one.
    """
    edges = useful_edges(_joined(_connected(margins, vertices, limit), margins, vertices), vertices)
    while len(edges) > limit:
        edges = _without_the_least(edges, margins, vertices, limit)
    return edges


def useful_edges(edges: Sequence[Edge] | set[Edge], vertices: int) -> list[Edge]:
    """The edges on a path from input to output, ordered by source, then target.

    >>> useful_edges([(0, 1), (0, 3), (2, 3)], vertices=4)
    [(0, 3)]
    """
    ordered = sorted(edges)
    reached = 1
    for source, target in ordered:
        if reached >> source & 1:
            reached |= 1 << target
    feeds = 1 << (vertices - 1)
    for source, target in reversed(ordered):
        if feeds >> target & 1:
            feeds |= 1 << source
    return [(x, y) for x, y in ordered if reached >> x & 1 and feeds >> y & 1]


def cell_from_edges(edges: Sequence[Edge], operations: Sequence[str], labels: Sequence[str]) -> Architecture:
    """The cell of these edges alone; vertices without an edge are left out.

    Args:
        edges: all of them on a path from the first vertex to the last.
        operations: a name for every vertex, those without an edge included.
        labels: see :class:`~leti_opt.architecture.Architecture`.
    """
    used = sorted({vertex for edge in edges for vertex in edge})
    place = {vertex: index for index, vertex in enumerate(used)}
    matrix = np.zeros((len(used), len(used)), dtype=np.int8)
    for source, target in edges:
        matrix[place[source], place[target]] = 1
    return Architecture(matrix, [operations[vertex] for vertex in used], labels)


def _connected(margins: Margins, vertices: int, limit: int) -> set[Edge]:
    """The wanted edges, and a path of at most ``limit`` edges from input to output if they hold none."""
    present = {edge for edge, margin in margins.items() if margin > 0}
    if _has_path(sorted(present), vertices, limit):
        return present
    return present | set(_cheapest_path(margins, vertices, limit))


def _has_path(ordered: Sequence[Edge], vertices: int, limit: int) -> bool:
    """Whether a path of at most ``limit`` edges leads from the first vertex to the last."""
    hops = [0] + [vertices] * (vertices - 1)
    for source, target in ordered:
        hops[target] = min(hops[target], hops[source] + 1)
    return hops[-1] <= min(limit, vertices - 1)


def _cheapest_path(margins: Margins, vertices: int, limit: int) -> tuple[Edge, ...]:
    """The path of at most ``limit`` edges that takes the least change; of equals the one with the fewest new edges."""
    ways: dict[tuple[int, int], _Way] = {(0, 0): (0.0, 0, ())}
    for source, target in sorted(margins):
        margin = margins[source, target]
        added = margin <= 0
        for hops in range(min(limit, source + 1)):
            way = ways.get((source, hops))
            if way is None:
                continue
            cost = way[0] - margin if added else way[0]
            longer = (cost, way[1] + added, (*way[2], (source, target)))
            known = ways.get((target, hops + 1))
            if known is None or longer < known:
                ways[target, hops + 1] = longer
    return min(way for (vertex, _), way in ways.items() if vertex == vertices - 1)[2]


def _joined(present: set[Edge], margins: Margins, vertices: int) -> set[Edge]:
    """The edges, and one more for each vertex that only gives or only takes, where that is less than to drop its edges.

    Pruning alone would throw such a vertex away with all its edges: random edges would mostly make tiny cells.
    """
    joined = set(present)
    for vertex in range(1, vertices - 1):
        outgoing = {edge for edge in joined if edge[0] == vertex}
        if outgoing and not any(target == vertex for _, target in joined):
            fed = {0, *(target for _, target in joined)}
            _join(joined, outgoing, [(source, vertex) for source in range(vertex) if source in fed], margins)
    for vertex in reversed(range(1, vertices - 1)):
        incoming = {edge for edge in joined if edge[1] == vertex}
        if incoming and not any(source == vertex for source, _ in joined):
            feeding = {vertices - 1, *(source for source, _ in joined)}
            _join(joined, incoming, [(vertex, y) for y in range(vertex + 1, vertices) if y in feeding], margins)
    return joined


def _join(joined: set[Edge], dangling: set[Edge], options: list[Edge], margins: Margins) -> None:
    """Add the least unwanted of the options, or drop the dangling edges if that takes less margin."""
    added = max(options, key=lambda edge: margins[edge])
    if -margins[added] <= sum(margins[edge] for edge in dangling):
        joined.add(added)
    else:
        joined -= dangling


def _without_the_least(edges: list[Edge], margins: Margins, vertices: int, limit: int) -> list[Edge]:
    """Take out the edge that takes the least margin with it, those included that pruning then removes."""
    outgoing = Counter(source for source, _ in edges)
    incoming = Counter(target for _, target in edges)
    best: tuple[float, int, list[Edge]] | None = None
    for edge in edges:
        kept = [other for other in edges if other != edge]
        if outgoing[edge[0]] == 1 or incoming[edge[1]] == 1:
            kept = useful_edges(kept, vertices)
        if not kept or (limit < vertices - 1 and not _has_path(kept, vertices, limit)):
            continue
        lost = (
            sum(margins[gone] for gone in set(edges).difference(kept)) if len(kept) + 1 < len(edges) else margins[edge]
        )
        candidate = (lost, -len(kept), kept)
        if best is None or candidate < best:
            best = candidate
    assert best is not None, "an edge beside the shortest path can always go"
    return best[2]
