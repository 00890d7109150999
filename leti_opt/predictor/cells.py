"""What a predictor is asked about: cells as rows of arrays, with the vertices that lead nowhere where there are any.

Most figures come from networks that were built from the pruned cell, and an
:class:`~leti_opt.architecture_table.ArchitectureTable` holds these. Published networks were often not pruned: a runtime
may or may not execute what leads nowhere. :class:`CellRows` keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.architecture import INPUT, OUTPUT, Architecture
from leti_opt.architecture_table import ArchitectureTable, EqualSized
from leti_opt.errors import InvalidInputError
from leti_opt.search_space.definition import SpaceDefinition
from leti_opt.table_columns import NO_OPERATION

Cells = Architecture | Iterable[Architecture] | ArchitectureTable
"""What predictors take; a :class:`CellRows` is iterable too."""


@dataclass(frozen=True, eq=False)
class CellRows:
    """Cells as they were handed in, unpruned ones too: equal in size, since smaller ones get vertices without edges.

    Args:
        adjacency: 0 and 1, ``(cells, vertices, vertices)``; the first vertex is the input, the last the output.
        operations: positions in ``labels`` of the vertices between, 255 where a cell has none;
            ``(cells, vertices - 2)``.
        labels: names of the operations.

    >>> from leti_opt.search_space.definition import NAS_BENCH_201
    >>> cells = CellRows.from_native([(3, 0, 2, 1, 0, 4)], NAS_BENCH_201)
    >>> len(cells), str(cells[0].pruned()).rsplit(":", 1)[0]
    (1, '0-1,0-3,1-2,2-4,3-5,4-5:nor_conv_3x3,nor_conv_1x1,skip_connect,avg_pool_3x3')
    """

    adjacency: NDArray[np.int8]
    operations: NDArray[np.uint8]
    labels: tuple[str, ...]

    @classmethod
    def from_architectures(cls, architectures: Architecture | Iterable[Architecture]) -> CellRows:
        """A row for each cell, as it is.

        Raises:
            InvalidInputError: there is none, something else is among them, or labels differ.
        """
        cells = [architectures] if isinstance(architectures, Architecture) else list(architectures)
        for cell in cells:
            if not isinstance(cell, Architecture):
                raise InvalidInputError(f"a predictor takes Architectures or an ArchitectureTable, not {cell!r}")
            if cell.labels != cells[0].labels:
                raise InvalidInputError(
                    f"{cell} has the labels {cell.labels}, the first cell {cells[0].labels}; predict each space by "
                    "itself"
                )
        if not cells:
            raise InvalidInputError("no cell was handed in; hand in one at least")
        labels = cells[0].labels
        width = max(map(len, cells))
        adjacency = np.zeros((len(cells), width, width), dtype=np.int8)
        operations = np.full((len(cells), width - 2), NO_OPERATION, dtype=np.uint8)
        for row, cell in enumerate(cells):
            places = [*range(len(cell) - 1), width - 1]
            adjacency[row][np.ix_(places, places)] = cell.adjacency
            operations[row, : len(cell) - 2] = [labels.index(name) for name in cell.operations[1:-1]]
        return cls(adjacency, operations, labels)

    @classmethod
    def from_native(cls, choices: ArrayLike, definition: SpaceDefinition) -> CellRows:
        """Cells given by one operation for each edge of the native cell, as NAS-Bench-201's are.

        Equal to ``definition.lower`` row by row, for all rows at once.

        Args:
            choices: positions in ``definition.operations``, ``(cells, edges)``; edges in the order of
                ``definition.edges``.
            definition: a space with operations on edges.

        Raises:
            InvalidInputError: another shape, a position that is no operation's, or a cell whose input does not reach
                its output.
        """
        native = np.asarray(choices)
        edges = definition.edges
        if definition.operation_on != "edge":
            raise InvalidInputError(f"{definition.name} has its operations on vertices; hand in Architectures")
        if native.ndim != 2 or native.shape[1] != len(edges) or native.dtype.kind not in "iu":
            raise InvalidInputError(
                f"choices of {definition.name} are whole numbers of shape (cells, {len(edges)}), not {native.dtype} "
                f"of shape {native.shape}"
            )
        if native.size and not 0 <= native.min() <= native.max() < len(definition.operations):
            raise InvalidInputError(f"choices are positions 0 to {len(definition.operations) - 1}, not {native.max()}")
        names = [definition.labels.index(name) for name in definition.operations]
        present = native != (definition.operations.index(definition.absent) if definition.absent else -1)
        drawn = np.ascontiguousarray(lowered_edges(present.T, edges).transpose(2, 0, 1)).view(np.int8)
        cells = cls(drawn, np.array(names, dtype=np.uint8)[native], definition.labels)
        cut_off = ~cells.live[:, 0]
        if cut_off.any():
            raise InvalidInputError(f"row {cut_off.argmax()} is disconnected: its input does not reach its output")
        return cells

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.adjacency)

    def __getitem__(self, row: int) -> Architecture:
        """A cell by its row, without the vertices that only fill up."""
        row = range(len(self))[row]
        own = self.operations[row] != NO_OPERATION
        places = [0, *(np.flatnonzero(own) + 1), self.adjacency.shape[1] - 1]
        names = [self.labels[place] for place in self.operations[row][own]]
        return Architecture(self.adjacency[row][np.ix_(places, places)], [INPUT, *names, OUTPUT], self.labels)

    def __iter__(self) -> Iterator[Architecture]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: ArrayLike) -> CellRows:
        """Some of the cells, by positions or a mask."""
        chosen = np.asarray(rows)
        taken = CellRows(self.adjacency[chosen], self.operations[chosen], self.labels)
        if "_canonical" in vars(self):
            vars(taken)["_canonical"] = self._canonical[chosen]
        return taken

    @cached_property
    def reached(self) -> NDArray[np.bool_]:
        """Vertices that the input reaches."""
        return _reached(self.adjacency > 0)

    @cached_property
    def leading(self) -> NDArray[np.bool_]:
        """Vertices that lead to the output."""
        reverse = self.adjacency.transpose(0, 2, 1)[:, ::-1, ::-1] > 0
        return _reached(reverse)[:, ::-1]

    @cached_property
    def live(self) -> NDArray[np.bool_]:
        """Vertices on a path from input to output: what pruning leaves."""
        return self.reached & self.leading

    @cached_property
    def pruned_adjacency(self) -> NDArray[np.int8]:
        """The edges between live vertices; the others' rows and columns are empty."""
        pruned: NDArray[np.int8] = self.adjacency * (self.live[:, :, np.newaxis] & self.live[:, np.newaxis])
        return pruned

    def table(self) -> ArchitectureTable:
        """The pruned cells in canonical order; found once, also for what :meth:`take` takes afterwards."""
        return self._canonical

    @cached_property
    def _canonical(self) -> ArchitectureTable:
        """Each different pruned cell is put in order once."""
        kept = np.where(self.live[:, 1:-1], self.operations, NO_OPERATION)
        keys = np.hstack([self.pruned_adjacency.reshape(len(self), -1).view(np.uint8), kept])
        _, first, member = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        return ArchitectureTable.from_architectures([self[int(row)] for row in first], self.labels)[member.reshape(-1)]


