"""How good a predictor is in a few figures, each with how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.predictor.evaluation import MeanInterval, SplitResult
from leti_opt.predictor.metrics import TOLERANCES, checked_pair, coverage, share_within

COVERAGE = 0.9
"""Share of latencies that the judged intervals should hold."""
_RESAMPLES = 200


@dataclass(frozen=True)
class Scores:
    """Figures with half the width of their 95 % intervals.

    Args:
        within: share of predictions within 1, 5 and 10 per cent of the latency, by tolerance.
        mean_absolute_percentage_error: in per cent.
        spearman: rank correlation; NaN where all predictions or all latencies are the same.
        coverage: share of latencies in the 90 % intervals.
    """

    within: dict[float, MeanInterval]
    mean_absolute_percentage_error: MeanInterval
    spearman: MeanInterval
    coverage: MeanInterval


def scores_of_splits(results: Sequence[SplitResult]) -> Scores:
    """Means over splits; the intervals are those of the means, by Student's distribution."""
    metrics = [result.metrics for result in results]
    return Scores(
        {tolerance: MeanInterval.of([each.within[tolerance] for each in metrics]) for tolerance in TOLERANCES},
        MeanInterval.of([each.mean_absolute_percentage_error for each in metrics]),
        MeanInterval.of([each.spearman for each in metrics]),
        MeanInterval.of([result.coverage for result in results]),
    )


def scores_of_cells(
    predicted_ms: ArrayLike, interval_ms: tuple[ArrayLike, ArrayLike], measured_ms: ArrayLike, seed: int = 0
) -> Scores:
    """Of one set of cells; the intervals come from drawing that many cells anew, 200 times (the bootstrap).

    Args:
        predicted_ms: one a cell.
        interval_ms: lower and upper ends of the 90 % intervals.
        measured_ms: what the cells took.
        seed: of the draws.

    >>> measured = np.linspace(1.0, 2.0, 50)
    >>> found = scores_of_cells(1.04 * measured, (0.9 * measured, 1.1 * measured), measured)
    >>> found.within[0.05].mean, found.within[0.01].mean, round(found.spearman.mean, 6), found.coverage.mean
    (1.0, 0.0, 1.0, 1.0)
    """
    predicted, measured = checked_pair(predicted_ms, measured_ms)
    lower, upper = (np.asarray(end, dtype=np.float64) for end in interval_ms)
    held = (lower <= measured) & (measured <= upper)
    everything = np.arange(len(measured))
    draw = np.random.default_rng(seed)
    draws = np.array(
        [
            _figures(predicted, measured, held, draw.integers(len(measured), size=len(measured)))
            for _ in range(_RESAMPLES)
        ]
    )
    figures = _figures(predicted, measured, held, everything)
    figures[-1] = coverage(lower, upper, measured)
    halves = np.ptp(np.quantile(draws, [0.025, 0.975], axis=0), axis=0) / 2
    *within, error, rank, covered = (MeanInterval(*map(float, pair)) for pair in zip(figures, halves, strict=True))
    return Scores(dict(zip(TOLERANCES, within, strict=True)), error, rank, covered)


def _figures(
    predicted: NDArray[np.float64],
    measured: NDArray[np.float64],
    held: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Shares within the tolerances, percentage error, rank correlation, share held; of some rows."""
    from scipy.stats import spearmanr

    some, truth = predicted[rows], measured[rows]
    varied = np.ptp(some) > 0 and np.ptp(truth) > 0
    return np.array(
        [
            *(share_within(some, truth, tolerance) for tolerance in TOLERANCES),
            100 * np.mean(np.abs(some - truth) / truth),
            spearmanr(some, truth).statistic if varied else np.nan,
            np.mean(held[rows]),
        ]
    )
