"""The surrogate: what it predicts, what it says of its figures, what it refuses, and when it asks a device."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nevergrad as ng
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import (
    AccuracyLatencyObjective,
    Architecture,
    ArchitectureSpace,
    DeviceLatencyObjective,
    LatencyStore,
    NetworkConfig,
    SurrogateObjective,
)
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InfeasibleError, InvalidInputError, InvalidSearchError, NotFoundError, UnknownOperationError
from leti_opt.objective.answers import Source
from leti_opt.objective.predicted import PredictedAnswer
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.search import ArchitectureSearch, SearchSettings
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import CONV, DEEP, NETWORK, objective_on
from tests.objective.fixed_predictor import FixedPredictor
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

SLICING = Architecture.parse("0-1,1-2,1-3,2-4,3-4:conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu")
ODD = NetworkConfig.small(filters=7)
"""Channels that three vertices cannot share evenly, so that the cells of :data:`SLICING` slice."""


@pytest.fixture(scope="module")
def fitted() -> KernelPredictor:
    table = small_table(60)
    return KernelPredictor(SMALL).fit(table, made_up_latency_ms(table))


def test_a_call_answers_the_prediction_in_milliseconds(fitted: KernelPredictor) -> None:
    found = SurrogateObjective(fitted)(CONV)
    assert isinstance(found, float)
    assert found == pytest.approx(fitted.predict(CONV)[0], rel=1e-9)


def test_what_is_predicted_says_so_and_by_whom(fitted: KernelPredictor) -> None:
    objective = SurrogateObjective(fitted)
    answer = objective.evaluate(CONV).answer
    assert (answer.status, answer.source, answer.measurement) == ("predicted", Source.PREDICTOR, None)
    assert isinstance(answer, PredictedAnswer)
    assert answer.prediction is not None
    assert answer.prediction.predictor == "KernelPredictor"
    assert answer.prediction.training_digest == fitted.training_digest_
    assert answer.prediction.lower_ms <= answer.prediction.mean_ms <= answer.prediction.upper_ms
    assert objective.counts == {(Source.PREDICTOR, "predicted"): 1}


@pytest.mark.parametrize(("answer", "told"), [("mean", 3.0), ("optimistic", 2.85), ("pessimistic", 3.15)])
def test_an_end_of_the_interval_is_answered_on_request(answer: Any, told: float) -> None:
    assert SurrogateObjective(FixedPredictor(), answer=answer)(CONV) == pytest.approx(told)


def test_a_wider_coverage_is_more_cautious() -> None:
    narrow, wide = (SurrogateObjective(FixedPredictor(), answer="pessimistic", coverage=c) for c in (0.5, 0.95))
    assert narrow(CONV) < wide(CONV)


def test_unpruned_and_relabelled_cells_are_answered_as_the_network_that_is_built() -> None:
    objective = SurrogateObjective(FixedPredictor())
    dangling = Architecture.parse("0-1,0-2,1-3:conv3x3-bn-relu,maxpool3x3")
    assert objective(dangling) == objective(CONV)


def test_best_is_the_best_predicted_and_never_called_measured() -> None:
    objective = SurrogateObjective(FixedPredictor())
    with pytest.raises(NotFoundError, match="no latency was predicted"):
        objective.best()
    objective(DEEP)
    objective(CONV)
    best = objective.best()
    assert (best.architecture, best.latency_ms, best.status) == (CONV, 3.0, "predicted")
    assert best.measurement is None
    assert best.prediction is not None


@pytest.mark.parametrize("name", ["DE", "DiscreteOnePlusOne"])
def test_nevergrad_minimizes_it(fitted: KernelPredictor, name: str) -> None:
    space = ArchitectureSpace()
    space.random_state.seed(1)
    objective = SurrogateObjective(fitted)
    recommended = ng.optimizers.registry[name](space, budget=25).minimize(objective)
    assert len(objective.evaluations) == 25
    assert objective.best().latency_ms <= objective(recommended.value)


def test_ask_and_tell_with_threads_and_with_processes(fitted: KernelPredictor) -> None:
    objective = SurrogateObjective(fitted)
    for pool in (ThreadPoolExecutor(2), ProcessPoolExecutor(2, mp_context=get_context("spawn"))):
        space = ArchitectureSpace()
        space.random_state.seed(1)
        optimizer = ng.optimizers.RandomSearch(space, budget=4, num_workers=2)
        with pool:
            candidates = [optimizer.ask() for _ in range(4)]
            for candidate, loss in zip(
                candidates, pool.map(objective, [each.value for each in candidates]), strict=True
            ):
                assert loss == objective(candidate.value)
                optimizer.tell(candidate, loss)


def test_a_pickled_copy_answers_the_same_and_begins_to_count_anew(fitted: KernelPredictor) -> None:
    objective = SurrogateObjective(fitted, answer="pessimistic", penalty_ms=7.0)
    told = objective(CONV)
    copy = pickle.loads(pickle.dumps(objective))
    assert copy.evaluations == ()
    assert copy(CONV) == told
    assert copy.penalty_ms == 7.0


def test_a_pickled_copy_brings_its_fallback_along(tmp_path: Path) -> None:
    fallback = DeviceLatencyObjective("replay:formula?seed=1", NETWORK, store=tmp_path / "latency.db")
    objective = SurrogateObjective(FixedPredictor(share=0.5), fallback=fallback)
    told = objective(CONV)
    copy = pickle.loads(pickle.dumps(objective))
    assert (copy.asked_device, copy(CONV), copy.asked_device) == (0, told, 1)
    assert copy.fallback.service.counts[Source.STORE, "simulated"] == 1


class TestManyAtOnce:
    def test_many_are_answered_as_each_alone(self, fitted: KernelPredictor) -> None:
        objective = SurrogateObjective(fitted, answer="pessimistic")
        table = small_table(20, seed=3)
        found = objective.evaluate_many(table)
        assert len(found) == 20
        assert found.counts == {"predicted": 20}
        assert found.training_digest == fitted.training_digest_
        np.testing.assert_allclose(found.latency_ms, [objective(cell) for cell in table], rtol=1e-5)
        assert (found.lower_ms <= found.mean_ms).all()
        assert (found.mean_ms <= found.latency_ms).all()

    def test_a_list_is_as_good_as_a_table_and_nothing_counts_as_a_call(self) -> None:
        objective = SurrogateObjective(FixedPredictor())
        assert objective.evaluate_many([DEEP, CONV]).latency_ms.tolist() == [4.0, 3.0]
        assert objective.evaluations == ()

    def test_verdicts_are_the_same_for_many_and_for_one(self) -> None:
        objective = SurrogateObjective(FixedPredictor(ODD), skip_forecast="paper-2020", penalty_ms=77.0)
        found = objective.evaluate_many([CONV, SLICING, DEEP])
        assert found.statuses.tolist() == ["predicted", "skipped", "predicted"]
        assert found.latency_ms.tolist() == [3.0, 77.0, 4.0]
        assert np.isnan(found.mean_ms[1])
        assert [objective(cell) for cell in (CONV, SLICING, DEEP)] == found.latency_ms.tolist()

    def test_raising_names_the_first_that_is_infeasible(self) -> None:
        objective = SurrogateObjective(FixedPredictor(ODD), skip_forecast="paper-2020", on_infeasible="raise")
        with pytest.raises(InfeasibleError, match=r"row 1, .*skipped, forecast paper-2020"):
            objective.evaluate_many([CONV, SLICING])

    def test_raising_comes_before_anything_is_measured(self) -> None:
        device = ScriptedDevice([])
        fallback = DeviceLatencyObjective(
            device, ODD, store=":memory:", skip_forecast="paper-2020", on_infeasible="raise"
        )
        with pytest.raises(InfeasibleError, match="row 1"):
            SurrogateObjective(FixedPredictor(ODD, share=0.5), fallback=fallback).evaluate_many([CONV, SLICING])
        assert device.loads == []

    def test_unsure_ones_are_measured(self) -> None:
        fallback = objective_on(ScriptedDevice(lambda _: [steady(9.0)]))
        found = SurrogateObjective(FixedPredictor(share=0.5), fallback=fallback).evaluate_many([CONV, DEEP])
        assert found.statuses.tolist() == ["measured", "measured"]
        assert found.latency_ms.tolist() == [9.0, 9.0]
        assert found.mean_ms.tolist() == [3.0, 4.0]

    @given(st.lists(st.integers(0, 59), min_size=1, max_size=12))
    @settings(max_examples=20, deadline=None)
    def test_any_choice_of_cells_is_answered_row_by_row(self, rows: list[int]) -> None:
        table = small_table(60)
        objective = SurrogateObjective(FixedPredictor(SMALL), skip_forecast="paper-2020")
        whole = objective.evaluate_many(table)
        found = objective.evaluate_many(table[rows])
        assert found.latency_ms.tolist() == whole.latency_ms[rows].tolist()
        assert found.statuses.tolist() == whole.statuses[rows].tolist()

    @pytest.mark.parametrize("bad", [5, ["0-1:"], [CONV, None]])
    def test_something_else_than_cells_is_refused(self, bad: Any) -> None:
        with pytest.raises(InvalidInputError, match="Architectures or an ArchitectureTable"):
            SurrogateObjective(FixedPredictor()).evaluate_many(bad)

    def test_no_cell_at_all_gives_no_row(self) -> None:
        found = SurrogateObjective(FixedPredictor()).evaluate_many(ArchitectureTable.from_architectures([]))
        assert (len(found), found.counts) == (0, {})


class TestInfeasible:
    WIDE = Architecture.parse("0-1,0-2,0-3,1-4,2-4,3-4:maxpool3x3,maxpool3x3,maxpool3x3")

    def test_a_cell_that_cannot_be_built_costs_the_penalty_or_raises(self) -> None:
        network = NETWORK.changed(filters=2)
        objective = SurrogateObjective(FixedPredictor(network), penalty_ms=55.0)
        evaluation = objective.evaluate(self.WIDE)
        assert (evaluation.latency_ms, evaluation.answer.status) == (55.0, "infeasible")
        assert "2 filters cannot be shared" in str(evaluation.answer.failure)
        assert objective.evaluate_many([CONV, self.WIDE]).statuses.tolist() == ["predicted", "infeasible"]
        with pytest.raises(InfeasibleError, match="cannot be shared"):
            SurrogateObjective(FixedPredictor(network), on_infeasible="raise")(self.WIDE)

    def test_a_forecast_that_was_asked_for_skips(self) -> None:
        answer = SurrogateObjective(FixedPredictor(ODD), skip_forecast="paper-2020").evaluate(SLICING).answer
        assert (answer.status, answer.source) == ("skipped", Source.FORECAST)
        assert SurrogateObjective(FixedPredictor(ODD)).evaluate(SLICING).answer.status == "predicted"

    def test_what_a_device_refused_before_is_infeasible_without_asking_it(self, tmp_path: Path) -> None:
        path = tmp_path / "latency.db"
        refusing = ScriptedDevice([steady(1.0)], load_script=[None, InfeasibleError("operator SLICE is refused")])
        measured = objective_on(refusing, LatencyStore(path))
        assert measured(DEEP) == 1.0
        assert measured.evaluate(CONV).answer.status == "infeasible"
        idle = ScriptedDevice([])
        objective = SurrogateObjective(FixedPredictor(), store=path, device=idle)
        evaluation = objective.evaluate(CONV)
        assert (evaluation.latency_ms, evaluation.answer.source) == (objective.penalty_ms, Source.STORE)
        assert evaluation.answer.failure == "operator SLICE is refused"
        assert objective.evaluate_many([DEEP, CONV]).statuses.tolist() == ["predicted", "infeasible"]
        assert idle.loads == []

    def test_what_a_device_ran_is_not_skipped_on_a_forecast(self, tmp_path: Path) -> None:
        store = LatencyStore(tmp_path / "latency.db")
        DeviceLatencyObjective(ScriptedDevice([steady(2.0)]), ODD, store=store)(SLICING)
        objective = SurrogateObjective(
            FixedPredictor(ODD), store=store, device=ScriptedDevice([]), skip_forecast="paper-2020"
        )
        assert objective.evaluate(SLICING).answer.status == "predicted"
        assert objective.evaluate_many([SLICING]).statuses.tolist() == ["predicted"]

    def test_an_operation_that_the_network_does_not_know_is_the_callers_mistake(self) -> None:
        cell = Architecture.parse("0-1,1-2:mystery:mystery")
        objective = SurrogateObjective(FixedPredictor())
        for ask in (objective, lambda one: objective.evaluate_many([one])):
            with pytest.raises(UnknownOperationError, match="mystery"):
                ask(cell)

    def test_a_figure_that_is_no_latency_is_no_answer(self) -> None:
        objective = SurrogateObjective(FixedPredictor(offset=-3.5))
        evaluation = objective.evaluate(CONV)
        assert (evaluation.latency_ms, evaluation.answer.status) == (objective.penalty_ms, "unpredicted")
        assert "predicts -0.5 ms" in str(evaluation.answer.failure)
        assert objective.evaluate_many([CONV, DEEP]).statuses.tolist() == ["unpredicted", "predicted"]
        assert objective(DEEP) == objective.best().latency_ms == 0.5


def test_something_else_than_a_fitted_predictor_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="call fit first"):
        SurrogateObjective(FlopsPredictor(SMALL))
    with pytest.raises(InvalidInputError, match="needs a LatencyPredictor"):
        SurrogateObjective("predictor.leti")  # type: ignore[arg-type]


def test_something_else_than_a_cell_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="ArchitectureSpace"):
        SurrogateObjective(FixedPredictor())("0-1:")  # type: ignore[arg-type]


class TestTwoLosses:
    def test_a_predicted_latency_stands_beside_an_accuracy(self) -> None:
        objective = AccuracyLatencyObjective(lambda _: 0.75, SurrogateObjective(FixedPredictor()))
        assert objective(CONV) == [0.25, 3.0]

    def test_an_infeasible_cell_is_not_trained(self) -> None:
        def never(_: Architecture) -> float:
            raise AssertionError("trained what cannot run")

        surrogate = SurrogateObjective(FixedPredictor(ODD), skip_forecast="paper-2020", penalty_ms=9.0)
        assert AccuracyLatencyObjective(never, surrogate)(SLICING) == [1.0, 9.0]

    def test_a_search_with_a_journal_wants_a_device(self) -> None:
        objective = AccuracyLatencyObjective(lambda _: 0.5, SurrogateObjective(FixedPredictor()))
        with pytest.raises(InvalidSearchError, match="hand it to nevergrad's minimize"):
            ArchitectureSearch(objective, SearchSettings("DE", budget=3))
