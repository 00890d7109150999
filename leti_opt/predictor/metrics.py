"""How good predictions are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError

Floats = NDArray[np.float64]

TOLERANCES = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class PredictionMetrics:
    """How predictions compare with measured latencies.

    Args:
        count: how many were compared.
        within: share of predictions within 1, 5 and 10 per cent of the measured latency, by tolerance.
        mean_absolute_percentage_error: mean of \\|predicted - measured\\| / measured, in per cent.
        root_mean_squared_error_ms: in milliseconds.
        spearman: rank correlation; NaN where all predictions or all latencies are the same.
        kendall: tau-b; NaN likewise.
        by_quantile: the mean absolute percentage error of each fifth of the cells, from the quickest to the slowest.
    """

    count: int
    within: dict[float, float]
    mean_absolute_percentage_error: float
    root_mean_squared_error_ms: float
    spearman: float
    kendall: float
    by_quantile: tuple[float, ...]


def prediction_metrics(predicted_ms: ArrayLike, measured_ms: ArrayLike, quantiles: int = 5) -> PredictionMetrics:
    """Compare predictions with measured latencies.

    Args:
        predicted_ms: one a cell.
        measured_ms: positive.
        quantiles: into how many equal parts the cells are put, by measured latency.

    Raises:
        InvalidInputError: lengths differ, there is nothing to compare, or a figure is unusable.

    >>> found = prediction_metrics([1.0, 2.1, 3.0], [1.0, 2.0, 4.0])
    >>> found.within[0.05], round(found.mean_absolute_percentage_error, 6), round(found.spearman, 6)
    (0.6666666666666666, 10.0, 1.0)
    """
    from scipy.stats import kendalltau, spearmanr

    predicted, measured = checked_pair(predicted_ms, measured_ms)
    errors = np.abs(predicted - measured) / measured
    order = np.argsort(measured, kind="stable")
    parts = [part for part in np.array_split(errors[order], quantiles) if part.size]
    varied = len(measured) > 1 and np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return PredictionMetrics(
        count=len(measured),
        within={tolerance: share_within(predicted, measured, tolerance) for tolerance in TOLERANCES},
        mean_absolute_percentage_error=100 * float(errors.mean()),
        root_mean_squared_error_ms=float(np.sqrt(np.mean((predicted - measured) ** 2))),
        spearman=float(spearmanr(predicted, measured).statistic) if varied else float("nan"),
        kendall=float(kendalltau(predicted, measured).statistic) if varied else float("nan"),
        by_quantile=tuple(100 * float(part.mean()) for part in parts),
    )


def share_within(predicted_ms: Floats, measured_ms: Floats, tolerance: float) -> float:
    """Share of predictions that are off by no more than a share of the measured latency.

    >>> share_within(np.array([1.1, 2.5]), np.array([1.0, 2.0]), 0.2)
    0.5
    """
    # A rounding error must not decide about a prediction that is off by just the tolerance.
    return float(np.mean(np.abs(predicted_ms - measured_ms) <= tolerance * measured_ms * (1 + 1e-12)))


def coverage(lower_ms: ArrayLike, upper_ms: ArrayLike, measured_ms: ArrayLike) -> float:
    """Share of measured latencies that lie in their intervals; one without an upper end holds them.

    >>> coverage([1.0, 1.0, 0.0], [2.0, 2.0, float("inf")], [1.5, 3.0, 3.0]) == 2 / 3
    True

    Raises:
        InvalidInputError: lengths differ, or an end is no number.
    """
    lower, measured = checked_pair(lower_ms, measured_ms)
    upper = np.asarray(upper_ms, dtype=np.float64)
    if upper.shape != measured.shape or np.isnan(upper).any():
        raise InvalidInputError(f"{upper.shape} upper ends for {measured.shape} latencies; give a number for each")
    return float(np.mean((lower <= measured) & (measured <= upper)))


def checked_pair(values_ms: ArrayLike, measured_ms: ArrayLike) -> tuple[Floats, Floats]:
    """Both as arrays that fit together.

    Raises:
        InvalidInputError: they do not, or hold something unusable.
    """
    values, measured = np.asarray(values_ms, dtype=np.float64), np.asarray(measured_ms, dtype=np.float64)
    if values.ndim != 1 or values.shape != measured.shape or not values.size:
        raise InvalidInputError(f"{values.shape} predictions for {measured.shape} latencies; give one for each")
    if not np.isfinite(values).all():
        raise InvalidInputError("a prediction is not finite; leave out cells that cannot be predicted")
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise InvalidInputError("a measured latency is no positive number; leave out cells that were not measured")
    return values, measured
