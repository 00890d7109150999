"""How sure the mean of consecutive runs is: an interval from batches that are long enough to be independent.

Runs of one network are not independent: clocks change, other processes come and go. The mean's error is therefore
judged from the means of batches of consecutive runs (Law and Carson, Operations Research 27, 1979), grown until
neighbouring batches correlate little.

Batches cannot see what changes more slowly than the series lasts. On a machine that is half as fast again for seconds
at a time, thirty runs within one such second look very sure, and so do three hundred. How far a device's pace wanders
from one moment to another is known from elsewhere, its canary, and is added (:func:`with_wander`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_RUNS = 30
MIN_BATCHES = 10
CONFIDENCE = 0.95
MAX_LAG_CORRELATION = 0.2
"""Batches whose means correlate less than this with their neighbours count as independent."""


@dataclass(frozen=True)
class MeanInterval:
    """A 95 % interval of the mean that a longer series of the same runs would have.

    Args:
        mean: of all runs, in their unit.
        half_width: the interval is ``mean`` plus and minus this.
        batches: how many batches it stands on.
        batch_size: runs in each.
        lag_correlation: of neighbouring batches' means.
        settled: whether that is small. If not, the half width is only a guess.
    """

    mean: float
    half_width: float
    batches: int
    batch_size: int
    lag_correlation: float
    settled: bool

    @property
    def low(self) -> float:
        """Lower bound."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper bound."""
        return self.mean + self.half_width


def mean_interval(runs: ArrayLike | Sequence[float]) -> MeanInterval | None:
    """The interval of the mean, or None where the runs are too few to say.

    Where even the longest batches correlate, the interval is widened as for a series of that correlation, and not
    ``settled``.

    >>> mean_interval([1.0, 2.0])
    >>> interval = mean_interval(np.random.default_rng(0).normal(5.0, 0.1, 300))
    >>> interval.low < 5.0 < interval.high, round(interval.half_width, 3) < 0.03
    (True, True)
    """
    values = np.asarray(runs, dtype=np.float64)
    if values.size < MIN_RUNS:
        return None
    size = values.size // (2 * MIN_BATCHES) or 1
    means = _batch_means(values, size)
    while lag_correlation(means) > MAX_LAG_CORRELATION and values.size // (2 * size) >= MIN_BATCHES:
        size *= 2
        means = _batch_means(values, size)
    return _interval(values, means, size)


def with_wander(mean_error_ms: float, mean_ms: float, wander: float) -> float:
    """Half the width of the mean's interval when the device's pace wanders, too.

    Args:
        mean_error_ms: half the width that the runs themselves show.
        mean_ms: their mean.
        wander: standard deviation of the device's pace from one moment to another, as a share of it.

    >>> round(with_wander(0.03, 10.0, 0.002), 4)
    0.0494
    """
    return math.hypot(mean_error_ms, _normal_factor() * wander * mean_ms)


def least_relative_error(wander: float) -> float:
    """The relative error that no number of consecutive runs gets below on a device of this wander."""
    return _normal_factor() * wander


def _normal_factor() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + CONFIDENCE) / 2))


def lag_correlation(values: NDArray[np.float64]) -> float:
    """Correlation of each value with the next; 0 where all are equal."""
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    return 0.0 if total == 0 else float(deviations[:-1] @ deviations[1:]) / total


def _batch_means(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Means of consecutive batches; the first runs that fill no batch are left out of the judgement only."""
    means: NDArray[np.float64] = values[values.size % size :].reshape(-1, size).mean(axis=1)
    return means


def _interval(values: NDArray[np.float64], means: NDArray[np.float64], size: int) -> MeanInterval:
    from scipy.special import stdtrit  # imported late: it takes longer than everything else here

    correlation = lag_correlation(means)
    settled = correlation <= MAX_LAG_CORRELATION
    widening = 1.0 if settled else (1 + correlation) / (1 - correlation)
    error = math.sqrt(widening / means.size) * float(means.std(ddof=1))
    factor = float(stdtrit(means.size - 1, (1 + CONFIDENCE) / 2))
    return MeanInterval(float(values.mean()), factor * error, means.size, size, correlation, settled)
