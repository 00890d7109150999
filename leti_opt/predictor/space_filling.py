"""Points that fill a space: each next one is the farthest from those before (Gonzalez, 1985).

So the largest distance of any point to the nearest chosen one is at most twice the smallest possible, and equal points
are not chosen before all different ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.residual_process import squared_distances

Points = NDArray[np.float32]
Floats = NDArray[np.float64]

_NEAR_AT_ONCE = 256


def standardized_points(features: NDArray[Any], names: tuple[str, ...]) -> Points:
    """Features as points: each column with mean 0 and deviation 1, and each group of columns counting the same.

    Args:
        features: ``(cells, features)``.
        names: theirs; what stands before a slash is the group. Without a slash all are one group.

    >>> standardized_points(np.array([[1.0, 7.0], [3.0, 7.0]]), ("flops", "constant")).tolist()
    [[-1.0], [1.0]]
    """
    wide = np.asarray(features, dtype=np.float64)
    deviation = wide.std(axis=0)
    varied = np.flatnonzero(deviation > 1e-9 * np.abs(wide).max(axis=0, initial=0))
    groups = [names[column].rpartition("/")[0] for column in varied]
    sizes = np.array([groups.count(group) for group in groups])
    standardized = (wide[:, varied] - wide[:, varied].mean(axis=0)) / deviation[varied]
    return np.asarray(standardized / np.sqrt(sizes), dtype=np.float32)


def farthest_first(
    points: Points, n: int, near: Points | None = None, weights: Floats | None = None, first: int = 0
) -> NDArray[np.int64]:
    """Rows of points, each the farthest from the chosen ones and from others that are there already.

    Args:
        points: to choose among.
        n: how many; no more than there are.
        near: points that are there already.
        weights: positive; distances count by so much more.
        first: the first row, where nothing is there already and there are no weights.

    Returns:
        Different rows, in the order in which they were chosen.

    >>> farthest_first(np.array([[0.0], [1.0], [9.0], [10.0]], dtype=np.float32), 3).tolist()
    [0, 3, 1]
    """
    norms = (points * points).sum(axis=1)
    gaps = _gaps(points, near)
    chosen = np.empty(n, dtype=np.int64)
    factors = np.ones(len(points)) if weights is None else weights
    for place in range(n):
        if np.isposinf(gaps).any():
            row = first if weights is None else int(factors.argmax())
        else:
            row = int(np.where(gaps < 0, -1.0, np.sqrt(np.maximum(gaps, 0)) * factors).argmax())
        chosen[place] = row
        squared = norms - 2 * (points @ points[row]) + norms[row]
        taken = gaps < 0
        gaps = np.minimum(gaps, np.maximum(squared, 0))
        gaps[taken] = gaps[row] = -1
    return chosen


def _gaps(points: Points, near: Points | None) -> Floats:
    """Squared distance of each point to the nearest that is there already; infinity where none is."""
    gaps = np.full(len(points), np.inf)
    for start in range(0, 0 if near is None else len(near), _NEAR_AT_ONCE):
        assert near is not None
        part = near[start : start + _NEAR_AT_ONCE]
        gaps = np.minimum(gaps, squared_distances(points, part).min(axis=1))
    return gaps
