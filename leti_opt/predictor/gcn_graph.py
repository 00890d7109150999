"""A cell as a graph for convolutions, in the manner of BRP-NAS (Dudziak et al., 2020).

A vertex passes what it knows to those that feed it, and every vertex knows itself. Another vertex, the global one,
hears all others; it stands for the cell. Places that a small cell leaves empty are vertices without a kind. What passes
its input on unchanged is no vertex: what feeds it feeds its followers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.cells import Cells, table_of

EMPTY = -1
"""Kind of a place without a vertex."""

Features = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CellGraphs:
    """Graphs of equal size, the global vertex first.

    Args:
        adjacency: whether a vertex (row) hears another (column), ``(cells, places, places)``.
        kinds: of each vertex, :data:`EMPTY` for none; ``(cells, places)``.
        kind_count: how many kinds there are; the last is the global vertex's.
    """

    adjacency: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    kind_count: int

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.kinds)


def graph_features(architectures: Cells, vertices: int, passing: Collection[str]) -> tuple[Features, tuple[str, ...]]:
    """Edges and kinds of vertices of each pruned cell, as zeros and ones, ``(cells, features)``, and their names.

    Args:
        architectures: the cells.
        vertices: how many there is room for.
        passing: labels of operations that pass their input on and become edges.

    Raises:
        InvalidInputError: a cell has more vertices.

    >>> from leti_opt.architecture import Architecture
    >>> values, names = graph_features(Architecture.parse("0-1,1-2:maxpool3x3"), 3, ())
    >>> [name for name, value in zip(names, values[0]) if value]
    ['edge_0_1', 'edge_1_2', 'vertex_0/input', 'vertex_1/maxpool3x3', 'vertex_2/output']
    """
    table = table_of(architectures)
    largest = int(table.vertices.max(initial=2))
    if largest > vertices:
        raise InvalidInputError(f"a cell has {largest} vertices, and the graph room for {vertices}; raise vertices")
    kinds = ("input", *table.labels, "output")
    edges = np.zeros((len(table), vertices, vertices), dtype=np.uint8)
    of_kind = np.zeros((len(table), vertices, len(kinds)), dtype=np.uint8)
    dropped = [place for place, label in enumerate(table.labels) if label in passing]
    for group in table.by_vertices():
        size = group.vertices
        own, gone = group.adjacency > 0, np.isin(group.operations, dropped)
        for vertex in range(1, size - 1):
            _pass_on(own, vertex, gone[:, vertex - 1])
        edges[group.rows, :size, :size] = own
        of_kind[group.rows, 0, 0] = of_kind[group.rows, size - 1, -1] = 1
        rows, places = np.nonzero(~gone)
        of_kind[group.rows[rows], places + 1, group.operations[rows, places].astype(np.int64) + 1] = 1
    upper = np.triu_indices(vertices, 1)
    names = [f"edge_{source}_{target}" for source, target in zip(*upper, strict=True)]
    names += [f"vertex_{vertex}/{kind}" for vertex in range(vertices) for kind in kinds]
    return np.hstack([edges[:, upper[0], upper[1]], of_kind.reshape(len(table), -1)]), tuple(names)


def _pass_on(edges: NDArray[np.bool_], vertex: int, gone: NDArray[np.bool_]) -> None:
    """Join what feeds a vertex to what it feeds, and leave it out, in some of the cells."""
    edges |= (edges[:, :, vertex, np.newaxis] & edges[:, np.newaxis, vertex]) & gone[:, np.newaxis, np.newaxis]
    edges[gone, vertex] = False
    edges[gone, :, vertex] = False


def graphs_of(features: Features, vertices: int) -> CellGraphs:
    """The graphs that such features stand for.

    Args:
        features: of :func:`graph_features`.
        vertices: how many they have room for.
    """
    upper = np.triu_indices(vertices, 1)
    edges, of_kind = np.hsplit(features, [len(upper[0])])
    of_kind = of_kind.reshape(len(features), vertices, -1)
    adjacency = np.zeros((len(features), vertices + 1, vertices + 1), dtype=np.bool_)
    adjacency[:, upper[0] + 1, upper[1] + 1] = edges
    adjacency[:, 0] = True
    adjacency[:, np.arange(1, vertices + 1), np.arange(1, vertices + 1)] = True
    global_kind = of_kind.shape[2]
    kinds = np.full((len(features), vertices + 1), global_kind, dtype=np.int64)
    kinds[:, 1:] = np.where(of_kind.any(axis=2), of_kind.argmax(axis=2), EMPTY)
    return CellGraphs(adjacency, kinds, global_kind + 1)
