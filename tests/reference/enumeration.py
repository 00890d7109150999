"""The plain generator of unique cells: every edge pattern, every labeling, first met is kept."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import product
from typing import Protocol

from tests.reference.canonical import Cell
from tests.reference.graph_hash import INPUT_LABEL, OUTPUT_LABEL


class Identity(Protocol):
    """Tells cells apart: equal results mean the same cell."""

    def __call__(self, matrix: list[list[int]], labels: list[int]) -> Hashable: ...


def labelled_cells(max_vertices: int, max_edges: int, operations: int) -> Iterator[Cell]:
    """Every cell in which all vertices lie on a path, by vertices, then edge bits, then labels."""
    for size in range(2, max_vertices + 1):
        for bits in range(2 ** (size * (size - 1) // 2)):
            if bits.bit_count() > max_edges:
                continue
            matrix = [[(bits >> (x + y * (y - 1) // 2)) & 1 if x < y else 0 for y in range(size)] for x in range(size)]
            if not all_used(matrix):
                continue
            for labels in product(range(operations), repeat=size - 2):
                yield matrix, [INPUT_LABEL, *labels, OUTPUT_LABEL]


def all_used(matrix: list[list[int]]) -> bool:
    """Whether every vertex but the output has a target, and every one but the input a source."""
    columns = list(zip(*matrix, strict=True))
    return all(any(row) for row in matrix[:-1]) and all(any(column) for column in columns[1:])


def unique_cells(max_vertices: int, max_edges: int, operations: int, identity: Identity) -> dict[Hashable, Cell]:
    """The cells that the generator keeps, by their identity, in the order in which it meets them."""
    kept: dict[Hashable, Cell] = {}
    for matrix, labels in labelled_cells(max_vertices, max_edges, operations):
        kept.setdefault(identity(matrix, labels), (matrix, labels))
    return kept
