"""Devices whose every attempt is a start of its own, and that print aggregates only."""

from __future__ import annotations

import pytest

from leti_opt.device.device import Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError, InvalidProtocolError
from tests.contracts.scripted_device import ScriptedDevice

MODEL = MeasurableModel(key="k", name="k", renderer="none")


class _StartingDevice(ScriptedDevice):
    """Starts anew for each attempt, as a program on a phone does."""

    reveals_runs = False

    def __init__(self, stds_ms: list[float | Exception]) -> None:
        super().__init__()
        self.starts: list[tuple[int, int]] = []
        self.stds_ms = iter(stds_ms)

    def load(self, model: MeasurableModel) -> Session:
        self.loads.append(model.key)
        return _StartingSession(self)


class _StartingSession(Session):
    def __init__(self, device: _StartingDevice) -> None:
        self._device = device

    def first_run(self) -> float | None:
        return None

    def attempt(self, n: int, warmup_runs: int) -> RunBatch:
        self._device.starts.append((n, warmup_runs))
        self.initialization_ms, self.first_run_ms = 3.0, 4.0
        std_ms = next(self._device.stds_ms)
        if isinstance(std_ms, Exception):
            raise std_ms
        return RunBatch(count=n, mean_ms=2.0, std_ms=std_ms)

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:  # noqa: ARG002
        raise AssertionError("a start of its own makes first run and warm-up itself")


def test_an_attempt_is_one_start_with_its_own_warm_up() -> None:
    device = _StartingDevice([0.01])
    measurement = measure(device, MODEL, MeasurementProtocol(warmup_runs=7))
    assert device.starts == [(300, 7)]
    assert measurement.stable


def test_initialization_and_first_run_are_those_of_the_first_start() -> None:
    measurement = measure(_StartingDevice([1.0, 0.01]), MODEL)
    assert (measurement.initialization_ms, measurement.first_run_ms) == (3.0, 4.0)
    assert len(measurement.attempts) == 2


def test_a_start_that_crashes_costs_an_attempt() -> None:
    device = _StartingDevice([AttemptError("killed"), 0.01])
    measurement = measure(device, MODEL, MeasurementProtocol(max_attempts=2))
    assert measurement.faults == ("killed",)
    assert measurement.stable


def test_relative_error_is_refused_before_anything_starts() -> None:
    device = _StartingDevice([0.01])
    with pytest.raises(InvalidProtocolError, match=r"does not reveal single runs.*use min_runs"):
        measure(device, MODEL, MeasurementProtocol(relative_error=0.02))
    assert not device.loads
