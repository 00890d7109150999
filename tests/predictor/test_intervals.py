"""What intervals rest on, how a smooth function is said with fewer points, and which view of a cell is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt import NAS_BENCH_201
from leti_opt.predictor.additive_fit import fit_additive, held_out_errors
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.kernel_features import columns_of, kernel_features
from leti_opt.predictor.kernel_model import unpruned_explains_more
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.residual_process import condition, left_out
from leti_opt.predictor.size_calibration import SizeCalibration
from leti_opt.predictor.support_points import support
from tests.predictor.samples import NATIVE

Floats = NDArray[np.float64]


def calibration(scores: list[float], sizes: list[float]) -> SizeCalibration:
    return SizeCalibration(np.array(scores), np.array(sizes), np.ones(len(scores)))


class TestSizes:
    def test_a_size_with_larger_errors_has_a_larger_factor(self) -> None:
        found = calibration([1.0] * 40 + [3.0] * 40, [5.0] * 40 + [1.0] * 40).factor(np.array([5.0, 1.0]))
        assert found[1] > 2 * found[0]

    def test_one_score_of_a_size_counts_for_little(self) -> None:
        scores = [1.0] * 40 + [3.0]
        found = calibration(scores, [5.0] * 40 + [1.0]).factor(np.array([1.0]))[0]
        assert 1 < found < 0.7 * 3.0 / np.mean(scores)

    def test_an_unknown_size_has_that_of_all_raised_for_its_doubt(self) -> None:
        found = calibration([1.0] * 50, [3.0] * 50)
        assert found.factor(np.array([9.0]))[0] == pytest.approx(1 + found.doubt / found.prior)

    @given(st.lists(st.floats(0.01, 10), min_size=2, max_size=40), st.integers(1, 4))
    @settings(max_examples=50, deadline=None)
    def test_more_coverage_is_never_narrower(self, scores: list[float], sizes: int) -> None:
        found = calibration(scores, [float(row % sizes) for row in range(len(scores))])
        widths = [found.width(coverage) for coverage in (0.1, 0.5, 0.9, 0.99)]
        assert widths == sorted(widths)

    @pytest.mark.parametrize(("count", "known"), [(1, False), (8, False), (9, True)])
    def test_so_few_scores_that_none_can_be_beyond_the_interval_tell_no_width(self, count: int, known: bool) -> None:
        width = SizeCalibration(np.ones(count), np.ones(count), np.ones(count)).width(0.9)
        assert np.isfinite(width) == known

    @pytest.mark.slow
    def test_intervals_hold_more_of_rare_rows_where_sizes_are_told_apart(self) -> None:
        draw = np.random.default_rng(3)

        def rows(count: int, small_share: float) -> tuple[Floats, Floats]:
            small = draw.random(count) < small_share
            sizes = np.where(small, 1.0, draw.integers(4, 7, count))
            targets = 5 + sizes + np.where(small, 0.25, 0.05) * draw.standard_normal(count)
            return np.stack([sizes, draw.standard_normal(count)], axis=1), targets

        points, targets = rows(2000, 0.5)
        small = points[:, 0] == 1
        train = rows(500, 0.06)
        held = {}
        for size in ([], [0]):
            model = KernelRegressor(size=size).fit(*train)
            held[len(size)] = np.abs(model.predict(points) - targets) <= model.half_widths(points, 0.9)
        assert held[1][small].mean() > held[0][small].mean() + 0.1
        assert 0.84 < held[1][~small].mean() < 0.97


def test_held_out_errors_are_those_of_fits_to_the_other_folds() -> None:
    draw = np.random.default_rng(5)
    columns = draw.standard_normal((20, 2))
    targets = 9 + columns @ np.array([1.0, 0.5]) + 0.1 * draw.standard_normal(20)
    errors = held_out_errors([columns], targets, np.ones(20), folds=20, seed=0)
    rest = np.arange(20) != 4
    fitted = fit_additive([columns[rest]], targets[rest], np.ones(19))
    predicted = fitted.unit * float(np.append(columns[4], 1.0) @ fitted.coefficients)
    assert errors[4] == pytest.approx(targets[4] / predicted - 1)


def test_one_row_left_out_of_a_process_is_what_its_inverse_tells() -> None:
    draw = np.random.default_rng(6)
    points = draw.standard_normal((30, 3))
    covariance, noise = points @ points.T, draw.uniform(0.1, 0.3, 30)
    residuals = draw.standard_normal(30)
    whole = condition(covariance, residuals, noise)
    rest = np.delete(np.arange(30), 11)
    errors, variances = left_out(covariance, residuals, noise, np.array([11]), rest)
    assert errors[0] == pytest.approx(whole.errors[11])
    assert variances[0] == pytest.approx(whole.variances[11], abs=1e-6)


class TestSupport:
    points = np.sort(np.random.default_rng(7).uniform(0, 1, 700))
    covariance = np.exp(-np.abs(points[:, np.newaxis] - points))
    dual = np.random.default_rng(8).standard_normal(700) / 700

    @pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
    def test_fewer_points_are_off_by_no_more_than_was_allowed(self, tolerance: float) -> None:
        rows, weights = support(self.covariance, self.dual, tolerance)
        off = self.covariance[:, rows] @ weights - self.covariance @ self.dual
        assert np.sqrt(np.mean(off**2)) <= tolerance
        assert len(set(rows.tolist())) == len(rows)

    def test_all_are_kept_where_nothing_is_allowed(self) -> None:
        rows, weights = support(self.covariance, self.dual, 0.0)
        assert rows.tolist() == list(range(700))
        assert weights is self.dual

    def test_equal_points_are_no_obstacle(self) -> None:
        rows, weights = support(np.ones((400, 400)), np.full(400, 0.5), 1e-3)
        assert rows.tolist() == [0]
        assert weights[0] == pytest.approx(200, rel=1e-3)


def test_no_prediction_is_far_below_all_targets() -> None:
    points = np.linspace(0, 1, 400)[:, np.newaxis]
    targets = 2 + 8 * points[:, 0] + 0.3 * np.random.default_rng(9).standard_normal(400)
    predicted = KernelRegressor().fit(points, targets).predict([[-1.0], [-0.05], [0.5]])
    assert predicted[0] == predicted[:2].min() > 0.85 * targets.min()
    assert predicted[2] == pytest.approx(6, abs=0.2)


class TestView:
    @staticmethod
    def cells() -> CellRows:
        choices = np.random.default_rng(10).integers(0, 5, (700, 6))
        reached = (choices[:, 3] > 0) | ((choices[:, 0] > 0) & (choices[:, 4] > 0))
        return CellRows.from_native(choices[reached], NAS_BENCH_201)

    def seen(self, group: str, outliers: int) -> bool:
        """Whether dead ends seem to count, if latencies are a sum of this group's counts and some cells are odd."""
        found = kernel_features(self.cells(), NATIVE)
        counts = found.values[:, columns_of(found.names, group)]
        draw = np.random.default_rng(11)
        latency_ms = (5 + counts @ np.arange(1.0, 1.0 + counts.shape[1])) * np.exp(
            0.02 * draw.standard_normal(len(counts))
        )
        latency_ms[draw.choice(len(counts), outliers, replace=False)] *= 3
        return unpruned_explains_more(found.values, found.names, latency_ms, np.ones(len(counts)))

    def test_dead_ends_that_cost_time_are_seen(self) -> None:
        assert self.seen("unpruned_counts", outliers=0)

    @pytest.mark.parametrize("outliers", [0, 25])
    def test_dead_ends_that_cost_nothing_are_not_looked_at(self, outliers: int) -> None:
        assert not self.seen("counts", outliers)