def rows_of(architectures: Cells) -> CellRows | ArchitectureTable:
    """What was handed to a predictor, as arrays.

    Raises:
        InvalidInputError: it is nothing of the kind, or empty.
    """
    if isinstance(architectures, ArchitectureTable | CellRows):
        if not len(architectures):
            raise InvalidInputError("no cell was handed in; hand in one at least")
        return architectures
    if not isinstance(architectures, Architecture | Iterable):
        raise InvalidInputError(f"a predictor takes Architectures or an ArchitectureTable, not {architectures!r}")
    return CellRows.from_architectures(architectures)


def table_of(architectures: Cells) -> ArchitectureTable:
    """The pruned cells, in canonical order."""
    rows = rows_of(architectures)
    return rows if isinstance(rows, ArchitectureTable) else rows.table()


def some_rows(rows: CellRows | ArchitectureTable, places: ArrayLike) -> CellRows | ArchitectureTable:
    """Some of the cells, by positions."""
    return rows.take(places)


def parts_of(rows: CellRows | ArchitectureTable, length: int) -> Iterator[tuple[NDArray[np.int64], CellRows]]:
    """Some cells at a time, equal in size, with their places among all."""
    for start in range(0, len(rows), length):
        stop = min(start + length, len(rows))
        if isinstance(rows, CellRows):
            places = np.arange(start, stop)
            yield places, rows.take(places)
        else:
            for group in rows[start:stop].by_vertices():
                yield group.rows + start, _unpacked(group, rows.labels)


def _unpacked(group: EqualSized, labels: Sequence[str]) -> CellRows:
    return CellRows(group.adjacency, group.operations, tuple(labels))


def lowered_edges(present: NDArray[np.bool_], edges: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """As ``SpaceDefinition.lower`` draws the edges between vertices that stand for edges.

    Args:
        present: whether each native edge is there, ``(edges, cells)``.
        edges: source and target of each.

    Returns:
        0 and 1, ``(vertices, vertices, cells)``.
    """
    output, last = len(edges) + 1, edges[-1][1]
    drawn = np.zeros((output + 1, output + 1, present.shape[1]), dtype=np.uint8)
    for vertex, (source, target) in enumerate(edges, start=1):
        here = present[vertex - 1]
        if source == 0:
            drawn[0, vertex] = here
        if target == last:
            drawn[vertex, output] = here
        for follower, (start, _) in enumerate(edges, start=1):
            if start == target:
                drawn[vertex, follower] = here & present[follower - 1]
    return drawn


def _reached(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = np.zeros(edges.shape[:2], dtype=np.bool_)
    found[:, 0] = True
    for vertex in range(1, edges.shape[1]):
        found[:, vertex] = (found[:, :vertex] & edges[:, :vertex, vertex]).any(axis=1)
    return found
