from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.cells import Cells
from leti_opt.predictor.evaluation import Split, evaluate
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.held_out import half_width_share, held_out_scores
from leti_opt.predictor.held_out_error import hold_out
from leti_opt.predictor.line import LineRegressor
from leti_opt.predictor.metrics import coverage
from leti_opt.predictor.plain import PlainPredictor
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table


class Learned(FlopsPredictor):
    """Remembers which cells any of its kind was fitted to."""

    seen: list[set[str]]

    def fit(self, asked: Cells, latency_ms: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Learned:
        type(self).seen.append({str(cell.graph_hash) for cell in asked})  # type: ignore[union-attr]
        return super().fit(asked, latency_ms, sample_weight=sample_weight)


def test_a_cell_is_never_held_out_while_its_equal_is_learned() -> None:
    table = small_table(20)
    twice = table[[*range(20), *range(20)]]
    fair = np.arange(10)
    Learned.seen = []
    held = hold_out(Learned(SMALL), twice, made_up_latency_ms(twice), fair, 0.9)
    assert len(held.errors) == 10
    for fold, seen in enumerate(Learned.seen):
        assert not seen & set(table[fair[fold::5]].graph_hashes)
        assert len(seen) == 18
    assert len(Learned.seen) == 5


@pytest.mark.parametrize("kind", [FlopsPredictor, BoostedTreesPredictor])
def test_cells_without_weight_change_neither_predictions_nor_intervals(kind: type[PlainPredictor]) -> None:
    table = small_table(40)
    latency_ms = made_up_latency_ms(table)
    used = np.arange(40) % 2 == 0
    weighted = kind(SMALL).fit(table, np.where(used, latency_ms, 1e6), sample_weight=used)
    alone = kind(SMALL).fit(table[np.flatnonzero(used)], latency_ms[used])
    np.testing.assert_allclose(weighted.predict(table), alone.predict(table), rtol=1e-6)
    np.testing.assert_allclose(weighted.predict_interval(table), alone.predict_interval(table), rtol=1e-6)


@pytest.mark.parametrize("kind", [FlopsPredictor, BoostedTreesPredictor])
def test_one_cell_with_weight_is_enough_and_has_no_interval(kind: type[PlainPredictor]) -> None:
    table = small_table(12)
    weights = np.arange(12) == 5
    predictor = kind(SMALL).fit(table, made_up_latency_ms(table), sample_weight=weights)
    assert np.isfinite(predictor.predict(table)).all()
    assert np.isinf(predictor.predict_interval(table)[1]).all()


@pytest.mark.parametrize(
    ("count", "share", "known"), [(8, 0.9, False), (9, 0.9, True), (18, 0.95, False), (3, 0.7, True)]
)
def test_few_errors_have_no_wide_interval(count: int, share: float, known: bool) -> None:
    assert np.isfinite(half_width_share(np.linspace(0.01, 0.2, count), share)) == known


@pytest.mark.parametrize("count", [9, 19, 60])
def test_further_errors_are_held_as_often_as_is_said(count: int) -> None:
    draw = np.random.default_rng(0)
    held: list[float] = []
    for _ in range(3000):
        scores = np.sort(np.abs(draw.standard_normal(count)))
        held.append(abs(float(draw.standard_normal())) <= half_width_share(scores, 0.9))
    assert 0.88 < np.mean(held) < 0.93


def test_scores_are_those_of_regressors_that_have_not_seen_the_row() -> None:
    along = np.arange(30.0)[:, np.newaxis]
    targets = 1.0 + along[:, 0]
    spoiled = targets.copy()
    spoiled[7] = 500.0
    weights: NDArray[np.float64] = np.ones(30)
    exact = held_out_scores(LineRegressor(), along, targets, weights, 5, 0)
    assert exact.max() < 1e-9
    assert held_out_scores(LineRegressor(), along, spoiled, weights, 5, 0).max() > 10


def test_an_interval_without_an_end_holds_what_is_measured() -> None:
    assert coverage([0.0, 1.0], [np.inf, 2.0], [5.0, 3.0]) == 0.5
    with pytest.raises(InvalidInputError, match="upper ends"):
        coverage([0.0], [np.nan], [5.0])


def test_a_predictor_of_few_cells_can_be_judged() -> None:
    table = small_table(30)
    found = evaluate(FlopsPredictor(SMALL), table, made_up_latency_ms(table), Split(np.arange(4), np.arange(4, 30)))
    assert found.coverage == 1.0
