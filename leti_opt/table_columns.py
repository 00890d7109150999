"""The columns of a table of cells: what they hold, and whether they can be right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import checked_labels
from leti_opt.edge_bits import pack_edges, unpack_edges, words_for
from leti_opt.errors import InvalidInputError

NO_OPERATION = 255
"""Stands in a row of operations where the cell has no vertex."""

MOST_VERTICES = 255
"""A table holds cells of up to so many vertices, input and output included."""


@dataclass(frozen=True)
class EqualSized:
    """The cells of a table that have the same number of vertices.

    Args:
        rows: where they are in the table, ascending.
        adjacency: 0 and 1, ``(cells, vertices, vertices)``.
        operations: positions in the table's labels of the vertices between input and output,
            ``(cells, vertices - 2)``.
    """

    rows: NDArray[np.int64]
    adjacency: NDArray[np.int8]
    operations: NDArray[np.uint8]

    @property
    def vertices(self) -> int:
        """Number of vertices, input and output included."""
        return int(self.adjacency.shape[1])


@dataclass(frozen=True)
class TableColumns:
    """The arrays of an :class:`~leti_opt.architecture_table.ArchitectureTable`; hashes where they are known."""

    vertices: NDArray[np.uint8]
    edge_words: NDArray[np.uint32]
    operations: NDArray[np.uint8]
    labels: tuple[str, ...]
    graph_digests: NDArray[np.uint8] | None


def equal_columns(one: NDArray[Any], other: NDArray[Any], filling: int) -> bool:
    """Whether both say the same, though one may have columns of mere filling."""
    shared = min(one.shape[1], other.shape[1])
    return (
        np.array_equal(one[:, :shared], other[:, :shared])
        and bool((one[:, shared:] == filling).all())
        and bool((other[:, shared:] == filling).all())
    )


def checked_table_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Refuse label lists that no cell has, or that are too long for a table.

    Raises:
        InvalidInputError: the message says why.
    """
    names = checked_labels(labels)
    if len(names) > NO_OPERATION:
        raise InvalidInputError(f"{len(names)} labels; a table holds up to {NO_OPERATION}")
    return names


def cells_by_vertices(
    vertices: NDArray[np.uint8], edge_words: NDArray[np.uint32], operations: NDArray[np.uint8]
) -> Iterator[EqualSized]:
    """Cells grouped by their number of vertices, ascending, with their adjacency unpacked."""
    for size in np.unique(vertices).tolist():
        rows = np.flatnonzero(vertices == size)
        yield EqualSized(rows, unpack_edges(edge_words[rows], size), operations[rows, : size - 2])


def check_columns(columns: TableColumns) -> None:
    """Refuse columns that do not fit together, or hold something else than pruned cells.

    Raises:
        InvalidInputError: the message names the column or the first row at fault.
    """
    _check_shapes(columns.vertices, columns.edge_words, columns.operations)
    _check_rows(columns)


def _check_shapes(vertices: NDArray[Any], edge_words: NDArray[Any], operations: NDArray[Any]) -> None:
    wanted = (("vertices", vertices, np.uint8, 1), ("edge_words", edge_words, np.uint32, 2))
    for name, column, dtype, dimensions in (*wanted, ("operations", operations, np.uint8, 2)):
        if not isinstance(column, np.ndarray) or column.dtype != dtype or column.ndim != dimensions:
            raise InvalidInputError(
                f"{name} must be an array of {np.dtype(dtype)} with {dimensions} dimension{'s'[: dimensions - 1]}"
            )
        if len(column) != len(vertices):
            raise InvalidInputError(f"{name} has {len(column)} rows, vertices has {len(vertices)}; give one a cell")
    width = operations.shape[1]
    if width > MOST_VERTICES - 2 or edge_words.shape[1] < words_for(width + 2):
        raise InvalidInputError(
            f"{width} operations and {edge_words.shape[1]} words a row; {width + 2} vertices need "
            f"{words_for(width + 2)} words, and a table holds up to {MOST_VERTICES} vertices"
        )


def _check_rows(table: TableColumns) -> None:
    largest = table.operations.shape[1] + 2
    wrong = (table.vertices < 2) | (table.vertices > largest)
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidInputError(f"row {row} has {table.vertices[row]} vertices; these columns hold 2 to {largest}")
    for group in cells_by_vertices(table.vertices, table.edge_words, table.operations):
        inner = group.vertices - 2
        unpruned = (group.adjacency[:, :-1].sum(axis=2) == 0) | (group.adjacency[:, :, 1:].sum(axis=1) == 0)
        beyond = pack_edges(group.adjacency) != table.edge_words[group.rows, : words_for(group.vertices)]
        further = table.edge_words[group.rows, words_for(group.vertices) :] != 0
        unknown = group.operations >= len(table.labels)
        filled = table.operations[group.rows, inner:] != NO_OPERATION
        for fault, found in {
            "a vertex that is on no path from input to output; take from_architectures, which prunes": unpruned,
            f"edges beyond its {group.vertices} vertices": np.hstack([beyond, further]),
            f"an operation that is no position in the {len(table.labels)} labels": unknown,
            f"an operation beyond its {group.vertices} vertices; fill with {NO_OPERATION}": filled,
        }.items():
            if found.any():
                row = int(group.rows[found.any(axis=1).argmax()])
                raise InvalidInputError(f"row {row} has {fault}")
