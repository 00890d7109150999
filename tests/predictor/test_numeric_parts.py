from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from leti_opt.predictor.additive_fit import fit_additive
from leti_opt.predictor.better_flops import TwoLinesRegressor
from leti_opt.predictor.boosted_trees import BoostedTreesRegressor
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.line import LineRegressor
from leti_opt.predictor.residual_process import _NegativeLikelihood, matern, squared_distances
from leti_opt.predictor.sum_regressor import SumRegressor

ROBUST = {
    "check_sample_weight_equivalence_on_dense_data": (
        "spreads are medians over rows, so a row of weight two is not quite two rows"
    )
}


def known_failures(estimator: Any) -> dict[str, str]:
    return ROBUST if isinstance(estimator, KernelRegressor) else {}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [LineRegressor(), TwoLinesRegressor(), BoostedTreesRegressor(trees=30), KernelRegressor(), SumRegressor()],
    expected_failed_checks=known_failures,
)
def test_numeric_parts_are_estimators_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_sum_finds_its_parts_in_spite_of_outliers() -> None:
    draw = np.random.default_rng(0)
    columns = draw.standard_normal((200, 3))
    targets = 10 + columns @ np.array([1.0, -2.0, 0.0])
    targets[::20] *= 5
    found = fit_additive([columns[:, :2], columns[:, 2:]], targets, np.ones(200))
    np.testing.assert_allclose(found.coefficients * found.unit, [1.0, -2.0, 0.0, 10.0], atol=0.05)
    assert found.weights[::20].max() < found.weights[1::20].min()


def test_errors_left_out_are_those_of_fits_without_the_row() -> None:
    draw = np.random.default_rng(1)
    columns = draw.standard_normal((60, 2))
    targets = 8 + columns @ np.array([1.0, 0.5]) + 0.1 * draw.standard_normal(60)
    whole = fit_additive([columns], targets, np.ones(60))
    rest = np.arange(60) != 7
    without = fit_additive([columns[rest]], targets[rest], np.ones(59))
    predicted = without.unit * (np.append(columns[7], 1.0) @ without.coefficients)
    assert whole.errors[7] == pytest.approx((targets[7] - predicted) / predicted, abs=2e-3)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    draw = np.random.default_rng(2)
    one, other = draw.standard_normal((25, 2)), draw.standard_normal((25, 3))
    linear = [one @ one.T]
    distances = [squared_distances(one, one), squared_distances(other, other)]
    likelihood = _NegativeLikelihood(linear, distances, draw.standard_normal(25), draw.uniform(0.5, 2, 25))
    place = np.array([-0.5, -2.0, 0.3, 0.8, -1.0])
    _, gradient = likelihood(place)
    for number in range(len(place)):
        step = np.zeros(len(place))
        step[number] = 1e-5
        slope = (likelihood(place + step)[0] - likelihood(place - step)[0]) / 2e-5
        assert gradient[number] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_the_covariance_is_one_at_no_distance_and_falls() -> None:
    covariance = matern(np.array([0.0, 0.5, 2.0]))
    assert covariance[0] == 1
    assert covariance[0] > covariance[1] > covariance[2] > 0


def test_the_smooth_part_learns_what_is_no_sum() -> None:
    draw = np.random.default_rng(3)
    points = draw.uniform(0, 4, (300, 2))
    targets = np.maximum(5 + points[:, 0], 3 + 2 * points[:, 1])
    model = KernelRegressor().fit(points[:250], targets[:250])
    off = np.abs(model.predict(points[250:]) / targets[250:] - 1)
    assert np.median(off) < 0.02


def test_intervals_hold_their_share() -> None:
    draw = np.random.default_rng(4)
    points = draw.uniform(1, 4, (800, 2))
    targets = (5 + points @ np.array([1.0, 2.0])) * np.exp(0.05 * draw.standard_normal(800))
    model = KernelRegressor().fit(points[:400], targets[:400])
    half = model.half_widths(points[400:], 0.9)
    assert 0.84 < np.mean(np.abs(model.predict(points[400:]) - targets[400:]) <= half) < 0.96


def test_more_rows_than_the_process_keeps_are_no_obstacle() -> None:
    points = np.linspace(0, 1, 300)[:, np.newaxis]
    model = KernelRegressor(max_points=50).fit(points, 1 + points[:, 0])
    assert len(model.features_) == 50
    np.testing.assert_allclose(model.predict(points), 1 + points[:, 0], rtol=0.01)
