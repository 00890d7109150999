"""The edges of many cells as bits: edge ``x -> y`` is bit ``x + y (y - 1) / 2`` of a number.

The number is kept in words of 32 bits, the least significant word first. Numbers compare as canonical order does: the
edges into the output are the most significant bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 32


def words_for(vertices: int) -> int:
    """How many words the edges of a cell need, one at least.

    >>> words_for(7), words_for(8), words_for(9)
    (1, 1, 2)
    """
    return max(1, -(-(vertices * (vertices - 1) // 2) // WORD_BITS))


def edge_places(vertices: int) -> Iterator[tuple[int, int, int, int]]:
    """Source, target, word and bit within the word of every possible edge, the least significant first."""
    for target in range(1, vertices):
        for source in range(target):
            yield (source, target, *divmod(source + target * (target - 1) // 2, WORD_BITS))


def pack_edges(adjacency: NDArray[np.int8]) -> NDArray[np.uint32]:
    """Words of strictly upper triangular matrices of 0 and 1, ``(cells, vertices, vertices)``.

    >>> pack_edges(np.array([[[0, 1, 1], [0, 0, 1], [0, 0, 0]]], dtype=np.int8)).tolist()
    [[7]]
    """
    cells, vertices, _ = adjacency.shape
    words = np.zeros((cells, words_for(vertices)), dtype=np.uint32)
    for source, target, word, bit in edge_places(vertices):
        words[:, word] |= adjacency[:, source, target].astype(np.uint32) << np.uint32(bit)
    return words


def unpack_edges(words: NDArray[np.uint32], vertices: int) -> NDArray[np.int8]:
    """What :func:`pack_edges` packed; bits beyond the cell's own are left out."""
    adjacency = np.zeros((len(words), vertices, vertices), dtype=np.int8)
    for source, target, word, bit in edge_places(vertices):
        adjacency[:, source, target] = (words[:, word] >> np.uint32(bit)) & np.uint32(1)
    return adjacency
