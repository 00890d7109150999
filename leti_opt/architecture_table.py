"""Many cells as arrays: what a whole search space is held in, and asked questions of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.architecture import INPUT, NAS_BENCH_101_LABELS, OUTPUT, Architecture
from leti_opt.bulk_hash import bulk_graph_digests
from leti_opt.edge_bits import pack_edges, words_for
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.table_columns import (
    MOST_VERTICES,
    NO_OPERATION,
    TableColumns,
    cells_by_vertices,
    check_columns,
    checked_table_labels,
    equal_columns,
)
from leti_opt.table_columns import EqualSized as EqualSized
from leti_opt.table_files import read_table, write_table

_CHUNK = 8192


@dataclass(frozen=True, eq=False, repr=False)
class ArchitectureTable:
    """Cells in rows of compact arrays; every one is pruned and in canonical order.

    A cell of NAS-Bench-101 takes 10 bytes (1 for the number of vertices, 4 for its edges, 5 for its operations) and
    another 16 once its hash is known.

    The constructor checks that each row is a pruned cell, and takes canonical order for granted;
    :meth:`from_architectures` sees to it.

    Args:
        vertices: number of vertices of each cell, input and output included; uint8.
        edge_words: bits of the edges, see :mod:`leti_opt.edge_bits`; uint32, ``(cells, words)``.
        operations: positions in ``labels`` of the vertices between input and output, 255 beyond a cell's own; uint8,
            ``(cells, width)``.
        labels: names of the operations.

    Raises:
        InvalidInputError: the arrays' shapes or types do not fit, or a row is no pruned cell.

    >>> cells = ["0-1,1-2:maxpool3x3", "0-1:", "0-1,0-2,1-2:conv1x1-bn-relu"]
    >>> table = ArchitectureTable.from_architectures(map(Architecture.parse, cells))
    >>> len(table), str(table[-1]), table.edge_counts.tolist()
    (3, '0-1,0-2,1-2:conv1x1-bn-relu', [2, 1, 3])
    >>> [str(cell) for cell in table[table.vertices == 3]]
    ['0-1,1-2:maxpool3x3', '0-1,0-2,1-2:conv1x1-bn-relu']
    >>> table.find(table[1].graph_hash)
    1
    """

    vertices: NDArray[np.uint8]
    edge_words: NDArray[np.uint32]
    operations: NDArray[np.uint8]
    labels: tuple[str, ...] = NAS_BENCH_101_LABELS
    _digest_source: Callable[[ArchitectureTable], NDArray[np.uint8]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", checked_table_labels(self.labels))
        check_columns(self._columns)
        for column in (self.vertices, self.edge_words, self.operations):
            column.setflags(write=False)

    @classmethod
    def from_architectures(
        cls, architectures: Iterable[Architecture], labels: Sequence[str] | None = None
    ) -> ArchitectureTable:
        """A row for each cell, pruned and in canonical order; equal cells stay apart.

        Args:
            architectures: cells with the same labels.
            labels: these labels; by default those of the first cell.

        Raises:
            InvalidInputError: a cell has other labels, or more vertices than a table holds.
        """
        cells = [cell.canonical() for cell in architectures]
        if labels is None:
            labels = cells[0].labels if cells else NAS_BENCH_101_LABELS
        names = checked_table_labels(labels)
        for cell in cells:
            if cell.labels != names:
                raise InvalidInputError(f"{cell} has the labels {cell.labels}, the table {names}; make a table of each")
        sizes = np.array([len(cell) for cell in cells], dtype=np.int64)
        largest = int(sizes.max(initial=2))
        if largest > MOST_VERTICES:
            raise InvalidInputError(f"a cell has {largest} vertices; a table holds up to {MOST_VERTICES}")
        edge_words = np.zeros((len(cells), words_for(largest)), dtype=np.uint32)
        operations = np.full((len(cells), largest - 2), NO_OPERATION, dtype=np.uint8)
        for size in np.unique(sizes).tolist():
            rows = np.flatnonzero(sizes == size)
            edge_words[rows, : words_for(size)] = pack_edges(np.stack([cells[row].adjacency for row in rows]))
            for row in rows:
                operations[row, : size - 2] = [names.index(name) for name in cells[row].operations[1:-1]]
        return cls.trusted(sizes.astype(np.uint8), edge_words, operations, names)

    @classmethod
    def trusted(
        cls,
        vertices: NDArray[np.uint8],
        edge_words: NDArray[np.uint32],
        operations: NDArray[np.uint8],
        labels: tuple[str, ...],
        digests: NDArray[np.uint8] | None = None,
        digest_source: Callable[[ArchitectureTable], NDArray[np.uint8]] | None = None,
    ) -> ArchitectureTable:
        """For this package: a table of rows that are known to be right, without the constructor's checks.

        Args:
            vertices: as in the constructor, and so the next three.
            edge_words: see there.
            operations: see there.
            labels: see there.
            digests: what :attr:`graph_digests` will be.
            digest_source: where that comes from otherwise, when asked for.
        """
        table = object.__new__(cls)
        columns: dict[str, NDArray[Any]] = {"vertices": vertices, "edge_words": edge_words, "operations": operations}
        if digests is not None:
            columns["graph_digests"] = digests
        for column in columns.values():
            column.setflags(write=False)
        vars(table).update(columns, labels=labels, _digest_source=digest_source)
        return table

    def with_digests(self, digests: NDArray[np.uint8]) -> ArchitectureTable:
        """For this package: the same cells with known :attr:`graph_digests`."""
        return self.trusted(self.vertices, self.edge_words, self.operations, self.labels, digests)

    def with_digest_source(self, source: Callable[[ArchitectureTable], NDArray[np.uint8]]) -> ArchitectureTable:
        """For this package: the same cells; the source is asked for :attr:`graph_digests` when they are needed."""
        return self.trusted(self.vertices, self.edge_words, self.operations, self.labels, digest_source=source)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through `trusted`: a pickled array comes back writable.
        known = vars(self).get("graph_digests")
        columns = (self.vertices, self.edge_words, self.operations, self.labels, known, self._digest_source)
        return type(self).trusted, columns

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.vertices)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Architecture: ...

    @overload
    def __getitem__(self, index: slice | ArrayLike) -> ArchitectureTable: ...

    def __getitem__(self, index: Any) -> Architecture | ArchitectureTable:
        """A cell by its row; a table by a slice, a mask, or an array of rows.

        Raises:
            IndexError: there is no such row, or the mask has another length than the table.
        """
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            row = range(len(self))[int(index)]
            return next(iter(self[row : row + 1]))
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.ndim != 1 or (index.size and index.dtype.kind not in "biu"):
                raise InvalidInputError(
                    f"a table is indexed by a row, a slice, a mask or a list of rows, not by {index.dtype} values "
                    f"of shape {index.shape}"
                )
            index = index if index.size else index.astype(bool if len(self) == 0 else np.int64)
        known = vars(self).get("graph_digests")
        return self.trusted(
            self.vertices[index],
            self.edge_words[index],
            self.operations[index],
            self.labels,
            None if known is None else known[index],
        )

    def take(self, rows: ArrayLike) -> ArchitectureTable:
        """Some of the cells, by positions or a mask."""
        return self[np.asarray(rows)]

    def __iter__(self) -> Iterator[Architecture]:
        """The cells, row by row. Those that come with a known hash do not compute it again."""
        for start in range(0, len(self), _CHUNK):
            yield from _architectures(self[start : start + _CHUNK])

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same cells with the same labels in the same order."""
        if not isinstance(other, ArchitectureTable):
            return NotImplemented
        return (
            self.labels == other.labels
            and np.array_equal(self.vertices, other.vertices)
            and equal_columns(self.edge_words, other.edge_words, 0)
            and equal_columns(self.operations, other.operations, NO_OPERATION)
        )

    def __repr__(self) -> str:
        return f"<ArchitectureTable: {len(self):,} cells, {self.nbytes:,} bytes>"

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes, known hashes included."""
        digests = vars(self).get("graph_digests")
        columns = (self.vertices, self.edge_words, self.operations)
        return sum(column.nbytes for column in columns) + (0 if digests is None else digests.nbytes)

    @property
    def edge_counts(self) -> NDArray[np.int64]:
        """Number of edges of each cell."""
        counts: NDArray[np.int64] = np.bitwise_count(self.edge_words).sum(axis=1, dtype=np.int64)
        return counts

    def by_vertices(self) -> Iterator[EqualSized]:
        """The cells grouped by their number of vertices, ascending, with their adjacency unpacked."""
        return cells_by_vertices(self.vertices, self.edge_words, self.operations)

    @cached_property
    def graph_digests(self) -> NDArray[np.uint8]:
        """The 16 bytes of each cell's :attr:`graph_hashes`, ``(cells, 16)``; computed once, on all cores."""
        digests = self._digest_source(self) if self._digest_source else self.hashed()
        digests.setflags(write=False)
        return digests

    def hashed(self, workers: int | None = None) -> NDArray[np.uint8]:
        """Compute :attr:`graph_digests` anew.

        Args:
            workers: how many cores; None for all that this process may use. The result is the same.
        """
        digests = np.empty((len(self), 16), dtype=np.uint8)
        for group in self.by_vertices():
            digests[group.rows] = bulk_graph_digests(group.adjacency, group.operations, workers)
        return digests

    @cached_property
    def graph_hashes(self) -> NDArray[np.str_]:
        """:attr:`Architecture.graph_hash` of each cell, 32 hexadecimal digits; computed once, on all cores."""
        digits = np.array([f"{byte:02x}" for byte in range(256)])
        hashes: NDArray[np.str_] = digits[self.graph_digests].view("<U32").reshape(-1)
        hashes.setflags(write=False)
        return hashes

    def find(self, graph_hash: str) -> int:
        """Row of the cell with this hash, the first if there are several.

        Raises:
            InvalidInputError: the text is no hash.
            NotFoundError: no cell has it.
        """
        if not isinstance(graph_hash, str) or not re.fullmatch(r"[0-9a-f]{32}", graph_hash):
            raise InvalidInputError(f"{graph_hash!r} is not a graph hash; it has 32 digits 0-9 and a-f")
        order, halves = self._by_hash
        high, low = (np.uint64(int(text, 16)) for text in (graph_hash[:16], graph_hash[16:]))
        start, end = (int(np.searchsorted(halves[:, 0], high, side)) for side in ("left", "right"))
        matches = start + np.flatnonzero(halves[start:end, 1] == low)
        if not matches.size:
            raise NotFoundError(
                f"no cell of this table has the graph hash {graph_hash}; "
                "a hash belongs to a cell of a space, so check that the table is of that space"
            )
        return int(order[matches].min())

    @cached_property
    def _by_hash(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Rows in the order of their hashes, and these hashes as two numbers each."""
        halves = np.ascontiguousarray(self.graph_digests).view(">u8").astype(np.uint64)
        order = np.argsort(halves[:, 0], kind="stable")
        return order, halves[order]

    def save(self, path: str | Path) -> None:
        """Write the table to a file: ``.npz`` for speed, ``.parquet`` for other tools.

        A Parquet file has the columns ``graph_hash``, ``vertices``, ``edges`` and ``operations``; the last two, joined
        by a colon, are the cell's text form, for instance ``0-1,1-2`` and ``maxpool3x3``. It needs the hashes, which
        are computed if they are not known. Whatever happens, the file is either whole or as it was.

        Raises:
            InvalidInputError: the path ends in something else.
            TableFileError: it cannot be written.
        """
        write_table(Path(path), self._columns, lambda: self.graph_digests)

    @classmethod
    def load(cls, path: str | Path) -> ArchitectureTable:
        """Read what :meth:`save` wrote; known hashes come with it.

        Raises:
            InvalidInputError: the path ends in something else.
            TableFileError: there is no such file, it is not a table's, it is damaged, or of a newer version.
        """
        columns = read_table(Path(path))
        return cls.trusted(
            columns.vertices, columns.edge_words, columns.operations, columns.labels, columns.graph_digests
        )

    @property
    def _columns(self) -> TableColumns:
        known = vars(self).get("graph_digests")
        return TableColumns(self.vertices, self.edge_words, self.operations, self.labels, known)


def _architectures(table: ArchitectureTable) -> Iterator[Architecture]:
    """The cells of a small table, each with all that is known of it."""
    cells: list[Architecture] = [None] * len(table)  # type: ignore[list-item]
    hashes = table.graph_hashes.tolist() if "graph_digests" in vars(table) else [None] * len(table)
    for group in table.by_vertices():
        for row, adjacency, positions in zip(
            group.rows.tolist(), group.adjacency, group.operations.tolist(), strict=True
        ):
            names = (INPUT, *(table.labels[position] for position in positions), OUTPUT)
            cells[row] = Architecture.known_canonical(adjacency.copy(), names, table.labels, hashes[row])
    yield from cells
