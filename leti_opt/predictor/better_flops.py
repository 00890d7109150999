"""The LETI paper's second predictor: two clusters by peak memory, a line over FLOPs in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from leti_opt.predictor.cells import Cells
from leti_opt.predictor.features import cost_features
from leti_opt.predictor.line import Line
from leti_opt.predictor.narrow_regressor import Floats, NarrowRegressor
from leti_opt.predictor.networks import Network, network_costs
from leti_opt.predictor.plain import PlainPredictor


def best_threshold(split: Floats, targets: Floats, weights: Floats, along: Floats) -> float:
    """Where to cut so that the sum of the two clusters' variances is smallest; infinity where no cut is possible.

    A cluster holds at least two different values of ``along``, so that it can have a line.

    Args:
        split: what is cut, such as peak memory.
        targets: whose variance counts.
        weights: of each row.
        along: what the lines will be over.

    >>> peaks, ms = np.array([1.0, 1.0, 2.0, 2.0]), np.array([3.0, 3.1, 9.0, 9.1])
    >>> best_threshold(peaks, ms, np.ones(4), np.array([1.0, 2.0, 1.0, 2.0]))
    1.5
    """
    values = np.unique(split)
    found, least = np.inf, np.inf
    for threshold in (values[:-1] + values[1:]) / 2:
        low = split <= threshold
        if min(len(np.unique(along[low])), len(np.unique(along[~low]))) < 2:
            continue
        variance = _variance(targets[low], weights[low]) + _variance(targets[~low], weights[~low])
        if variance < least:
            found, least = float(threshold), variance
    return found


def _variance(values: Floats, weights: Floats) -> float:
    mean = np.average(values, weights=weights)
    return float(np.average((values - mean) ** 2, weights=weights))


class TwoLinesRegressor(NarrowRegressor):
    """A line of least squares on either side of a threshold.

    Args:
        line_column: what the lines are over.
        split_column: what the threshold cuts.
    """

    def __init__(self, line_column: int = 0, split_column: int = -1) -> None:
        self.line_column = line_column
        self.split_column = split_column

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Find the threshold and fit both lines; one line for all where no cut is possible."""
        features, targets, weights = self._checked_fit_data(X, y, sample_weight)
        used = weights > 0
        features, targets, weights = features[used], targets[used], weights[used]
        along, split = features[:, self.line_column], features[:, self.split_column]
        self.threshold_ = best_threshold(split, targets, weights, along)
        low = split <= self.threshold_
        self.low_line_ = Line.through(along[low], targets[low], weights[low])
        high = ~low if (~low).any() else low
        self.high_line_ = Line.through(along[high], targets[high], weights[high])
        return self

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """Each row's height on the line of its side."""
        check_is_fitted(self, "threshold_")
        features = validate_data(self, X, reset=False, dtype=np.float64)
        along, low = features[:, self.line_column], features[:, self.split_column] <= self.threshold_
        return np.where(low, self.low_line_(along), self.high_line_(along))


class BetterFlopsPredictor(PlainPredictor):
    """The paper's "Better FLOPs": cells below and above a peak memory have a line over FLOPs each.

    The threshold is the one that minimizes the sum of the two clusters' variances of latency, each cluster's variance
    counting the same.

    Args:
        network: how cells become the networks that were measured.
    """

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """FLOPs and peak memory in bytes."""
        return cost_features(architectures, self.network)

    def network_features(self, networks: Sequence[Network]) -> NDArray[Any]:
        """FLOPs and peak memory in bytes."""
        return network_costs(networks, self.network.precision)

    @property
    def threshold_bytes_(self) -> float:
        """The peak memory that parts the clusters; infinity where there is one only."""
        self._check_fitted()
        return float(self.regressor_.threshold_)

    def _new_regressor(self) -> TwoLinesRegressor:
        return TwoLinesRegressor()

    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        low, high = self.regressor_.low_line_, self.regressor_.high_line_
        return {
            "threshold": np.array(self.regressor_.threshold_),
            "lines": np.array([[low.slope, low.intercept], [high.slope, high.intercept]]),
        }

    def _restored_regressor(self, learned: dict[str, NDArray[Any]]) -> TwoLinesRegressor:
        regressor = TwoLinesRegressor()
        regressor.threshold_ = float(learned["threshold"])
        regressor.low_line_, regressor.high_line_ = (Line(*line) for line in learned["lines"].tolist())
        regressor.n_features_in_ = 2
        return regressor
