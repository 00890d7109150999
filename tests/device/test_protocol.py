from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.device import DeviceEpoch, Origin, Session
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import hold
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError, InvalidProtocolError
from tests.contracts.scripted_device import ScriptedDevice, shaky, steady

MODEL = MeasurableModel(key="key", name="network", renderer="none")


def test_a_steady_attempt_is_enough() -> None:
    device = ScriptedDevice([steady(2.0)])
    measurement = measure(device, MODEL)
    assert measurement.stable
    assert measurement.attempts == (steady(2.0),)
    assert measurement.faults == ()
    assert device.timed_runs == 1


def test_first_run_warm_up_and_timed_runs_come_in_this_order() -> None:
    device = ScriptedDevice([shaky(2.0), steady(2.0)])
    measure(device, MODEL, MeasurementProtocol(warmup_runs=7))
    assert device.runs == [1, 7, 300, 7, 300]
    assert device.loads == ["key"]


def test_no_warm_up_asks_for_no_runs() -> None:
    device = ScriptedDevice([steady(2.0)])
    measure(device, MODEL, MeasurementProtocol(warmup_runs=0))
    assert device.runs == [1, 300]


def test_a_wide_spread_is_measured_again_and_every_batch_is_kept() -> None:
    measurement = measure(ScriptedDevice([shaky(4.0), shaky(6.0), steady(2.0)]), MODEL)
    assert measurement.stable
    assert measurement.attempts == (shaky(4.0), shaky(6.0), steady(2.0))
    assert measurement.latency_ms() == 2.0


def test_used_up_attempts_leave_it_unstable_with_the_median_of_the_attempts() -> None:
    device = ScriptedDevice([shaky(4.0), shaky(9.0), shaky(5.0)])
    measurement = measure(device, MODEL, MeasurementProtocol(max_attempts=3))
    assert not measurement.stable
    assert len(measurement.attempts) == 3
    assert measurement.latency_ms() == 5.0


UNCHECKABLE = [RunBatch(count=None, mean_ms=4.0), RunBatch(300, 4.0), RunBatch(count=None, mean_ms=4.0, std_ms=0.1)]


@pytest.mark.parametrize("batch", UNCHECKABLE)
@pytest.mark.parametrize("origin", ["replayed", "imported"])
def test_a_published_figure_that_cannot_be_checked_is_asked_for_once(batch: RunBatch, origin: Origin) -> None:
    measurement = measure(ScriptedDevice([batch], origin=origin), MODEL)
    assert measurement.status == "unchecked"
    assert measurement.attempts == (batch,)
    assert measurement.latency_ms() == 4.0


@pytest.mark.parametrize("batch", UNCHECKABLE)
@pytest.mark.parametrize("origin", ["measured", "simulated"])
def test_a_device_that_measures_must_reveal_runs_and_spread(batch: RunBatch, origin: Origin) -> None:
    measurement = measure(ScriptedDevice([batch] * 5, origin=origin), MODEL)
    assert measurement.status == "unstable"
    assert len(measurement.attempts) == 5


def test_a_published_figure_with_runs_and_a_wide_spread_is_unstable() -> None:
    measurement = measure(ScriptedDevice([shaky(4.0)] * 5, origin="replayed"), MODEL)
    assert measurement.status == "unstable"
    assert len(measurement.attempts) == 5


def test_a_crash_before_a_published_figure_costs_one_attempt() -> None:
    batch = RunBatch(count=None, mean_ms=4.0)
    measurement = measure(ScriptedDevice([AttemptError("gone"), batch], origin="replayed"), MODEL)
    assert measurement.faults == ("gone",)
    assert measurement.status == "unchecked"


def test_no_relative_error_can_be_asked_of_a_published_figure_which_is_served_unchecked() -> None:
    device = ScriptedDevice([RunBatch(count=None, mean_ms=4.0)], origin="replayed", default_min_runs=30)
    measurement = measure(device, MODEL, MeasurementProtocol(relative_error=0.01, runs_per_sample=None))
    assert measurement.status == "unchecked"
    assert len(measurement.attempts) == 1


@given(count=st.integers(1, 400), relative_std=st.floats(0, 0.3), mean_ms=st.floats(1e-3, 1e3))
def test_an_attempt_holds_exactly_with_enough_runs_and_a_small_spread(
    count: int, relative_std: float, mean_ms: float
) -> None:
    batch = RunBatch(count=count, mean_ms=mean_ms, std_ms=relative_std * mean_ms)
    holds = count >= 300 and batch.relative_std is not None and batch.relative_std <= 0.1
    assert MeasurementProtocol(min_runs=300).accepts(batch) == holds


def test_too_few_runs_do_not_hold() -> None:
    measurement = measure(ScriptedDevice([steady(2.0, count=299)]), MODEL, MeasurementProtocol(max_attempts=1))
    assert not measurement.stable


