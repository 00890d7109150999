"""Questions about a cell's graph: pure functions of an adjacency matrix."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

Adjacency = NDArray[np.int8]


def find_cycle(matrix: Adjacency) -> list[int]:
    """A cycle as a list of vertices whose first and last agree; empty if there is none."""
    finished: set[int] = set()
    for start in range(len(matrix)):
        path: list[int] = []
        pending: list[Iterator[int]] = [iter([start])]
        while pending:
            vertex = next(pending[-1], None)
            if vertex is None:
                pending.pop()
                if path:
                    finished.add(path.pop())
            elif vertex in path:
                return [*path[path.index(vertex) :], vertex]
            elif vertex not in finished:
                path.append(vertex)
                pending.append(iter(np.flatnonzero(matrix[vertex]).tolist()))
    return []


def closure(matrix: Adjacency, start: int) -> set[int]:
    """Every vertex that a path from ``start`` leads to, itself included."""
    rows = matrix.tolist()
    seen = {start}
    pending = [start]
    while pending:
        for vertex, edge in enumerate(rows[pending.pop()]):
            if edge and vertex not in seen:
                seen.add(vertex)
                pending.append(vertex)
    return seen


def on_a_path(matrix: Adjacency) -> set[int]:
    """Vertices on a path from the first vertex to the last."""
    return closure(matrix, 0) & closure(matrix.T, len(matrix) - 1)


def reaches_output(matrix: Adjacency) -> bool:
    """Whether a path leads from the first vertex to the last."""
    return len(matrix) - 1 in closure(matrix, 0)


def graph_hash(matrix: Adjacency, labels: Sequence[int]) -> str:
    """Iterated hash of degrees, labels and neighbours (NAS-Bench-101, ``hash_module``)."""
    out_degrees = matrix.sum(axis=1, dtype=int).tolist()
    in_degrees = matrix.sum(axis=0, dtype=int).tolist()
    sources = [np.flatnonzero(column).tolist() for column in matrix.T]
    targets = [np.flatnonzero(row).tolist() for row in matrix]
    hashes = [_md5(str(triple)) for triple in zip(out_degrees, in_degrees, labels, strict=True)]
    for _ in labels:
        hashes = [
            _md5(
                "".join(sorted(hashes[u] for u in sources[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in targets[v]))
                + "|"
                + hashes[v]
            )
            for v in range(len(labels))
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def canonical_order(matrix: Adjacency, labels: Sequence[int]) -> list[int]:
    """The topological order whose (edge bits, labels) are smallest, for a pruned cell.

    Positions are filled from the output backwards, since the edges into the output are the most significant bits. The
    most promising vertex goes first, and a beginning is given up when even its :func:`_lower_bound` is behind the best
    order known. Swapping twins (same neighbours) changes no bit, so of these only the one with the largest label is
    tried.
    """
    last = len(matrix) - 1
    rows: list[list[int]] = matrix.tolist()
    targets = [sum(edge << w for w, edge in enumerate(row)) for row in rows]
    twins = [(targets[v], matrix[:, v].tobytes()) for v in range(len(matrix))]
    by_label = sorted(range(last), key=lambda v: (labels[v], v))
    known: dict[tuple[int, int], tuple[int, ...]] = {}
    best: tuple[list[tuple[int, ...]], list[int], list[int]] | None = None

    def visit(bits: list[tuple[int, ...]], placed: list[int], rest: int) -> None:
        nonlocal best
        if not rest:
            order = placed[::-1]
            key = (bits, [labels[v] for v in order])
            if best is None or key < best[:2]:
                best = (*key, order)
            return
        free = {twins[v]: v for v in by_label if rest >> v & 1 and not targets[v] & rest}
        longer = [([*placed, v], rest & ~(1 << v)) for v in free.values()]
        bounds = [_lower_bound(rows, targets, *beginning, known) for beginning in longer]
        for bound, beginning in sorted(zip(bounds, longer, strict=True), key=itemgetter(0)):
            if best is None or bound <= best[0][: len(bound)]:
                visit(bound, *beginning)

    visit([], [last], (1 << last) - 1)
    assert best is not None
    return best[2]


def _lower_bound(
    rows: Sequence[Sequence[int]],
    targets: Sequence[int],
    placed: Sequence[int],
    rest: int,
    known: dict[tuple[int, int], tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """Edge bits into each placed vertex, the most significant first; ``rest`` comes in the best order for each column.

    Sets of vertices are bit masks. ``known`` keeps what was found for a set and a column.
    """

    def smallest(rest: int, column: int) -> tuple[int, ...]:
        if not rest:
            return ()
        if (rest, column) not in known:
            free = [v for v in range(rest.bit_length()) if rest >> v & 1 and not targets[v] & rest]
            # A zero that can come now loses nothing by coming now.
            zeros = [v for v in free if not rows[v][column]]
            following = (smallest(rest & ~(1 << v), column) for v in zeros[:1] or free)
            known[rest, column] = (0 if zeros else 1, *min(following))
        return known[rest, column]

    return [
        (*(rows[v][target] for v in placed[position:]), *smallest(rest, target))
        for position, target in enumerate(placed, start=1)
    ]
