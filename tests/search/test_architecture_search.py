"""A search that can be stopped anywhere and goes on where it was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leti_opt import AccuracyLatencyObjective, Architecture, LatencyStore, NetworkConfig, SpaceDefinition
from leti_opt.device.device import DeviceEpoch
from leti_opt.errors import DeviceError, InvalidSearchError, UnknownOperationError
from leti_opt.search import ArchitectureSearch, SearchSettings
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import objective_on

REPLAY = "replay:formula?seed=1&unstable=0.15&infeasible=0.1"


def run(store: str | LatencyStore = ":memory:", device: Any = REPLAY, **settings: Any) -> list[tuple[str, Any]]:
    search = ArchitectureSearch(objective_on(device, store), SearchSettings(**{"budget": 25, "seed": 1, **settings}))
    return [(str(step.evaluation.architecture), step.losses) for step in search.run().steps]


@pytest.mark.parametrize("optimizer", ["DE", "NGOpt", "DiscreteOnePlusOne", "CMA", "RandomSearch"])
def test_the_same_seed_gives_the_same_search(optimizer: str) -> None:
    assert run(optimizer=optimizer) == run(optimizer=optimizer)


def test_another_seed_gives_another_search() -> None:
    assert run(seed=1) != run(seed=2)


def test_a_finished_search_is_repeated_from_the_store(tmp_path: Path) -> None:
    path = str(tmp_path / "latency.db")
    first = run(path)
    with LatencyStore(path) as store:
        before = store.info()
    assert run(path) == first
    with LatencyStore(path) as store:
        assert (store.info().measurements, store.info().evaluations) == (before.measurements, 25)


def test_a_search_that_lost_its_device_goes_on_where_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "latency.db")
    latencies = iter(range(1, 1000))

    def answers(_: object) -> list[object]:
        number = next(latencies)
        return [DeviceError("unplugged")] if number == 8 else [steady(float(number))]

    with pytest.raises(DeviceError, match="unplugged"):
        run(path, ScriptedDevice(answers))
    with LatencyStore(path) as store:
        told = store.info().evaluations
        assert store.info().measurements == 7
    assert told >= 7
    idle = ScriptedDevice(lambda _: [steady(50.0)])
    steps = run(path, idle)
    assert [losses for _, losses in steps[:7]] == [(float(number),) for number in range(1, 8)]
    assert len(steps) == 25
    with LatencyStore(path) as store:
        assert store.info().measurements == len({Architecture.parse(cell) for cell, _ in steps})


def test_after_a_system_update_a_search_starts_anew(tmp_path: Path) -> None:
    path = str(tmp_path / "latency.db")

    def told(build: str, latency_ms: float) -> set[Any]:
        device = ScriptedDevice(lambda _: [steady(latency_ms)], epoch=DeviceEpoch(build))
        return {losses for _, losses in run(path, device, budget=5)}

    assert told("kernel 1", 1.0) == {(1.0,)}
    assert told("kernel 2", 3.0) == {(3.0,)}
    assert told("kernel 1", 9.0) == {(1.0,)}


def test_an_accuracy_without_a_digest_is_never_told_anothers_answers(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    for accuracy in (0.2, 0.9):
        objective = AccuracyLatencyObjective(lambda _, share=accuracy: share, objective_on(REPLAY, store))
        result = ArchitectureSearch(objective, SearchSettings(budget=5, seed=1)).run()
        tried = [step for step in result.steps if step.evaluation.accuracy is not None]
        assert tried
        assert {step.losses[0] for step in tried} == {1.0 - accuracy}


def test_an_optimizer_that_does_not_repeat_itself_is_told_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    settings = SearchSettings("RandomSearch", budget=6, seed=1)
    first = ArchitectureSearch(objective_on(REPLAY, str(path)), settings).run()
    again = ArchitectureSearch(objective_on(REPLAY, str(path)), settings)
    make = again._optimizer

    def forgetful() -> Any:
        optimizer = make()
        optimizer.parametrization.random_state.seed(999)
        return optimizer

    again._optimizer = forgetful  # type: ignore[method-assign]
    cells = [[step.evaluation.architecture for step in result.steps] for result in (first, again.run())]
    assert cells[0] == cells[1]


def test_workers_are_told_in_the_order_of_asking() -> None:
    steps = run(workers=3, optimizer="DE")
    assert steps == run(workers=3, optimizer="DE")
    assert len(steps) == 25


def test_a_time_limit_stops_and_the_journal_is_repeated_whatever_the_time(tmp_path: Path) -> None:
    path = str(tmp_path / "latency.db")
    search = ArchitectureSearch(objective_on(REPLAY, path), SearchSettings(budget=None, time_limit_s=0.5, seed=1))
    first = search.run()
    assert first.steps
    short = ArchitectureSearch(objective_on(REPLAY, path), SearchSettings(budget=None, time_limit_s=1e-6, seed=1))
    assert len(short.run().steps) == len(first.steps)


def test_the_front_holds_only_what_was_measured_to_the_rule() -> None:
    latency = objective_on(REPLAY)
    objective = AccuracyLatencyObjective(lambda cell: len(cell.pruned()) / 10, latency)
    result = ArchitectureSearch(objective, SearchSettings(budget=60, seed=4)).run()
    states = {step.evaluation.answer.status for step in result.steps}
    assert states == {"simulated", "provisional", "infeasible"}, "the landscape has all three"
    assert result.front
    assert {evaluation.answer.status for evaluation in result.front} == {"simulated"}
    latencies = [evaluation.latency_ms for evaluation in result.front]
    accuracies = [evaluation.accuracy for evaluation in result.front]
    assert latencies == sorted(latencies)
    assert accuracies == sorted(accuracies, key=lambda value: value or 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget must be 1"),
        ({"budget": None}, "budget or a time limit"),
        ({"time_limit_s": 0.0}, "time limit"),
        ({"workers": 0}, "workers"),
        ({"seed": -1}, "seed"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSearchError, match=message):
        SearchSettings(**settings)


def test_an_unknown_optimizer_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidSearchError, match="DiscreteOnePlusOne"):
        ArchitectureSearch(objective_on(REPLAY), SearchSettings("DiscreteOnePlusOn"))


def test_an_operation_without_layers_is_refused_before_the_search() -> None:
    space = SpaceDefinition("own", ("mystery",), max_vertices=4)
    with pytest.raises(UnknownOperationError, match="mystery"):
        ArchitectureSearch(objective_on(REPLAY), SearchSettings(), space)


def search_command(folder: Path, device: str, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "leti_opt.cli.main", "search", "--device", device, "--network", "small",
        "--set", "filters=8", "--seed", "1", "--store", str(folder / "latency.db"),
        "--picture", str(folder / "search.png"), "--json", *more,
    ]  # fmt: skip


def finished(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def killed_once_told(command: list[str], store: Path, evaluations: int) -> int:
    """Start a search and kill it when its journal holds so many answers. Returns how many it holds then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    told = 0
    while told < evaluations:
        assert process.poll() is None, "the search ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
        if store.exists():
            with LatencyStore(store) as opened:
                told = opened.info().evaluations
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with LatencyStore(store) as opened:
        return opened.info().evaluations


