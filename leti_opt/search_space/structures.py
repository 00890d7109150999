"""The edges of cells without their operations: every structure once, and its symmetries.

A structure is a number: edge ``x -> y`` is bit ``x + y (y - 1) / 2`` (see :mod:`leti_opt.edge_bits`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.uint64]
Permutation = tuple[int, ...]

MOST_MASK_VERTICES = 11
"""The edges of so many vertices fit into 64 bits."""

_CHUNK = 4096
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))


def canonical_masks(vertices: int, edge_limit: int) -> Masks:
    """Every pruned structure with so many vertices and at most so many edges, in canonical order, ascending.

    Swapping two neighbours in an order of the vertices leaves all edges leading upwards just if no edge joins them, and
    such swaps lead from any order to any other. So the canonical mask is the smallest of those that swaps connect.

    >>> [bin(mask) for mask in canonical_masks(4, 4)]
    ['0b100101', '0b100111', '0b101101', '0b110011', '0b110101']
    """
    masks = pruned_masks(vertices, edge_limit)
    swaps = [np.searchsorted(masks, _swapped(masks, vertex, vertices)) for vertex in range(1, vertices - 2)]
    return masks[smallest_connected(len(masks), swaps)]


def pruned_masks(vertices: int, edge_limit: int) -> Masks:
    """Every mask in which all vertices are on a path from input to output, ascending.

    Columns are filled from left to right. A beginning is dropped when the edges that it still owes, one out of each
    vertex that has none and one out of each vertex to come, exceed the limit.
    """
    masks = np.zeros(1, dtype=np.uint64)
    pending = np.ones(1, dtype=np.uint64)
    for column in range(1, vertices):
        first_bit = np.uint64(column * (column - 1) // 2)
        longer = []
        for number in range(1, 1 << column):
            sources = np.uint64(number)
            left = pending & ~sources
            if column == vertices - 1:
                owed, here = np.where(left, edge_limit + 1, 0), np.uint64(0)
            else:
                here = np.uint64(1 << column)
                owed = np.bitwise_count(left).astype(np.int64) + (vertices - 1 - column)
            filled = masks | sources << first_bit
            kept = np.bitwise_count(filled) + owed <= edge_limit
            longer.append((filled[kept], left[kept] | here))
        masks = np.concatenate([filled for filled, _ in longer])
        pending = np.concatenate([left for _, left in longer])
    return np.sort(masks)


def _swapped(masks: Masks, vertex: int, vertices: int) -> Masks:
    """The masks with a vertex and the next one exchanged; as they were where an edge joins the two."""

    def bit(source: int, target: int) -> np.uint64:
        return np.uint64(source + target * (target - 1) // 2)

    pairs = [(bit(source, vertex), bit(source, vertex + 1)) for source in range(vertex)]
    pairs += [(bit(vertex, target), bit(vertex + 1, target)) for target in range(vertex + 2, vertices)]
    one = np.uint64(1)
    swapped = masks.copy()
    for low, high in pairs:
        differs = (masks >> low ^ masks >> high) & one
        swapped ^= differs << low | differs << high
    joined = (masks >> bit(vertex, vertex + 1) & one).astype(bool)
    return np.where(joined, masks, swapped)


def smallest_connected(size: int, permutations: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Numbers below ``size`` that are the smallest of all that the permutations lead to, ascending.

    >>> smallest_connected(5, [np.array([0, 3, 2, 1, 4]), np.array([0, 1, 2, 4, 3])]).tolist()
    [0, 1, 2]
    """
    smallest = np.arange(size)
    settled = not permutations
    while not settled:
        before = smallest.copy()
        for permutation in permutations:
            np.minimum(smallest, smallest[permutation], out=smallest)
        smallest = smallest[smallest]
        settled = np.array_equal(smallest, before)
    return np.flatnonzero(smallest == np.arange(size))


def symmetries(adjacency: NDArray[np.int8]) -> list[tuple[Permutation, ...]]:
    """For each structure, permutations of its inner vertices that generate all its automorphisms.

    Args:
        adjacency: structures of one size, ``(structures, vertices, vertices)``.

    Returns:
        For each structure a tuple, empty where there is only the identity. A permutation says at position ``i`` which
        inner vertex (counted from 0) vertex ``i`` goes to.
    """
    parts = [_colours(adjacency[start : start + _CHUNK]) for start in range(0, len(adjacency), _CHUNK)]
    colours = np.concatenate(parts)[:, 1:-1]
    ascending = np.sort(colours, axis=1)
    perhaps = (ascending[:, 1:] == ascending[:, :-1]).any(axis=1)
    found: list[tuple[Permutation, ...]] = [()] * len(adjacency)
    for place in np.flatnonzero(perhaps).tolist():
        # Colours may agree by accident; what decides are the edges, those from the input and to the output included.
        ends = zip(colours[place].tolist(), adjacency[place, 0, 1:-1], adjacency[place, 1:-1, -1], strict=True)
        found[place] = _generators(adjacency[place, 1:-1, 1:-1].tolist(), list(ends))
    return found


def _colours(adjacency: NDArray[np.int8]) -> NDArray[np.uint64]:
    """A number for each vertex; those that an automorphism exchanges have the same."""
    edges = adjacency.astype(np.uint64)
    structures, vertices, _ = edges.shape
    colours = np.ones((structures, vertices), dtype=np.uint64)
    colours[:, 0], colours[:, -1] = 2, 3
    for _ in range(vertices):
        above = np.einsum("sxy,sx->sy", edges, colours * _MIX[0])
        below = np.einsum("sxy,sy->sx", edges, colours * _MIX[1])
        colours = colours * _MIX[2] + (above ^ above >> np.uint64(29)) + (below ^ below >> np.uint64(31))
    return colours


def _generators(adjacency: list[list[int]], colours: Sequence[object]) -> tuple[Permutation, ...]:
    """Automorphisms that keep all vertices before one and move that one, for each vertex and each place it can go to.

    Their products are all automorphisms.
    """
    size = len(colours)

    def completed(images: list[int]) -> Permutation | None:
        vertex = len(images)
        if vertex == size:
            return tuple(images)
        for image in range(size):
            if fits(images, vertex, image):
                found = completed([*images, image])
                if found:
                    return found
        return None

    def fits(images: list[int], vertex: int, image: int) -> bool:
        return (
            colours[vertex] == colours[image]
            and image not in images
            and all(
                adjacency[other][vertex] == adjacency[there][image]
                and adjacency[vertex][other] == adjacency[image][there]
                for other, there in enumerate(images)
            )
        )

    found = []
    for vertex in range(size):
        fixed = list(range(vertex))
        for image in range(vertex + 1, size):
            permutation = completed([*fixed, image]) if fits(fixed, vertex, image) else None
            if permutation:
                found.append(permutation)
    return tuple(found)
