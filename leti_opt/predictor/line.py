"""A straight line through weighted points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted, validate_data

from leti_opt.predictor.narrow_regressor import Floats as Floats
from leti_opt.predictor.narrow_regressor import NarrowRegressor


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


class LineRegressor(NarrowRegressor):
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
        features, targets, weights = self._checked_fit_data(X, y, sample_weight)
        self.line_ = Line.through(features[:, self.column], targets, weights)
        return self

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """The line's height at each row."""
        check_is_fitted(self, "line_")
        features = validate_data(self, X, reset=False, dtype=np.float64)
        return self.line_(features[:, self.column])
