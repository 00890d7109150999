"""A surrogate that asks a device where it is not sure, and settings that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leti_opt import DeviceLatencyObjective, LatencyStore, SurrogateObjective
from leti_opt.errors import InfeasibleError, InvalidInputError, NotFoundError
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import CONV, DEEP, NETWORK, objective_on
from tests.objective.fixed_predictor import FixedPredictor


class TestFallback:
    def test_an_unsure_prediction_asks_the_device_and_is_counted(self) -> None:
        device = ScriptedDevice([steady(2.25)])
        objective = SurrogateObjective(FixedPredictor(share=0.11), fallback=objective_on(device))
        evaluation = objective.evaluate(CONV)
        assert (evaluation.latency_ms, evaluation.answer.status) == (2.25, "measured")
        assert (objective.asked_device, device.timed_runs) == (1, 1)
        assert objective.best().status == "measured"
        assert objective.best().prediction is None

    def test_a_sure_prediction_does_not(self) -> None:
        device = ScriptedDevice([])
        objective = SurrogateObjective(FixedPredictor(share=0.09), fallback=objective_on(device))
        assert objective(CONV) == 3.0
        assert (objective.asked_device, device.loads) == (0, [])

    def test_how_unsure_is_too_unsure_can_be_said(self) -> None:
        objective = SurrogateObjective(
            FixedPredictor(share=0.11), fallback=objective_on(ScriptedDevice([])), unsure_above=0.2
        )
        assert objective.evaluate(CONV).answer.status == "predicted"

    @pytest.mark.parametrize("share", [float("inf"), float("nan")])
    def test_a_predictor_without_an_interval_is_unsure(self, share: float) -> None:
        device = ScriptedDevice([steady(2.0)])
        assert SurrogateObjective(FixedPredictor(share=share), fallback=objective_on(device))(CONV) == 2.0

    def test_a_figure_that_is_no_latency_asks_the_device(self) -> None:
        device = ScriptedDevice([steady(2.0)])
        assert SurrogateObjective(FixedPredictor(offset=-9.0), fallback=objective_on(device))(CONV) == 2.0

    def test_an_infeasible_answer_of_the_device_is_the_penalty_of_the_fallback(self) -> None:
        device = ScriptedDevice([], load_script=[InfeasibleError("refused")])
        objective = SurrogateObjective(FixedPredictor(share=0.5), fallback=objective_on(device, penalty_ms=123.0))
        assert objective(CONV) == 123.0
        with pytest.raises(NotFoundError):
            objective.best()

    def test_what_its_store_knows_as_refused_is_not_predicted(self, tmp_path: Path) -> None:
        path = tmp_path / "latency.db"
        refusing = ScriptedDevice([steady(1.0)], load_script=[None, InfeasibleError("refused")])
        measured = objective_on(refusing, LatencyStore(path))
        measured(DEEP)
        measured(CONV)
        objective = SurrogateObjective(FixedPredictor(), fallback=objective_on(ScriptedDevice([]), LatencyStore(path)))
        assert objective.evaluate(CONV).answer.status == "infeasible"
        assert objective.asked_device == 0

    def test_another_network_is_refused_with_what_differs(self) -> None:
        with pytest.raises(InvalidInputError, match="filters=8 and 16"):
            SurrogateObjective(
                FixedPredictor(),
                fallback=DeviceLatencyObjective(ScriptedDevice([]), NETWORK.changed(filters=16), store=":memory:"),
            )

    def test_settings_of_both_must_agree(self) -> None:
        fallback = objective_on(ScriptedDevice([]), penalty_ms=5.0)
        assert SurrogateObjective(FixedPredictor(), fallback=fallback).penalty_ms == 5.0
        with pytest.raises(InvalidInputError, match=r"penalty_ms is 6.0 here and 5.0 in the fallback"):
            SurrogateObjective(FixedPredictor(), fallback=fallback, penalty_ms=6.0)

    def test_a_simulated_fallback_stays_simulated(self) -> None:
        objective = SurrogateObjective(FixedPredictor(share=0.5), fallback=objective_on("replay:formula?seed=1"))
        assert objective.evaluate(CONV).answer.status == "simulated"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer": "median"}, "unknown answer 'median'"),
        ({"answer": "optimist"}, "did you mean 'optimistic'"),
        ({"coverage": 90}, "between 0 and 1"),
        ({"unsure_above": -0.1}, "unsure_above is a share"),
        ({"penalty_ms": 0.0}, "penalty_ms must be a positive finite number"),
        ({"on_infeasible": "ignore"}, "on_infeasible must be"),
        ({"skip_forecast": "paper-202"}, "did you mean 'paper-2020'"),
        ({"store": "latency.db"}, "store and device belong together"),
        ({"fallback": "host-cpu"}, "a fallback is a DeviceLatencyObjective"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        SurrogateObjective(FixedPredictor(), **settings)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no store"):
        SurrogateObjective(FixedPredictor(), store=tmp_path / "typo.db", device="host-cpu")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFoundError, match="has no results of"):
        SurrogateObjective(FixedPredictor(), store=LatencyStore(":memory:"), device="host-cpu")
