"""A forecast of what a GPU takes: nothing is skipped on it unless told to, and nothing of it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt import Architecture, DeviceLatencyObjective, LatencyStore, NetworkConfig, build_layer_graph
from leti_opt.errors import InfeasibleError, InvalidInputError
from leti_opt.network.gpu_support import gpu_support
from leti_opt.objective.answers import Source
from leti_opt.report.search_report import counts_text, failure_reasons, search_counts
from leti_opt.search import ArchitectureSearch, SearchSettings
from tests.contracts.scripted_device import ScriptedDevice, steady

NETWORK = NetworkConfig.small(filters=7)
SLICING = Architecture.parse("0-1,1-2,1-3,2-4,3-4:conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu")
PLAIN = Architecture.parse("0-1,1-2:conv3x3-bn-relu")


def test_the_cells_are_what_they_are_named_for() -> None:
    refusals = gpu_support(build_layer_graph(SLICING, NETWORK), "paper-2020").refusals
    assert {refusal.operator for refusal in refusals} == {"SLICE"}
    assert gpu_support(build_layer_graph(PLAIN, NETWORK), "paper-2020").supported


def test_by_default_the_device_is_asked_whatever_a_forecast_says() -> None:
    objective = DeviceLatencyObjective(ScriptedDevice([steady(2.0)]), NETWORK, store=":memory:")
    assert objective(SLICING) == 2.0


def test_told_to_skip_it_answers_the_penalty_without_asking_and_stores_nothing(tmp_path: Path) -> None:
    device = ScriptedDevice([steady(3.0)])
    store = LatencyStore(tmp_path / "latency.db")
    objective = DeviceLatencyObjective(device, NETWORK, store=store, skip_forecast="paper-2020", penalty_ms=77.0)
    evaluation = objective.evaluate(SLICING)
    assert (evaluation.latency_ms, evaluation.answer.status) == (77.0, "skipped")
    assert evaluation.answer.source is Source.FORECAST
    assert "paper-2020" in str(evaluation.answer.failure)
    assert device.loads == []
    assert objective(SLICING) == 77.0
    assert (store.info().measurements, store.failures()) == (0, [])
    assert objective(PLAIN) == 3.0
    assert objective.best().architecture == PLAIN


def test_a_verdict_of_the_device_comes_before_the_forecast(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    DeviceLatencyObjective(ScriptedDevice([steady(2.0)]), NETWORK, store=store)(SLICING)
    later = DeviceLatencyObjective(ScriptedDevice([]), NETWORK, store=store, skip_forecast="paper-2020")
    assert later(SLICING) == 2.0


def test_skipping_can_raise_like_infeasibility() -> None:
    device = ScriptedDevice([])
    objective = DeviceLatencyObjective(
        device, NETWORK, store=":memory:", skip_forecast="paper-2020", on_infeasible="raise"
    )
    with pytest.raises(InfeasibleError, match="skipped, forecast paper-2020"):
        objective(SLICING)


def test_unknown_rules_are_refused_at_once() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'paper-2020'"):
        DeviceLatencyObjective(ScriptedDevice([]), NETWORK, store=":memory:", skip_forecast="paper-202")


def test_a_search_counts_what_it_skipped_apart() -> None:
    def searched(rules: str | None) -> ArchitectureSearch:
        latency = DeviceLatencyObjective("replay:formula?seed=1", NETWORK, store=":memory:", skip_forecast=rules)
        return ArchitectureSearch(latency, SearchSettings("RandomSearch", 30, seed=1))

    skipping, trying = searched("paper-2020"), searched(None)
    assert skipping.identity() != trying.identity()
    result = skipping.run()
    counts = search_counts(result)
    assert counts.skipped > 0
    assert counts.infeasible == 0
    assert f"{counts.skipped} skipped on a forecast" in counts_text(result, "simulated")
    assert sum(number for _, number in failure_reasons(result)) == counts.skipped
    assert search_counts(trying.run()).skipped == 0
