"""A sum of known times, with constants for what the sum misses: the numeric part of a lookup table's predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data

from leti_opt.predictor.lut_residual import fitted_constants
from leti_opt.predictor.narrow_regressor import Floats, NarrowRegressor

_COUNTED = 2


class SumRegressor(NarrowRegressor):
    """The first columns times what each takes, and the last two times a constant each.

    Args:
        times_ms: of each of the first columns.
        constants_ms: of the last two columns; learned if None, by least squares of the relative errors.

    >>> regressor = SumRegressor((2.0,)).fit([[1, 3, 3], [4, 5, 7], [2, 1, 5]], [2.6, 9.2, 4.6])
    >>> regressor.predict([[10, 2, 0]]).round(3).tolist()
    [20.2]
    """

    def __init__(self, times_ms: Sequence[float] = (), constants_ms: Sequence[float] | None = None) -> None:
        self.times_ms = times_ms
        self.constants_ms = constants_ms

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find the constants."""
        features, targets, weights = self._checked_fit_data(X, y, sample_weight)
        if self.constants_ms is not None:
            self.constants_ = np.array(self.constants_ms, dtype=np.float64)
        else:
            missed = targets - self._summed(features)
            self.constants_ = fitted_constants(self._counted(features), missed, targets, weights)
        return self

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """The sums with their constants."""
        check_is_fitted(self, "constants_")
        features = validate_data(self, X, reset=False, dtype=np.float64)
        return self._summed(features) + self._counted(features) @ self.constants_

    def _summed(self, features: Floats) -> Floats:
        times = np.array(self.times_ms, dtype=np.float64)
        summed: Floats = features[:, : len(times)] @ times
        return summed

    def _counted(self, features: Floats) -> Floats:
        return features[:, max(len(self.times_ms), features.shape[1] - _COUNTED) :]
