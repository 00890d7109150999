"""How far a predictor is off on all cells, told by those that were drawn at random and held out in turn.

Cells that were chosen for what can be learned from them are no fair sample: they are the odd ones, and predictors are
worse there than elsewhere. So only cells that were drawn at random are held out; all the others are learned from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.predictor.predictor import LatencyPredictor

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEWEST_HELD_OUT = 20
"""Of fewer errors no bound of their mean is known."""

_FOLDS = 5
_LEAST_SKEWNESS = 2.0
"""That of an exponential distribution; half a normal one has 1."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of held-out cells by predictors that had not seen them.

    Args:
        latency_ms: what was measured.
        predicted_ms: what was predicted.
        half_width_ms: half the width of each prediction's interval.
    """

    latency_ms: Floats
    predicted_ms: Floats
    half_width_ms: Floats

    @property
    def errors(self) -> Floats:
        """How far each prediction is off, as a share of the latency."""
        found: Floats = np.abs(self.predicted_ms - self.latency_ms) / self.latency_ms
        return found

    @property
    def coverage(self) -> float:
        """Share of latencies in their intervals."""
        return float(np.mean(np.abs(self.latency_ms - self.predicted_ms) <= self.half_width_ms))

    def widening(self, coverage: float) -> float:
        """By how much intervals must be widened, so that this share of further cells lies in them (split conformal).

        Never below 1; infinity where there are too few held-out cells to say.

        Args:
            coverage: the share.

        >>> held = HeldOut(np.full(9, 2.0), np.full(9, 2.0) + np.arange(9) / 10, np.full(9, 0.4))
        >>> round(held.widening(0.9), 6), held.widening(0.95)
        (2.0, inf)
        """
        rank = int(np.ceil(coverage * (len(self.latency_ms) + 1) - 1e-9))
        if rank > len(self.latency_ms):
            return float("inf")
        off = np.abs(self.latency_ms - self.predicted_ms)
        scores = np.divide(off, self.half_width_ms, out=np.full(len(off), np.inf), where=self.half_width_ms > 0)
        scores[off == 0] = 0
        return max(1.0, float(np.sort(scores)[rank - 1]))


def hold_out(
    predictor: LatencyPredictor, cells: ArchitectureTable, latency_ms: Floats, fair: Rows, coverage: float
) -> HeldOut:
    """Predict cells that were drawn at random, each by a predictor that learned from all cells but a fifth of these.

    It learned from fewer cells than the final one, so that errors come out a little too large, not too small. A cell
    that occurs more than once is held out as a whole: nothing equal to it is learned from.

    Args:
        predictor: whose kind and settings count; fresh ones are fitted, never this one itself.
        cells: all that can be learned from.
        latency_ms: of each.
        fair: rows of those that were drawn at random.
        coverage: of the intervals.
    """
    hashes = cells.graph_hashes
    predicted, half = np.empty(len(fair)), np.empty(len(fair))
    for fold in range(min(_FOLDS, len(fair))):
        own = np.arange(fold, len(fair), _FOLDS)
        rest = np.flatnonzero(~np.isin(hashes, hashes[fair[own]]))
        fitted = predictor.fresh().fit(cells[rest], latency_ms[rest])
        predicted[own] = fitted.predict(cells[fair[own]])
        half[own] = fitted.predict_interval(cells[fair[own]], coverage)[1] - predicted[own]
    return HeldOut(latency_ms[fair], predicted, half)


def mean_upper_bound(errors: ArrayLike, confidence: float) -> float:
    """What the mean of such errors is below with a confidence; infinity for fewer than :data:`FEWEST_HELD_OUT`.

    Errors without their sign are skewed, and Student's bound is too low for these: it is corrected for their skewness,
    or for that of exponential errors if it seems smaller, since few errors rarely show their skewness (Hall, Journal of
    the Royal Statistical Society B 54, 1992). Rare and very large errors that no held-out cell shows are beyond any
    such bound.

    Args:
        errors: independent, 0 or more.
        confidence: between 0 and 1.

    >>> errors = np.abs(np.random.default_rng(0).standard_normal(50))
    >>> bool(errors.mean() < mean_upper_bound(errors, 0.9) < mean_upper_bound(errors, 0.99))
    True
    """
    from scipy.special import stdtrit

    values = np.asarray(errors, dtype=np.float64)
    count = len(values)
    if count < FEWEST_HELD_OUT or not np.isfinite(values).all():
        return float("inf")
    mean, spread = float(values.mean()), float(values.std())
    skewness = float(((values - mean) ** 3).mean()) / spread**3 if spread > 0 else 0.0
    factor = float(stdtrit(count - 1, confidence))
    correction = max(skewness, _LEAST_SKEWNESS) * (2 * factor**2 + 1) / (6 * math.sqrt(count))
    return mean + spread / math.sqrt(count - 1) * (factor + correction)
