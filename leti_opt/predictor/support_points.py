"""A smooth function that was learned at many points, said with fewer: what makes predicting quick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COUNTS = (300, 600)
"""How many points are tried."""
_RIDGE = 1e-6
_NOTHING_LEFT = 1e-10


def support(covariance: Floats, dual: Floats, tolerance: float) -> tuple[NDArray[np.int64], Floats]:
    """Some of the points, and weights of the covariances with these that give almost the same function.

    The points are those of a pivoted Cholesky factorization: each next one is what those before tell least about.
    Where too few do not do, all are kept.

    Args:
        covariance: among all points; 1 at no distance.
        dual: weights of the covariances with all points.
        tolerance: how far the function may be off at the points, as a root mean square.

    >>> points = np.linspace(0, 1, 400)
    >>> covariance = np.exp(-np.abs(points[:, np.newaxis] - points))
    >>> rows, weights = support(covariance, np.full(400, 0.01), 1e-3)
    >>> len(rows), bool(np.abs(covariance[:, rows] @ weights - covariance @ np.full(400, 0.01)).max() < 1e-2)
    (300, True)
    """
    values = covariance @ dual
    pivots = _pivots(covariance, min(COUNTS[-1], len(covariance)))
    for count in COUNTS:
        rows = pivots[:count]
        some = covariance[:, rows]
        weights = np.linalg.solve(some.T @ some + _RIDGE * some[rows], some.T @ values)
        if float(np.sqrt(np.mean((some @ weights - values) ** 2))) <= tolerance:
            return rows, np.asarray(weights, dtype=np.float64)
    return np.arange(len(dual)), dual


def _pivots(covariance: Floats, count: int) -> NDArray[np.int64]:
    left = np.diag(covariance).copy()
    factor = np.zeros((count, len(covariance)))
    rows: list[int] = []
    for step in range(count):
        row = int(left.argmax())
        if left[row] <= _NOTHING_LEFT and rows:
            break
        column = covariance[row] - factor[:step, row] @ factor[:step]
        factor[step] = column / np.sqrt(left[row])
        left -= factor[step] ** 2
        left[row] = 0
        rows.append(row)
    return np.array(rows, dtype=np.int64)
