"""Hypothesis strategies for random cells, as adjacency and operation names or as an Architecture."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from leti_opt.architecture import INPUT, NAS_BENCH_101_LABELS, OUTPUT, Architecture


@st.composite
def cells(
    draw: st.DrawFn,
    min_vertices: int = 2,
    max_vertices: int = 7,
    labels: tuple[str, ...] = NAS_BENCH_101_LABELS,
    max_edges: int | None = None,
) -> Architecture:
    """Connected cells, pruned or not; one that came out disconnected gets a random path."""
    size = draw(st.integers(min_vertices, max_vertices))
    last = size - 1
    pairs = [(x, y) for y in range(1, size) for x in range(y)]
    edges = set(draw(st.lists(st.sampled_from(pairs), unique=True, max_size=max_edges)))
    inner = draw(st.lists(st.sampled_from(labels), min_size=size - 2, max_size=size - 2))
    if not leads_to(edges, 0, last):
        stops = [0, *(v for v in range(1, last) if draw(st.booleans())), last]
        edges |= set(pairwise(stops))
    matrix = [[int((x, y) in edges) for y in range(size)] for x in range(size)]
    return Architecture(matrix, [INPUT, *inner, OUTPUT], labels)


def leads_to(edges: set[tuple[int, int]], start: int, end: int) -> bool:
    """Whether a path leads from one vertex to the other."""
    reached = {start}
    for source, target in sorted(edges):
        if source in reached:
            reached.add(target)
    return end in reached


@st.composite
def relabeled(draw: st.DrawFn, cell: Architecture) -> Architecture:
    """The same cell with its inner vertices in another order that keeps every edge leading upwards."""
    order = [0]
    waiting = set(range(1, len(cell) - 1))
    while waiting:
        free = sorted(v for v in waiting if not any(cell.adjacency[u, v] for u in waiting))
        order.append(draw(st.sampled_from(free)))
        waiting.remove(order[-1])
    order.append(len(cell) - 1)
    matrix = [[int(cell.adjacency[x, y]) for y in order] for x in order]
    return Architecture(matrix, [cell.operations[v] for v in order], cell.labels)


def label_indices(cell: Architecture) -> list[int]:
    """Labels as the references want them: -1, list positions, -2."""
    return [-1, *(cell.labels.index(name) for name in cell.operations[1:-1]), -2]
