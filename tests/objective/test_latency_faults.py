"""The measured objective where something fails: networks that are unstable or impossible, and a device that is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nevergrad as ng
import pytest

from leti_opt import (
    Architecture,
    ArchitectureSpace,
    DeviceLatencyObjective,
    LatencyObjective,
    LatencyStore,
    NetworkConfig,
    build_layer_graph,
)
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import (
    AttemptError,
    DeviceError,
    InfeasibleError,
    InvalidConfigError,
    NotFoundError,
    UnknownOperationError,
)
from leti_opt.objective.answers import Source
from tests.contracts.scripted_device import ScriptedDevice, steady
from tests.objective.cells import CONV, DEEP, NETWORK, POOL, objective_on

SCATTERED = RunBatch.from_runs([1.0, 3.0] * 150)


def test_an_unstable_network_is_provisional_and_never_best() -> None:
    device = ScriptedDevice([SCATTERED] * 5 + [steady(5.0)])
    objective = objective_on(device)
    evaluation = objective.evaluate(CONV)
    assert evaluation.answer.status == "provisional"
    assert evaluation.latency_ms == pytest.approx(2.0)
    with pytest.raises(NotFoundError, match="no network was measured"):
        objective.best()
    assert objective(DEEP) == 5.0
    assert objective.best().architecture == DEEP


def test_an_unstable_network_is_not_measured_again_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    objective_on(ScriptedDevice([SCATTERED] * 5), LatencyStore(path))(CONV)
    idle = ScriptedDevice([])
    assert objective_on(idle, LatencyStore(path))(CONV) == pytest.approx(2.0)
    assert idle.loads == []
    again = objective_on(ScriptedDevice([steady(1.75)]), LatencyStore(path), retry_unstable=True)
    assert again(CONV) == 1.75
    with LatencyStore(path) as store:
        info = store.info()
    assert (info.measurements, info.unstable) == (2, 1)


def test_an_infeasible_network_costs_the_penalty_and_is_never_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    device = ScriptedDevice([], load_script=[InfeasibleError("operator SLICE is refused")])
    objective = objective_on(device, LatencyStore(path), penalty_ms=123.0)
    assert objective(CONV) == 123.0
    idle = ScriptedDevice([])
    second = objective_on(idle, LatencyStore(path), on_infeasible="raise")
    with pytest.raises(InfeasibleError, match="SLICE is refused"):
        second(CONV)
    assert idle.loads == []
    with LatencyStore(path) as store:
        assert store.info().measurements == 0
        assert [failure.reason for failure in store.failures()] == ["operator SLICE is refused"]


def test_a_cell_that_always_crashes_the_runtime_is_stored_and_the_search_goes_on() -> None:
    crash = AttemptError("the worker was ended by SIGSEGV")
    device = ScriptedDevice(lambda model: [crash] * 5 if "maxpool" in model.name else [steady(2.0)])
    objective = objective_on(device)
    assert objective(POOL) == objective.penalty_ms
    assert objective(CONV) == 2.0
    (failure,) = objective.store.failures()
    assert "SIGSEGV" in failure.reason
    assert failure.stage == "run"


def test_one_crash_costs_one_attempt() -> None:
    objective = objective_on(ScriptedDevice([AttemptError("crashed"), steady(2.0)]))
    evaluation = objective.evaluate(CONV)
    assert evaluation.latency_ms == 2.0
    assert evaluation.answer.measurement is not None
    assert evaluation.answer.measurement.faults == ("crashed",)


def test_a_cell_that_cannot_be_built_is_stored_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    wide = Architecture.parse("0-1,0-2,0-3,1-4,2-4,3-4:maxpool3x3,maxpool3x3,maxpool3x3")
    network = NETWORK.changed(filters=2)
    device = ScriptedDevice([steady(1.0)])
    objective = DeviceLatencyObjective(device, network, store=path)
    assert objective(wide) == objective.penalty_ms
    assert objective(CONV) == 1.0
    assert device.timed_runs == 1
    again = DeviceLatencyObjective(ScriptedDevice([]), network, store=path)
    assert again.evaluate(wide).answer.source is Source.STORE
    (failure,) = again.store.failures()
    assert failure.stage == "build"
    assert "2 filters cannot be shared" in failure.reason


def test_a_build_of_the_users_that_raises_is_infeasible_and_the_search_goes_on() -> None:
    def build(filters: int) -> object:
        return build_layer_graph(CONV, NetworkConfig.small(filters=8 // filters))

    objective = LatencyObjective(ScriptedDevice([steady(1.0)]), build, store=":memory:")
    evaluation = objective.evaluate(0)
    assert evaluation.latency_ms == objective.penalty_ms
    assert "ZeroDivisionError" in str(evaluation.answer.failure)
    assert objective(1) == 1.0


def test_a_mistake_in_the_users_code_is_no_property_of_a_network() -> None:
    def build(_: int) -> object:
        return undefined_name  # type: ignore[name-defined]  # noqa: F821

    objective = LatencyObjective(ScriptedDevice([]), build, store=":memory:")
    with pytest.raises(NameError):
        objective(1)


@pytest.mark.parametrize(
    ("network", "renderer", "message"),
    [
        (NETWORK.changed(stem="maxpool3x3"), "auto", "no convolution"),
        (NETWORK.changed(precision="dynamic"), "writer", "knows float32"),
        (NETWORK, "bogus", "unknown renderer"),
    ],
)
def test_a_network_of_which_no_cell_could_be_built_is_refused_at_once(
    network: NetworkConfig, renderer: Any, message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        DeviceLatencyObjective(ScriptedDevice([]), network, renderer=renderer, store=":memory:")


def test_retrying_what_is_unstable_happens_once_and_never_right_away() -> None:
    store = LatencyStore(":memory:")
    device = ScriptedDevice(lambda _: [SCATTERED] * 20)
    first = objective_on(device, store, retry_unstable=True)
    assert [first(CONV), first(CONV)] == pytest.approx([2.0, 2.0])
    assert device.timed_runs == 5
    second = objective_on(device, store, retry_unstable=True)
    assert [second(CONV), second(CONV)] == pytest.approx([2.0, 2.0])
    assert device.timed_runs == 10


def test_a_worse_second_measurement_does_not_hide_the_good_one() -> None:
    objective = objective_on(ScriptedDevice([steady(2.0), *[SCATTERED] * 5]))
    question = objective.question(CONV)
    objective.service.answer(question)
    assert objective.service.answer(question, fresh=True).provisional
    assert objective.evaluate(CONV).answer.status == "measured"
    assert objective(CONV) == 2.0


def test_an_operation_that_the_network_does_not_know_is_the_callers_mistake() -> None:
    cell = Architecture.parse("0-1,1-2:mystery:mystery")
    objective = objective_on(ScriptedDevice([]))
    with pytest.raises(UnknownOperationError, match="mystery"):
        objective(cell)
    assert objective.store.failures() == []


def test_a_lost_device_ends_minimize_and_a_new_optimizer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    lost = ScriptedDevice([steady(1.0), steady(2.0), DeviceError("unplugged")])
    space = ArchitectureSpace()
    space.random_state.seed(1)
    optimizer = ng.optimizers.RandomSearch(space, budget=10)
    with pytest.raises(DeviceError, match="unplugged"):
        optimizer.minimize(objective_on(lost, LatencyStore(path)))
    with LatencyStore(path) as store:
        assert store.info().measurements == 2
        assert store.failures() == []

    back = ScriptedDevice(lambda _: [steady(3.0)])
    space = ArchitectureSpace()
    space.random_state.seed(1)
    ng.optimizers.RandomSearch(space, budget=3).minimize(objective_on(back, LatencyStore(path)))
    assert back.timed_runs == 1
