from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.evaluation import MeanInterval, evaluate, learning_curve, repeated, split_by_class
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.metrics import coverage, prediction_metrics, share_within
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

latencies = st.lists(st.floats(0.01, 1e4), min_size=2, max_size=30)


@given(latencies)
def test_perfect_predictions_are_perfect(measured: list[float]) -> None:
    found = prediction_metrics(measured, measured)
    assert set(found.within.values()) == {1.0}
    assert found.mean_absolute_percentage_error == found.root_mean_squared_error_ms == 0


@given(latencies, st.floats(0.001, 1000))
def test_relative_metrics_do_not_depend_on_the_unit(measured: list[float], unit: float) -> None:
    figures = np.array(measured)
    predicted = figures[::-1]
    one, other = prediction_metrics(predicted, figures), prediction_metrics(predicted * unit, figures * unit)
    assert one.mean_absolute_percentage_error == pytest.approx(other.mean_absolute_percentage_error)
    assert other.root_mean_squared_error_ms == pytest.approx(unit * one.root_mean_squared_error_ms)


def test_shares_count_what_is_just_within() -> None:
    assert share_within(np.array([1.1, 0.9, 1.2]), np.ones(3), 0.1) == pytest.approx(2 / 3)


def test_quantiles_run_from_quick_to_slow() -> None:
    found = prediction_metrics([1.1, 2.0, 3.0, 4.0, 10.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.by_quantile == pytest.approx((10, 0, 0, 0, 100))


def test_ranks_of_a_reversed_order_are_minus_one() -> None:
    found = prediction_metrics([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])
    assert found.spearman == found.kendall == pytest.approx(-1)


def test_ranks_of_equal_predictions_are_unknown() -> None:
    found = prediction_metrics([1.0, 1.0], [1.0, 2.0])
    assert math.isnan(found.spearman)
    assert math.isnan(found.kendall)


@pytest.mark.parametrize(
    ("predicted", "measured", "match"),
    [
        ([1.0], [1.0, 2.0], "give one for each"),
        ([], [], "give one for each"),
        ([float("nan")], [1.0], "not finite"),
        ([1.0], [0.0], "no positive number"),
    ],
)
def test_unusable_figures_are_refused(predicted: list[float], measured: list[float], match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        prediction_metrics(predicted, measured)


def test_coverage_counts_both_ends() -> None:
    assert coverage([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [1.0, 3.0, 5.0]) == pytest.approx(2 / 3)


@given(
    st.lists(st.integers(0, 9), min_size=3, max_size=60).filter(lambda found: len(set(found)) > 2), st.integers(0, 99)
)
def test_no_class_is_on_both_sides_of_a_split(classes: list[int], seed: int) -> None:
    size = len(set(classes)) - 1
    split = split_by_class(classes, size, seed)
    trained = [classes[row] for row in split.train]
    assert len(set(trained)) == len(trained) == size
    assert sorted(row for row, own in enumerate(classes) if own not in trained) == split.test.tolist()


def test_splits_repeat_by_their_seed() -> None:
    one, same, other = (split_by_class(range(50), 10, seed).train.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_a_split_without_a_test_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="left to test"):
        split_by_class([0, 0, 1], 2, 0)


def test_evaluation_is_by_cells_that_were_not_learned() -> None:
    table = small_table(60)
    latency_ms = made_up_latency_ms(table, noise=0)
    split = split_by_class(table.graph_hashes, 40, 0)
    spoiled = latency_ms.copy()
    spoiled[split.test] *= 100
    found = evaluate(FlopsPredictor(SMALL), table, spoiled, split)
    assert found.metrics.count == len(split.test)
    assert found.metrics.mean_absolute_percentage_error > 90


def test_learning_curves_get_better_with_more_cells() -> None:
    table = small_table(80)
    latency_ms = made_up_latency_ms(table)
    curve = dict(
        learning_curve(lambda: FlopsPredictor(SMALL), table, latency_ms, table.graph_hashes, sizes=(2, 60), splits=4)
    )
    errors = {
        size: np.mean([result.metrics.mean_absolute_percentage_error for result in results])
        for size, results in curve.items()
    }
    assert errors[60] < errors[2]


def test_repeated_splits_differ() -> None:
    table = small_table(60)
    results = repeated(
        lambda: FlopsPredictor(SMALL), table, made_up_latency_ms(table), table.graph_hashes, size=30, splits=3
    )
    assert len({result.metrics.root_mean_squared_error_ms for result in results}) == 3


def test_a_single_split_has_no_interval() -> None:
    assert MeanInterval.of([3.0]) == MeanInterval(3.0, math.inf)
