"""A straight line through weighted points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """``slope * x + intercept``."""

    slope: float
    intercept: float

    @classmethod
    def through(cls, x: Floats, y: Floats, weights: Floats) -> Line:
        """The line of least squares; level where all x are the same.

        >>> Line.through(np.array([1.0, 2.0]), np.array([3.0, 5.0]), np.ones(2))
        Line(slope=2.0, intercept=1.0)
        """
        x_mean, y_mean = float(np.average(x, weights=weights)), float(np.average(y, weights=weights))
        spread = float((weights * (x - x_mean) ** 2).sum())
        slope = float((weights * (x - x_mean) * (y - y_mean)).sum()) / spread if spread > 0 else 0.0
        return cls(slope, y_mean - slope * x_mean)

    def __call__(self, x: Floats) -> Floats:
        """The line's height."""
        return self.slope * x + self.intercept


class LineRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A line of least squares over one column.

    Args:
        column: which one.

    >>> LineRegressor().fit([[1.0], [2.0]], [3.0, 5.0]).predict([[4.0]]).tolist()
    [9.0]
    """

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fit the line."""
        features, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weights = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        self.line_ = Line.through(features[:, self.column], np.asarray(targets, np.float64), weights)
        return self

    def __sklearn_tags__(self) -> Any:
        """Not good on data of several columns, since it looks at one."""
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """The line's height at each row."""
        check_is_fitted(self, "line_")
        features = validate_data(self, X, reset=False, dtype=np.float64)
        return self.line_(features[:, self.column])