def test_killed_at_three_moments_a_search_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    expected = finished(search_command(whole, REPLAY, "--budget", "300"))
    command = search_command(broken, REPLAY, "--budget", "300")
    for moment in sorted(random.Random(20261123).sample(range(1, 150), 3)):
        assert killed_once_told(command, broken / "latency.db", moment) < 300
    result = finished(command)
    for part in ("steps", "front", "flops_spearman"):
        assert result[part] == expected[part]
    assert len(result["steps"]) == 300
    tables = []
    for folder in (whole, broken):
        with LatencyStore(folder / "latency.db") as store:
            frame = (
                store.to_frame(origin="simulated", include_unstable=True)
                .sort_values("model_key")
                .reset_index(drop=True)
            )
            tables.append(frame[["model_key", "status", "mean_ms", "std_ms"]])
            assert store.info().evaluations == 300
    assert tables[0].equals(tables[1])


def test_killed_on_real_hardware_nothing_is_measured_twice(tmp_path: Path) -> None:
    command = search_command(tmp_path, "host-cpu", "--budget", "14", "--min-runs", "30", "--optimizer", "RandomSearch")
    store = tmp_path / "latency.db"
    told = killed_once_told(command, store, 5)
    with LatencyStore(store) as opened:
        (search,) = [opened.evaluations(1)]
    before = [(entry.cell, entry.losses) for entry in search]
    result = finished(command)
    assert len(before) == told
    assert len(result["steps"]) == 14
    assert [(step["cell"], tuple(step["losses"])) for step in result["steps"][:told]] == before
    with LatencyStore(store) as opened:
        frame = opened.to_frame(include_unstable=True)
    assert not frame.duplicated("model_key").any(), "measured twice"
    assert len(frame) == len({step["cell"] for step in result["steps"]})


def test_a_network_config_enters_the_identity_of_a_search() -> None:
    first = ArchitectureSearch(objective_on(REPLAY), SearchSettings()).identity()
    second = ArchitectureSearch(objective_on("replay:formula?seed=9"), SearchSettings()).identity()
    assert first != second
    assert NetworkConfig.small(filters=8).digest == first["network"]