def test_a_batch_without_a_standard_deviation_does_not_hold() -> None:
    batch = RunBatch(count=300, mean_ms=2.0)
    assert not measure(ScriptedDevice([batch]), MODEL, MeasurementProtocol(max_attempts=1)).stable


def test_a_crash_costs_one_attempt_and_the_network_is_loaded_again() -> None:
    device = ScriptedDevice([AttemptError("killed by SIGSEGV"), steady(2.0)])
    measurement = measure(device, MODEL)
    assert measurement.stable
    assert measurement.faults == ("killed by SIGSEGV",)
    assert device.loads == ["key", "key"]
    assert device.open_sessions == 0


def test_a_crash_while_loading_costs_one_attempt() -> None:
    device = ScriptedDevice([steady(2.0)], load_script=[AttemptError("hung for 60 s")])
    assert measure(device, MODEL).faults == ("hung for 60 s",)
    assert device.loads == ["key", "key"]


def test_crashes_count_with_unsteady_attempts() -> None:
    device = ScriptedDevice([shaky(2.0), AttemptError("crash"), shaky(3.0), steady(1.0)])
    measurement = measure(device, MODEL, MeasurementProtocol(max_attempts=3))
    assert not measurement.stable
    assert len(measurement.attempts) == 2
    assert device.timed_runs == 3


def test_only_crashes_make_the_network_infeasible_with_the_last_reason() -> None:
    device = ScriptedDevice([AttemptError("first"), AttemptError("second")])
    with pytest.raises(InfeasibleError, match="every one of 2 attempts failed; the last: second"):
        measure(device, MODEL, MeasurementProtocol(max_attempts=2))
    assert device.timed_runs == 2
    assert device.open_sessions == 0


@pytest.mark.parametrize("error", [DeviceError("unplugged"), InfeasibleError("refused")])
def test_what_is_not_the_attempts_fault_ends_at_once(error: Exception) -> None:
    device = ScriptedDevice([error])
    with pytest.raises(type(error), match=str(error)):
        measure(device, MODEL)
    assert device.timed_runs == 1
    assert device.open_sessions == 0


def test_min_runs_is_the_devices_where_the_protocol_leaves_it_open() -> None:
    device = ScriptedDevice([steady(2.0, count=100)], default_min_runs=100)
    measurement = measure(device, MODEL, MeasurementProtocol())
    assert measurement.stable
    assert measurement.min_runs == 100
    assert device.runs[-1] == 100


def test_min_runs_of_the_protocol_wins() -> None:
    device = ScriptedDevice([steady(2.0, count=500)], default_min_runs=100)
    assert measure(device, MODEL, MeasurementProtocol(min_runs=500)).min_runs == 500
    assert device.runs[-1] == 500


def test_a_measurement_carries_its_story() -> None:
    metrics = (Metric("energy", 3.0, "mJ", "script"),)
    epoch = DeviceEpoch("build", "driver", "unit")
    device = ScriptedDevice([steady(2.0)], untimed_ms=8.0, metrics=metrics, epoch=epoch)
    measurement = measure(device, MODEL)
    assert measurement.first_run_ms == 8.0
    assert measurement.initialization_ms == 1.5
    assert measurement.metrics == metrics
    assert measurement.epoch == epoch
    assert measurement.device == device.identity
    assert measurement.started_at.utcoffset() is not None
    assert measurement.tool


def test_the_devices_resources_are_held_while_it_measures() -> None:
    seen: list[str] = []

    def try_from_another_thread(resources: frozenset[str]) -> None:
        try:
            with hold(resources, timeout_s=0):
                seen.append("free")
        except DeviceError:
            seen.append("held")

    class Watching(ScriptedDevice):
        def load(self, model: MeasurableModel) -> Session:
            thread = threading.Thread(target=try_from_another_thread, args=[self.resources])
            thread.start()
            thread.join()
            return super().load(model)

    measure(Watching([steady(2.0)], name="watched"), MODEL)
    assert seen == ["held"]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"min_runs": 0}, "min_runs must be 1 or more, not 0"),
        ({"max_relative_std": 0.0}, "max_relative_std must be above 0, not 0.0"),
        ({"max_relative_std": float("nan")}, "max_relative_std must be above 0, not nan"),
        ({"max_attempts": 0}, "max_attempts must be 1 or more, not 0"),
        ({"warmup_runs": -1}, "warmup_runs must be 0 or more, not -1"),
    ],
)
def test_impossible_protocols_are_refused(settings: dict[str, float], fault: str) -> None:
    with pytest.raises(InvalidProtocolError, match=fault):
        MeasurementProtocol(**settings)  # type: ignore[arg-type]


def test_a_protocol_without_min_runs_cannot_judge_alone() -> None:
    with pytest.raises(InvalidProtocolError, match="runs_on"):
        MeasurementProtocol().accepts(steady(1.0))
