"""Bounds of a latency: how often they hold, and what must be true of any."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt.device.bounds import (
    BOUNDED_STATISTICS,
    Bounds,
    distinct_sessions,
    mean_bounds_from_error,
    point_estimate,
    pooled_bounds,
    statistic_bounds,
)
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError

Runs = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Runs]
SERIES = 300


def independent(random: np.random.Generator, count: int) -> Runs:
    return random.normal(10.0, 1.0, count)


def correlated(random: np.random.Generator, count: int) -> Runs:
    """AR(1): each run leans on the one before."""
    shocks = random.normal(0.0, np.sqrt(1 - 0.6**2), count + 50)
    value, found = 0.0, []
    for shock in shocks:
        value = 0.6 * value + shock
        found.append(value)
    return 10.0 + np.array(found[50:])


def heavy_tailed(random: np.random.Generator, count: int) -> Runs:
    """Log-normal: a run is now and then many times as long as most."""
    return random.lognormal(0.0, 1.0, count)


NORMAL_TRUTH = {"mean": 10.0, "median": 10.0, "p95": 10.0 + 1.6448536269514722}
LOGNORMAL_TRUTH = {"mean": float(np.exp(0.5)), "median": 1.0, "p95": float(np.exp(1.6448536269514722))}


def coverage(draw: Draw, truth: float, statistic: str, count: int) -> tuple[float, float]:
    """Share of series with bounds, and share of those that enclose the truth."""
    random = np.random.default_rng(7)
    found = [statistic_bounds(draw(random, count), statistic) for _ in range(SERIES)]
    said = [bounds for bounds in found if bounds is not None]
    return len(said) / SERIES, sum(bounds.low_ms <= truth <= bounds.high_ms for bounds in said) / len(said)


@pytest.mark.parametrize("statistic", BOUNDED_STATISTICS)
@pytest.mark.parametrize(
    ("draw", "truth"),
    [(independent, NORMAL_TRUTH), (correlated, NORMAL_TRUTH), (heavy_tailed, LOGNORMAL_TRUTH)],
    ids=["independent", "correlated", "heavy-tailed"],
)
def test_bounds_hold_as_often_as_they_say(draw: Draw, truth: dict[str, float], statistic: str) -> None:
    said, held = coverage(draw, truth[statistic], statistic, 600)
    assert said >= 0.85
    assert held >= 0.9


def test_bounds_that_ignored_correlation_would_hold_less_often() -> None:
    """The point of batches: shuffled runs look independent, and bounds of them are too narrow."""
    random = np.random.default_rng(3)
    for statistic in ("mean", "median"):
        held = 0
        for _ in range(SERIES):
            bounds = statistic_bounds(random.permutation(correlated(random, 600)), statistic)
            held += bounds is not None and bounds.low_ms <= 10.0 <= bounds.high_ms
        assert held / SERIES < 0.85


def slow_order_statistics(runs: list[float], share: float, confidence: float) -> tuple[float, float]:
    """The textbook's: sum the binomial distribution from each end."""
    count, error = len(runs), (1 - confidence) / 2
    weights = [comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    low = max(k for k in range(1, count + 1) if sum(weights[:k]) <= error)
    high = min(k for k in range(1, count + 1) if sum(weights[:k]) >= 1 - error)
    ordered = sorted(runs)
    return ordered[low - 1], ordered[high - 1]


@pytest.mark.parametrize(("statistic", "share"), [("median", 0.5), ("p95", 0.95)])
def test_bounds_of_runs_that_are_worth_as_many_independent_ones_are_the_textbooks(statistic: str, share: float) -> None:
    # Runs that take turns tell a share better than independent ones would, and count as so many.
    runs = [20.0 * (11 * place % 20) + place / 1000 for place in range(200)]
    bounds = statistic_bounds(runs, statistic)
    assert bounds is not None
    assert (bounds.low_ms, bounds.high_ms) == slow_order_statistics(runs, share, 0.95)


def test_too_few_runs_have_no_bounds() -> None:
    runs = np.random.default_rng(0).normal(5.0, 0.1, 72)
    assert statistic_bounds([], "median") is None
    assert all(statistic_bounds(runs[:29], statistic) is None for statistic in BOUNDED_STATISTICS)
    assert statistic_bounds(runs, "median") is not None
    assert statistic_bounds(runs, "p95") is None, "the longest of 72 runs is no upper bound of the 95th percentile"


def test_equal_runs_have_bounds_without_width() -> None:
    assert [statistic_bounds([2.0] * 300, s) for s in BOUNDED_STATISTICS] == [Bounds(2.0, 2.0)] * 3


def test_a_series_that_only_climbs_has_no_bounds() -> None:
    assert [statistic_bounds(np.linspace(1.0, 2.0, 300), s) for s in BOUNDED_STATISTICS] == [None] * 3


lognormal_runs = st.builds(
    lambda seed, count, spread: np.random.default_rng(seed).lognormal(0.0, spread, count),
    st.integers(0, 2**32 - 1),
    st.integers(30, 400),
    st.floats(0.01, 1.0),
)
statistics = st.sampled_from(BOUNDED_STATISTICS)


@settings(max_examples=40, deadline=None)
@given(lognormal_runs, statistics, st.integers(-8, 8))
def test_another_unit_scales_the_bounds(runs: Runs, statistic: str, power: int) -> None:
    factor = 2.0**power
    bounds, scaled = statistic_bounds(runs, statistic), statistic_bounds(factor * runs, statistic)
    assert (bounds is None) == (scaled is None)
    if bounds is not None and scaled is not None:
        assert (scaled.low_ms, scaled.high_ms) == pytest.approx((factor * bounds.low_ms, factor * bounds.high_ms))


@settings(max_examples=40, deadline=None)
@given(lognormal_runs, statistics, st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_more_confidence_makes_bounds_no_narrower(runs: Runs, statistic: str, one: float, other: float) -> None:
    narrow = statistic_bounds(runs, statistic, min(one, other))
    wide = statistic_bounds(runs, statistic, max(one, other))
    assume(narrow is not None and wide is not None)
    assert narrow is not None
    assert wide is not None
    assert wide.low_ms <= narrow.low_ms <= narrow.high_ms <= wide.high_ms


@settings(max_examples=40, deadline=None)
@given(lognormal_runs, statistics)
def test_bounds_enclose_the_figure_that_a_batch_reports(runs: Runs, statistic: str) -> None:
    figure = RunBatch.from_runs(runs.tolist()).statistic(statistic)
    assert point_estimate(runs, statistic) == pytest.approx(figure)
    bounds = statistic_bounds(runs, statistic)
    assume(bounds is not None)
    assert bounds is not None
    assert bounds.low_ms <= point_estimate(runs, statistic) <= bounds.high_ms


def test_sessions_that_agree_count_as_one_series() -> None:
    random = np.random.default_rng(5)
    sessions = [independent(random, 300), independent(random, 600)]
    pooled = pooled_bounds(sessions, "mean")
    assert pooled == statistic_bounds(np.concatenate(sessions), "mean")
    alone = statistic_bounds(sessions[0], "mean")
    assert pooled is not None
    assert alone is not None
    assert pooled.high_ms - pooled.low_ms < alone.high_ms - alone.low_ms


def test_two_sessions_that_disagree_are_far_from_sure_and_further_ones_make_it_surer() -> None:
    random = np.random.default_rng(5)
    sessions = [independent(random, 400) + shift for shift in (0.0, 1.0, 0.4, 0.7, 0.1)]
    widths = []
    for count in (2, 3, 5):
        for statistic in BOUNDED_STATISTICS:
            bounds = pooled_bounds(sessions[:count], statistic)
            assert bounds is not None
            points = [point_estimate(runs, statistic) for runs in sessions[:count]]
            assert bounds.low_ms < np.mean(points) < bounds.high_ms
            if statistic == "mean":
                widths.append(bounds.high_ms - bounds.low_ms)
    assert widths[0] > 5.0
    assert widths == sorted(widths, reverse=True)


def test_bounds_of_sessions_that_vary_hold_where_those_of_one_series_would_not() -> None:
    random = np.random.default_rng(11)
    held = naive = 0
    for _ in range(200):
        sessions = [independent(random, 150) + random.normal(0.0, 0.5) for _ in range(4)]
        bounds = pooled_bounds(sessions, "mean")
        held += bounds is not None and bounds.low_ms <= 10.0 <= bounds.high_ms
        single = statistic_bounds(sessions[0], "mean")
        naive += single is not None and single.low_ms <= 10.0 <= single.high_ms
    assert held / 200 >= 0.9
    assert naive / 200 < 0.6


def test_a_session_that_repeats_another_counts_once() -> None:
    runs = np.random.default_rng(1).normal(5.0, 0.1, 600)
    assert [len(session) for session in distinct_sessions([runs[:300], runs, runs])] == [600]
    assert pooled_bounds([runs[:300], runs], "mean") == statistic_bounds(runs, "mean")
    assert pooled_bounds([], "mean") is None


def test_a_half_width_alone_gives_bounds_that_are_never_too_narrow() -> None:
    runs = np.random.default_rng(1).normal(5.0, 0.1, 600)
    batch = RunBatch.from_runs(runs.tolist())
    assert batch.mean_error_ms is not None
    for confidence in (0.8, 0.95, 0.99):
        exact = statistic_bounds(runs, "mean", confidence)
        rough = mean_bounds_from_error(batch.mean_ms, batch.mean_error_ms, confidence)
        assert exact is not None
        assert rough.low_ms <= exact.low_ms + 1e-9
        assert rough.high_ms >= exact.high_ms - 1e-9


@pytest.mark.parametrize(("statistic", "confidence"), [("min", 0.95), ("p96", 0.95), ("mean", 0.0), ("mean", 1.0)])
def test_what_has_no_bounds_is_refused(statistic: str, confidence: float) -> None:
    with pytest.raises(InvalidInputError, match=r"bounds|confidence"):
        statistic_bounds([1.0] * 100, statistic, confidence)


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="finite"):
        statistic_bounds([1.0, float("nan")] * 50, "median")
