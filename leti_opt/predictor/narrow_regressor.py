"""What regressors share that look at one or two columns, whatever else there is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, validate_data

Floats = NDArray[np.float64]


class NarrowRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor of scikit-learn's kind that is not good on data of many columns."""

    def __sklearn_tags__(self) -> Any:
        """Those of any regressor, without the promise of a good score."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags

    def _checked_fit_data(
        self, rows: ArrayLike, targets: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[Floats, Floats, Floats]:
        """Features, targets and weights as ``fit`` was given them, checked as scikit-learn does.

        Raises:
            ValueError: they do not fit together, are not finite, or a weight is negative.
        """
        features, wanted = validate_data(self, rows, targets, dtype=np.float64, y_numeric=True)
        weights = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        return features, np.asarray(wanted, dtype=np.float64), weights
