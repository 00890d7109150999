"""What a fitted :class:`~leti_opt.predictor.kernel_regressor.KernelRegressor` predicts, worked out once for speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_PART = 256
"""So many rows at a time: their covariances with the points stay in a core's own cache."""


@dataclass(frozen=True)
class MeanFunction:
    """Sums of all features and a smooth function of some.

    Args:
        sums: weights of the features in the first sum, which sets the scale, and in what the process adds to it; then
            a row of constants; ``(features + 1, 2)``.
        columns: features by which the smooth part tells rows apart.
        places: mean of these columns, and what they are multiplied with; ``(2, columns)``.
        points: where the smooth part has its weights, in the same units; ``(points, columns)``.
        weights: of the covariances with these points.
        lowest: the first sum is no smaller; minus infinity where targets may be negative.
        least: no prediction is smaller; likewise.
        unit: what targets were divided by.
    """

    sums: Floats
    columns: NDArray[np.int64]
    places: Floats
    points: Singles
    weights: Singles
    lowest: float
    least: float
    unit: float

    def __call__(self, features: Singles) -> Floats:
        """Predict a target for each row."""
        means = np.empty(len(features))
        mean, factor = (self.places * [[1.0], [np.sqrt(3.0)]]).astype(np.float32)
        points = self.points * np.float32(np.sqrt(3.0))
        lengths = (points * points).sum(axis=1)
        towards = np.ascontiguousarray(-2 * points.T)
        bounded = np.isfinite(self.lowest)
        for start in range(0, len(features), _PART):
            part = features[start : start + _PART]
            sums = part.astype(np.float64) @ self.sums[:-1] + self.sums[-1]
            center = np.maximum(sums[:, 0], self.lowest)
            placed = (part.take(self.columns, axis=1) - mean) * factor
            smooth = _matern(placed, towards, lengths) @ self.weights
            means[start : start + _PART] = center + (center if bounded else 1.0) * smooth + sums[:, 1]
        return np.maximum(means, self.least, out=means) * self.unit


def _matern(placed: Singles, towards: Singles, lengths: Singles) -> Singles:
    """Matern 3/2 between rows and points, without a needless pass over them; distances are times the root of 3."""
    roots: Singles = placed @ towards
    roots += (placed * placed).sum(axis=1)[:, np.newaxis]
    roots += lengths
    np.maximum(roots, 0, out=roots)
    np.sqrt(roots, out=roots)
    decay: Singles = np.negative(roots)
    np.exp(decay, out=decay)
    roots += 1
    decay *= roots
    return decay
