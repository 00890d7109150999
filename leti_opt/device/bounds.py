"""Between which bounds a latency lies: the mean, the median or the 95th percentile of runs, with a confidence.

The bounds are those of a longer series of the same runs. Neighbouring runs are not independent, so the mean's bounds
come from batches (:mod:`leti_opt.device.certainty`), and a quantile's from order statistics of as many independent
runs as the correlated ones are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.device.certainty import CONFIDENCE, MIN_BATCHES, mean_interval
from leti_opt.errors import InvalidInputError, did_you_mean

_QUANTILES = {"median": 0.5, "p95": 0.95}
BOUNDED_STATISTICS = ("mean", *_QUANTILES)
"""The statistics that bounds are known of."""

_DISAGREEMENT_LEVEL = 0.1
"""Sessions disagree if chance alone would put them so far apart less often than this."""


@dataclass(frozen=True)
class Bounds:
    """What a statistic lies between, in milliseconds.

    Args:
        low_ms: lower bound.
        high_ms: upper bound.
    """

    low_ms: float
    high_ms: float

    def __post_init__(self) -> None:
        if not self.low_ms <= self.high_ms:
            raise ValueError(f"bounds must be in order, not {self.low_ms} and {self.high_ms}")


def statistic_bounds(runs_ms: ArrayLike, statistic: str, confidence: float = CONFIDENCE) -> Bounds | None:
    """Bounds of a statistic of one series of runs; None where the runs are too few or too correlated to say.

    A quantile: batches of the series that says of each run whether it is at most the quantile tell how many
    independent runs these are worth. Of so many the order statistics are known that enclose the quantile. The 95th
    percentile needs runs beyond its upper bound: with 95 % confidence at least 73 independent ones.

    Args:
        runs_ms: time of each run, in order.
        statistic: one of :data:`BOUNDED_STATISTICS`.
        confidence: how often such bounds shall hold, between 0 and 1.

    Raises:
        InvalidInputError: another statistic, a confidence out of range, or a time that is not finite.

    >>> runs_ms = np.random.default_rng(0).normal(5.0, 0.1, 300)
    >>> bounds = statistic_bounds(runs_ms, "median")
    >>> bounds.low_ms < 5.0 < bounds.high_ms
    True
    >>> statistic_bounds(runs_ms[:50], "p95")
    """
    check_bounded(statistic, confidence)
    runs = np.asarray(runs_ms, dtype=np.float64)
    if not np.isfinite(runs).all():
        raise InvalidInputError("a run's time must be a finite number of milliseconds; drop no runs, but mend these")
    if statistic == "mean":
        return _mean_bounds(runs, confidence)
    return _quantile_bounds(runs, _QUANTILES[statistic], confidence)


def pooled_bounds(sessions_ms: Sequence[ArrayLike], statistic: str, confidence: float = CONFIDENCE) -> Bounds | None:
    """Bounds of a statistic over several sessions, each a series of runs, oldest first.

    One session says nothing of what changes from one to the next, such as where memory came to lie. So where sessions
    differ by no more than their runs explain (Cochran's Q), their runs are taken as one series. Where they differ by
    more, or the one series is too correlated to say, each session is a batch of its own, and the bounds are those of
    the mean over sessions, with one degree of freedom less than there are sessions. Two sessions that disagree thus
    give very wide bounds, which a third one narrows.

    A device that simulates repeats itself: a session that begins like another, longer one counts once.

    Args:
        sessions_ms: times of each session's runs, in order.
        statistic: one of :data:`BOUNDED_STATISTICS`.
        confidence: how often such bounds shall hold, between 0 and 1.

    Returns:
        None where the runs are too few or too correlated to say.
    """
    check_bounded(statistic, confidence)
    sessions = distinct_sessions(sessions_ms)
    if not sessions:
        return None
    together = statistic_bounds(np.concatenate(sessions), statistic, confidence)
    if len(sessions) == 1 or (together is not None and not _disagree(sessions, statistic)):
        return together
    return _bounds_over_sessions(sessions, statistic, confidence)


def distinct_sessions(sessions_ms: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """The sessions without those that another one begins with, in their order."""
    sessions = [np.asarray(runs, dtype=np.float64) for runs in sessions_ms]
    return [
        runs
        for place, runs in enumerate(sessions)
        if not any(_begins(other, runs, at < place) for at, other in enumerate(sessions) if at != place)
    ]


def point_estimate(runs_ms: ArrayLike, statistic: str) -> float:
    """The statistic of the runs themselves, as :meth:`~leti_opt.device.run_batch.RunBatch.from_runs` has it."""
    runs = np.asarray(runs_ms, dtype=np.float64)
    return float(runs.mean()) if statistic == "mean" else float(np.percentile(runs, 100 * _QUANTILES[statistic]))


def mean_bounds_from_error(mean_ms: float, mean_error_ms: float, confidence: float = CONFIDENCE) -> Bounds:
    """Bounds of a mean of which only the half width of its 95 % interval is known.

    How many batches that stands on is not known, so the fewest are assumed, and for a confidence below 95 % the
    bounds stay those of 95 %: they are never too narrow.
    """
    check_bounded("mean", confidence)
    half_width = mean_error_ms * max(1.0, _student_ratio(MIN_BATCHES, confidence))
    return Bounds(mean_ms - half_width, mean_ms + half_width)


def widened_by_wander(bounds: Bounds, point_ms: float, wander: float, confidence: float = CONFIDENCE) -> Bounds:
    """Bounds that also hold what runs in a row cannot show: how a device's pace wanders from moment to moment.

    Args:
        bounds: what the runs themselves say.
        point_ms: the figure between them.
        wander: standard deviation of the device's pace, as a share of it; for several sessions that of their mean.
        confidence: that of the bounds.

    >>> widened_by_wander(Bounds(9.0, 11.0), 10.0, 0.0)
    Bounds(low_ms=9.0, high_ms=11.0)
    """
    extra_ms = _normal_factor(confidence) * wander * point_ms
    below, above = point_ms - bounds.low_ms, bounds.high_ms - point_ms
    return Bounds(point_ms - float(np.hypot(below, extra_ms)), point_ms + float(np.hypot(above, extra_ms)))


def check_bounded(statistic: str, confidence: float) -> None:
    """Refuse what no bounds are known of.

    Raises:
        InvalidInputError: another statistic than :data:`BOUNDED_STATISTICS`, or a confidence out of range.
    """
    if statistic not in BOUNDED_STATISTICS:
        raise InvalidInputError(
            f"no bounds are known of the statistic {statistic!r}; {did_you_mean(statistic, BOUNDED_STATISTICS)}"
        )
    if not 0 < confidence < 1:
        raise InvalidInputError(f"confidence must be between 0 and 1, not {confidence}; write 0.95 for 95 %")


def _mean_bounds(runs: NDArray[np.float64], confidence: float) -> Bounds | None:
    interval = mean_interval(runs)
    if interval is None or not interval.settled:
        return None
    half_width = interval.half_width * _student_ratio(interval.batches, confidence)
    return Bounds(interval.mean - half_width, interval.mean + half_width)


def _quantile_bounds(runs: NDArray[np.float64], share: float, confidence: float) -> Bounds | None:
    from scipy.special import bdtr

    if runs.size == 0:
        return None
    point = float(np.quantile(runs, share))
    worth = _independent_runs(runs <= point, share)
    if worth is None:
        return None
    # P(the quantile is below the k-th smallest) = P(fewer than k of the runs are at most the quantile)
    below = bdtr(np.arange(worth), worth, share)
    error = (1 - confidence) / 2
    low, high = int(np.searchsorted(below, error, side="right")), int(np.searchsorted(below, 1 - error))
    if low == 0 or high == worth:
        return None
    ordered = np.sort(runs)
    scale = (runs.size + 1) / (worth + 1)
    low_place = max(int(np.floor(low * scale)), 1)
    high_place = min(int(np.ceil((high + 1) * scale)), runs.size)
    return Bounds(min(float(ordered[low_place - 1]), point), max(float(ordered[high_place - 1]), point))


def _independent_runs(is_below: NDArray[np.bool_], share: float) -> int | None:
    """How many independent runs would tell the share of runs below as well as these do."""
    interval = mean_interval(is_below.astype(np.float64))
    if interval is None or not interval.settled:
        return None
    if interval.half_width == 0:
        return is_below.size
    # The interval's width holds Student's factor for few batches, so that fewer batches are worth fewer runs.
    error = interval.half_width / _normal_factor(CONFIDENCE)
    return min(is_below.size, int(share * (1 - share) / error**2))


def _disagree(sessions: Sequence[NDArray[np.float64]], statistic: str) -> bool:
    """Whether the sessions that say enough of themselves are further apart than that explains."""
    from scipy.special import chdtrc

    bounds = [statistic_bounds(runs, statistic) for runs in sessions]
    judged = [(runs, bound) for runs, bound in zip(sessions, bounds, strict=True) if bound is not None]
    if len(judged) < 2:
        return False
    points = np.array([point_estimate(runs, statistic) for runs, _ in judged])
    errors = np.array([(b.high_ms - b.low_ms) / 2 for _, b in judged]) / _normal_factor(CONFIDENCE)
    if not errors.all():
        return bool(np.ptp(points) > 0)
    weights = 1 / errors**2
    centre = (weights @ points) / weights.sum()
    return bool(chdtrc(points.size - 1, weights @ (points - centre) ** 2) < _DISAGREEMENT_LEVEL)


def _bounds_over_sessions(sessions: Sequence[NDArray[np.float64]], statistic: str, confidence: float) -> Bounds:
    points = np.array([point_estimate(runs, statistic) for runs in sessions])
    error = points.std(ddof=1) / np.sqrt(points.size)
    half_width = float(_student_factor(points.size, confidence) * error)
    return Bounds(float(points.mean()) - half_width, float(points.mean()) + half_width)


def _begins(longer: NDArray[np.float64], runs: NDArray[np.float64], equal_counts: bool) -> bool:
    if longer.size < runs.size or (longer.size == runs.size and not equal_counts):
        return False
    return bool((longer[: runs.size] == runs).all())


def _student_ratio(batches: int, confidence: float) -> float:
    """How much wider an interval of the mean is at this confidence than the 95 % one."""
    if confidence == CONFIDENCE:
        return 1.0
    return _student_factor(batches, confidence) / _student_factor(batches, CONFIDENCE)


def _student_factor(batches: int, confidence: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(batches - 1, (1 + confidence) / 2))


def _normal_factor(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + confidence) / 2))
