"""Neighbourhoods in cells, hashed: what is too varied for a column of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.cell_columns import Numbers, Small
from leti_opt.predictor.cell_readings import Ways

Words = NDArray[np.uint64]
_KINDS = np.arange(256, dtype=np.uint64)


def add_hashed_neighbourhoods(values: Numbers, ways: Ways, kinds: Small) -> None:
    """Count how often each kind of vertex with its neighbours occurs, hashed to columns with a sign.

    One round of Weisfeiler and Lehman's relabelling: a vertex's kind, those of what feeds it and of what it feeds.

    Args:
        values: the counts are added to these, ``(cells, places)``; the places are a power of two.
        ways: :func:`~leti_opt.predictor.cell_readings.looked_through`.
        kinds: a number for each vertex, 0 for those without edges, ``(vertices, cells)``.
    """
    once = _mixed(_KINDS + np.uint64(1))
    twice = _mixed(once)
    rows = np.arange(len(values))
    for vertex in range(len(kinds)):
        here = kinds[vertex]
        fed, feeding = np.zeros((2, len(values)), dtype=np.uint64)
        for other in range(len(kinds)):
            if other < vertex:
                fed += ways[other, vertex] * once[kinds[other]]
            elif other > vertex:
                feeding += ways[vertex, other] * twice[kinds[other]]
        code = once[here] * np.uint64(3) + _mixed(fed) * np.uint64(5) + _mixed(feeding + np.uint64(1)) * np.uint64(7)
        code = _mixed(code)
        place = (code >> np.uint64(20)) & np.uint64(values.shape[1] - 1)
        sign = ((code >> np.uint64(45)) & np.uint64(1)).astype(np.float32) * 2 - 1
        values[rows, place] += sign * (here > 0)


def _mixed(numbers: Words) -> Words:
    """The finalizer of SplitMix64 (Steele et al., 2014), which spreads every bit over all."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: Words = mixed ^ (mixed >> np.uint64(31))
    return scrambled
