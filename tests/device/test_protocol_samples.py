"""A number of samples of several runs each, for networks that are too short to be timed one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.device import Session
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MOST_RUNS_PER_SAMPLE, SAMPLE_MS, MeasurementProtocol, measure
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidProtocolError
from tests.contracts.scripted_device import ScriptedDevice

MODEL = MeasurableModel(key="key", name="network", renderer="none")
SAMPLES = MeasurementProtocol(min_runs=40, runs_per_sample=None)
SINGLE = MeasurementProtocol(min_runs=40)


class Paced(ScriptedDevice):
    """Its runs take as long as a list says, one entry for each call; the last one goes on for ever."""

    def __init__(self, *run_ms: float, spread: float = 0.01) -> None:
        super().__init__()
        self.run_ms = list(run_ms)
        self.spread = spread
        self.asked: list[tuple[int, int]] = []

    def load(self, model: MeasurableModel) -> Session:  # noqa: ARG002
        return _Paced(self)


class _Paced(Session):
    def __init__(self, device: Paced) -> None:
        self.device = device

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        device = self.device
        device.asked.append((n, runs_per_sample))
        run_ms = device.run_ms.pop(0) if len(device.run_ms) > 1 else device.run_ms[0]
        return RunBatch.from_runs((run_ms * (1 + device.spread * np.linspace(-1, 1, n))).tolist(), runs_per_sample)


def measured(batch: RunBatch, protocol: MeasurementProtocol = SAMPLES, stable: bool = True) -> Measurement:
    found = measure(Paced(2.0), MODEL, protocol)
    return replace(found, attempts=(batch,) * protocol.max_attempts if not stable else (batch,), stable=stable)


def batch(mean_ms: float, samples: int = 40, per_sample: int = 1) -> RunBatch:
    return RunBatch(samples * per_sample, mean_ms, 0.01 * mean_ms, runs_per_sample=per_sample)


def test_short_runs_are_timed_so_many_at_once_that_a_sample_lasts_a_millisecond() -> None:
    device = Paced(0.3)
    found = measure(device, MODEL, SAMPLES)
    assert device.asked == [(1, 1), (10, 1), (40, 4)]
    assert (found.batch.runs_per_sample, found.batch.count, found.min_runs) == (4, 160, 40)
    assert found.stable


def test_long_runs_are_timed_one_by_one() -> None:
    device = Paced(2.0)
    assert measure(device, MODEL, SAMPLES).batch.runs_per_sample == 1
    assert device.asked[-1] == (40, 1)


def test_the_warm_up_says_how_many_runs_fill_a_sample_and_not_the_very_first_run() -> None:
    device = Paced(50.0, 0.2)
    assert measure(device, MODEL, SAMPLES).batch.runs_per_sample == 5


def test_samples_that_turn_out_much_too_short_are_an_attempt_that_does_not_hold() -> None:
    device = Paced(0.9, 0.9, 0.1)
    found = measure(device, MODEL, SAMPLES)
    assert [each.runs_per_sample for each in found.attempts] == [2, 10]
    assert found.stable


def test_a_given_number_of_runs_a_sample_is_kept_to() -> None:
    device = Paced(0.3)
    found = measure(device, MODEL, MeasurementProtocol(min_runs=40, runs_per_sample=7))
    assert device.asked[-1] == (40, 7)
    assert found.batch.count == 280


def test_the_rule_holds_for_the_spread_of_samples() -> None:
    found = measure(Paced(0.3, spread=0.5), MODEL, SAMPLES)
    assert not found.stable
    assert len(found.attempts) == SAMPLES.max_attempts


def test_single_runs_and_samples_do_not_answer_for_each_other() -> None:
    single, samples = measured(batch(0.1)), measured(batch(0.1, per_sample=10))
    assert SINGLE.served_by(single, 40)
    assert not SINGLE.served_by(samples, 40)
    assert SAMPLES.served_by(samples, 40)
    assert not SAMPLES.served_by(single, 40)


def test_of_a_long_network_single_runs_are_the_samples() -> None:
    assert SAMPLES.served_by(measured(batch(2.0)), 40)
    assert SINGLE.served_by(measured(batch(2.0)), 40)


def test_as_many_samples_are_needed_as_runs_were_asked_for() -> None:
    assert not SAMPLES.accepts(batch(0.1, samples=39, per_sample=10))
    assert SAMPLES.accepts(batch(0.1, samples=40, per_sample=10))


def test_unstable_single_runs_do_not_keep_samples_from_being_tried() -> None:
    unstable = measured(batch(0.1), stable=False)
    assert SINGLE.gives_up(unstable, 40)
    assert not SAMPLES.gives_up(unstable, 40)


@given(st.floats(1e-5, 100), st.floats(0.5, 2.0))
def test_what_was_measured_so_answers_the_same_request_again(run_ms: float, drift: float) -> None:
    per_sample = SAMPLES.chosen_runs_per_sample(run_ms)
    held = batch(run_ms * drift, per_sample=per_sample)
    if per_sample * run_ms * drift >= SAMPLE_MS / 2 or per_sample >= MOST_RUNS_PER_SAMPLE:
        assert SAMPLES.served_by(measured(held), 40)
    else:
        assert not SAMPLES.accepts(held)


def test_a_device_that_times_single_runs_refuses_samples_before_it_runs() -> None:
    device = Paced(0.3)
    device.reveals_runs = False
    with pytest.raises(InvalidProtocolError, match="times single runs only; leave runs_per_sample at 1"):
        measure(device, MODEL, SAMPLES)
    assert device.asked == []
