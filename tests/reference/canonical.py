"""The canonical form of a cell by brute force: try every order of the inner vertices, keep the smallest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from tests.reference.graph_hash import Matrix

Cell = tuple[list[list[int]], list[int]]


def edge_bits(matrix: Matrix) -> int:
    """The upper triangle as a number: edge x -> y is bit x + y (y - 1) / 2."""
    size = len(matrix)
    return sum(1 << (x + y * (y - 1) // 2) for y in range(size) for x in range(y) if matrix[x][y])


def canonical_cell(matrix: Matrix, labels: Sequence[int]) -> Cell:
    """The upper-triangular relabeling of a pruned cell that is smallest by (edge bits, labels)."""
    last = len(matrix) - 1
    found = []
    for inner in permutations(range(1, last)):
        order = [0, *inner, last]
        candidate = [[int(matrix[x][y]) for y in order] for x in order]
        if any(candidate[x][y] for x in range(last + 1) for y in range(x + 1)):
            continue
        found.append((edge_bits(candidate), [int(labels[v]) for v in order], candidate))
    _, best_labels, best_matrix = min(found)
    return best_matrix, best_labels
