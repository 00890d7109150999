"""The measured objective: what it answers, what it measures, and what it keeps."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nevergrad as ng
import pytest

from leti_opt import (
    Architecture,
    ArchitectureSpace,
    DeviceLatencyObjective,
    LatencyObjective,
    LatencyStore,
    MeasurementProtocol,
    build_layer_graph,
    write_tflite,
)
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError, InvalidModelError, NotFoundError, StatisticUnavailableError
from leti_opt.objective.answers import Source
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import CONV, DEEP, NETWORK, POOL, objective_on


def test_answers_the_mean_and_measures_once() -> None:
    device = ScriptedDevice([steady(3.25)])
    objective = objective_on(device)
    assert [objective(CONV), objective(CONV)] == [3.25, 3.25]
    assert device.timed_runs == 1
    assert objective.service.counts[Source.DEVICE, "measured"] == 1
    assert objective.service.counts[Source.MEMORY, "measured"] == 1


def test_another_labelling_of_a_cell_is_the_same_network() -> None:
    device = ScriptedDevice([steady(2.0)])
    objective = objective_on(device)
    cell = Architecture.parse("0-1,0-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
    relabelled = Architecture.parse("0-1,0-2,1-3,2-3:maxpool3x3,conv3x3-bn-relu")
    assert objective(cell) == objective(relabelled)
    assert device.timed_runs == 1


def test_a_new_objective_answers_from_the_store_without_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latency.db"
    objective_on(ScriptedDevice([steady(3.0)]), LatencyStore(path))(CONV)

    def refuse(*_: object) -> None:
        raise AssertionError("built a network that the store knows")

    second = ScriptedDevice([])
    objective = objective_on(second, LatencyStore(path))
    monkeypatch.setattr("leti_opt.objective.latency.build_layer_graph", refuse)
    assert objective(CONV) == 3.0
    assert second.loads == []
    assert objective.service.counts[Source.STORE, "measured"] == 1


def test_a_measurement_is_in_the_store_before_the_answer_is_given(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    objective = objective_on(ScriptedDevice([steady(3.0), steady(4.0)]), LatencyStore(path))
    for number, cell in enumerate([CONV, DEEP], start=1):
        objective(cell)
        with LatencyStore(path) as other:
            assert other.info().measurements == number


def test_two_networks_of_one_cell_are_told_apart() -> None:
    device = ScriptedDevice([steady(1.0), steady(2.0)])
    store = LatencyStore(":memory:")
    small = DeviceLatencyObjective(device, NETWORK, store=store)
    large = DeviceLatencyObjective(device, NETWORK.changed(filters=16), store=store)
    assert (small(CONV), large(CONV)) == (1.0, 2.0)


def test_the_protocol_that_asks_decides_whether_a_stored_measurement_holds() -> None:
    store = LatencyStore(":memory:")
    batches = [RunBatch.from_runs([mean] * 299 + [1.5 * mean]) for mean in (1.0, 3.0)]
    strict = MeasurementProtocol(max_relative_std=1e-4, max_attempts=2)
    unstable = objective_on(ScriptedDevice(batches), store, protocol=strict).evaluate(CONV)
    assert unstable.answer.provisional
    assert unstable.latency_ms == pytest.approx(2.0, rel=0.01)
    loose = objective_on(ScriptedDevice([]), store).evaluate(CONV)
    assert not loose.answer.provisional
    assert loose.latency_ms == batches[1].mean_ms
    again = objective_on(ScriptedDevice([]), store, protocol=strict).evaluate(CONV)
    assert again.answer.provisional
    assert again.latency_ms == unstable.latency_ms


def test_memory_keeps_no_raw_times_and_the_store_does() -> None:
    objective = objective_on(ScriptedDevice([RunBatch.from_runs([2.0] * 300)]))
    evaluation = objective.evaluate(CONV)
    assert evaluation.answer.measurement is not None
    assert evaluation.answer.measurement.batch.runs_ms == (2.0,) * 300
    assert objective.best().measurement.batch.runs_ms is None
    (stored,) = objective.store.find(evaluation.answer.measurement.model_key, objective.device.identity)
    assert stored.batch.runs_ms == (2.0,) * 300


def test_a_stricter_protocol_measures_again_and_a_looser_one_does_not() -> None:
    store = LatencyStore(":memory:")
    device = ScriptedDevice([steady(2.0), steady(3.0, count=600)])
    protocols = [MeasurementProtocol(min_runs=runs) for runs in (300, 600, 300)]
    answers = [objective_on(device, store, protocol=protocol)(CONV) for protocol in protocols]
    assert answers == [2.0, 3.0, 3.0]
    assert device.timed_runs == 2


def test_a_statistic_is_what_it_says_or_an_error() -> None:
    runs = [1.0] * 299 + [1.2]
    assert objective_on(ScriptedDevice([RunBatch.from_runs(runs)]), statistic="max")(CONV) == 1.2
    silent = ScriptedDevice([RunBatch(count=300, mean_ms=1.0, std_ms=0.0)])
    with pytest.raises(StatisticUnavailableError, match="p95"):
        objective_on(silent, statistic="p95")(CONV)
    with pytest.raises(InvalidInputError, match="did you mean 'median'"):
        objective_on(silent, statistic="medina")


def test_eight_threads_that_ask_for_one_network_measure_it_once() -> None:
    device = ScriptedDevice([steady(2.0)])
    objective = objective_on(device)
    barrier = threading.Barrier(8)

    def ask(_: int) -> float:
        barrier.wait()
        return objective(CONV)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {2.0}
    assert device.timed_runs == 1


def test_measurements_of_several_threads_queue() -> None:
    running: list[int] = []
    most = []

    class Watched(ScriptedDevice):
        def load(self, model):  # type: ignore[no-untyped-def]
            running.append(1)
            most.append(len(running))
            session = super().load(model)
            close = session.close

            def closed() -> None:
                if running:
                    running.pop()
                close()

            session.close = closed
            return session

    space = ArchitectureSpace()
    space.random_state.seed(3)
    optimizer = ng.optimizers.RandomSearch(space, budget=12, num_workers=4)
    objective = objective_on(Watched(lambda _: [steady(2.0)]))
    with ThreadPoolExecutor(4) as pool:
        optimizer.minimize(objective, executor=pool)
    assert len(most) >= 8
    assert max(most) == 1


def test_works_in_ask_and_tell() -> None:
    space = ArchitectureSpace()
    space.random_state.seed(0)
    optimizer = ng.optimizers.registry["DiscreteOnePlusOne"](space, budget=8)
    objective = objective_on("replay:formula?seed=1")
    for _ in range(8):
        candidate = optimizer.ask()
        optimizer.tell(candidate, objective(candidate.value))
    assert optimizer.num_tell == 8
    assert objective.best().latency_ms == min(evaluation.latency_ms for evaluation in objective.evaluations)


def test_works_pickled_in_other_processes_on_one_store(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    objective = objective_on("replay:formula?seed=1", str(path))
    expected = [objective_on("replay:formula?seed=1")(cell) for cell in (CONV, DEEP, POOL)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(objective, (CONV, DEEP, POOL))) == expected
    with LatencyStore(path) as store:
        assert store.info().measurements == 3


def test_pickling_keeps_settings_and_past_evaluations() -> None:
    objective = objective_on("replay:formula?seed=1", "sqlite://", statistic="median", penalty_ms=77.0)
    with pytest.raises(OSError, match="in memory cannot go to another process"):
        pickle.dumps(objective)


def test_offline_answers_without_the_device(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    measured = objective_on("replay:formula?seed=1", str(path))(CONV)
    offline = objective_on("replay:formula?seed=1", str(path), offline=True)
    assert offline(CONV) == measured
    with pytest.raises(NotFoundError, match="go online"):
        offline(DEEP)
    with pytest.raises(NotFoundError, match="has no results of"):
        objective_on("replay:formula?seed=2", str(path), offline=True)(CONV)


def test_any_value_that_becomes_a_network_can_be_measured(tmp_path: Path) -> None:
    graph = build_layer_graph(CONV, NETWORK)
    content = write_tflite(graph)
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    networks = {"graph": graph, "path": path, "text": str(path), "content": content}
    device = ScriptedDevice(lambda _: [steady(2.0)])
    objective = LatencyObjective(device, networks.__getitem__, store=":memory:")
    assert {objective(name) for name in networks} == {2.0}
    assert device.timed_runs == 2, "a file and its content are one network, the graph by our writer another"


def test_a_build_that_returns_no_network_is_refused() -> None:
    objective = LatencyObjective(ScriptedDevice([]), lambda value: value, store=":memory:")
    with pytest.raises(InvalidModelError, match="build returned a int"):
        objective(3)


def test_bad_settings_are_refused_before_anything_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    for settings in ({"penalty_ms": float("inf")}, {"penalty_ms": -1.0}, {"on_infeasible": "ignore"}):
        with pytest.raises(InvalidInputError):
            objective_on("replay:formula", str(path), **settings)
    assert not path.exists()


def test_takes_only_architectures() -> None:
    with pytest.raises(InvalidInputError, match="takes an Architecture, not str"):
        objective_on("replay:formula")("0-1:")  # type: ignore[arg-type]


def test_this_machine_measures_a_real_network(tmp_path: Path) -> None:
    objective = objective_on("host-cpu", str(tmp_path / "latency.db"), protocol=MeasurementProtocol(min_runs=30))
    try:
        evaluation = objective.evaluate(DEEP)
    finally:
        objective.close()
    measurement = evaluation.answer.measurement
    assert measurement is not None
    assert measurement.device.origin == "measured"
    assert measurement.batch.count == 30
    assert measurement.batch.runs_ms is not None
    assert all(run > 0 for run in measurement.batch.runs_ms)


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from leti_opt import *\n"
        "from leti_opt.device.protocol import MeasurementProtocol\n"
        "objective = DeviceLatencyObjective('host-cpu', NetworkConfig.small(filters=4), store='s.db',"
        " protocol=MeasurementProtocol(min_runs=20))\n"
        "print('runs', objective.evaluate(Architecture.parse('0-1:')).answer.measurement.batch.count)\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "runs 20"
