"""Intervals of a mean: right for independent runs, wider for others, honest where the device's pace wanders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.certainty import intervals
from benchmarks.certainty.traces import FOLDER, load_trace
from leti_opt.device.certainty import (
    MIN_RUNS,
    lag_correlation,
    least_relative_error,
    mean_interval,
    with_wander,
)
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidProtocolError
from tests.contracts.scripted_device import ScriptedDevice, steady


def correlated(generator: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """An autoregressive series of mean 10 and standard deviation 1."""
    noise = generator.normal(0, np.sqrt(1 - memory**2), count)
    values = np.empty(count)
    values[0] = generator.normal()
    for place in range(1, count):
        values[place] = memory * values[place - 1] + noise[place]
    return values + 10


@pytest.mark.parametrize(("memory", "count"), [(0.0, 30), (0.0, 300), (0.5, 300), (0.8, 1000)])
def test_the_interval_holds_the_mean_nine_times_of_ten_or_more(memory: float, count: int) -> None:
    generator = np.random.default_rng(3)
    intervals = [mean_interval(correlated(generator, count, memory)) for _ in range(300)]
    held = np.mean([found is not None and found.low <= 10 <= found.high for found in intervals])
    assert held >= 0.88


def test_scatter_taken_for_independent_would_hold_far_less_often() -> None:
    """What the batches are for: the same series, judged by the standard error of single runs."""
    generator = np.random.default_rng(3)
    held = []
    for _ in range(200):
        runs = correlated(generator, 1000, 0.8)
        held.append(abs(runs.mean() - 10) <= 1.96 * runs.std() / np.sqrt(runs.size))
    assert np.mean(held) < 0.7


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0.1, 10.0), min_size=MIN_RUNS, max_size=400), st.floats(0.01, 100.0))
def test_the_interval_scales_with_the_runs(runs: list[float], factor: float) -> None:
    found, scaled = mean_interval(runs), mean_interval([factor * run for run in runs])
    assert found is not None
    assert scaled is not None
    assert scaled.half_width == pytest.approx(factor * found.half_width, rel=1e-6, abs=1e-9)
    assert found.low <= np.mean(runs) <= found.high
    assert found.batches >= 10


def test_too_few_runs_say_nothing_and_equal_runs_are_sure() -> None:
    assert mean_interval([1.0] * (MIN_RUNS - 1)) is None
    equal = mean_interval([2.0] * MIN_RUNS)
    assert equal is not None
    assert equal.half_width == 0
    assert lag_correlation(np.ones(5)) == 0


@given(st.floats(0, 1), st.floats(0.1, 100), st.floats(0, 0.5), st.floats(0, 0.5))
def test_wander_only_widens_and_no_interval_gets_below_it(
    error_share: float, mean_ms: float, wander: float, more: float
) -> None:
    error_ms = error_share * mean_ms
    widened = with_wander(error_ms, mean_ms, wander)
    assert widened >= error_ms * (1 - 1e-12)
    assert widened >= least_relative_error(wander) * mean_ms * (1 - 1e-12)
    assert with_wander(error_ms, mean_ms, wander + more) >= widened * (1 - 1e-12)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"relative_error": 0.0}, "between 0 and 1"),
        ({"relative_error": 1.5}, "between 0 and 1"),
        ({"relative_error": 0.01, "min_runs": 300}, "not both"),
        ({"relative_error": 0.01, "max_runs": 5}, "max_runs"),
        ({"relative_error": 0.01, "runs_per_sample": 0}, "runs_per_sample"),
    ],
)
def test_protocols_that_contradict_themselves_are_refused(chosen: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidProtocolError, match=words):
        MeasurementProtocol(**chosen)  # type: ignore[arg-type]


def graph_model() -> MeasurableModel:
    from leti_opt import Architecture, NetworkConfig, build_layer_graph

    return MeasurableModel.of_graph(
        build_layer_graph(Architecture.parse("0-1,1-2:conv3x3-bn-relu"), NetworkConfig.small())
    )


def test_a_steady_device_needs_few_runs_and_a_noisy_one_more() -> None:
    protocol = MeasurementProtocol(relative_error=0.01)
    counts = []
    for noise in (0.01, 0.05):
        with open_device(f"replay:formula?seed=1&noise={noise}") as device:
            batch = measure(device, graph_model(), protocol).batch
        assert batch.relative_error is not None
        assert batch.relative_error <= 0.01
        counts.append(batch.count)
    assert counts[0] == MIN_RUNS
    assert counts[1] > counts[0]


def test_it_ends_at_the_most_runs_and_is_unstable_then() -> None:
    with open_device("replay:formula?seed=1&noise=0.09") as device:
        protocol = MeasurementProtocol(relative_error=0.0005, max_runs=200, max_attempts=2)
        measurement = measure(device, graph_model(), protocol)
    assert not measurement.stable
    assert all(batch.count is not None and 200 <= batch.count <= 320 for batch in measurement.attempts)


def test_a_very_short_network_is_timed_several_runs_at_once_and_the_number_is_recorded() -> None:
    with open_device("replay:formula?seed=1&overhead_us=5&layer_us=0.5&gflops_per_s=5000&gb_per_s=1000") as device:
        protocol = MeasurementProtocol(relative_error=0.01, runs_per_sample=None)
        batch = measure(device, graph_model(), protocol).batch
    assert batch.runs_per_sample > 1
    assert batch.runs_ms is not None
    assert batch.count == len(batch.runs_ms) * batch.runs_per_sample


def test_such_a_measurement_never_answers_for_a_number_of_runs_but_the_other_way_round_it_may() -> None:
    sure, fixed = MeasurementProtocol(relative_error=0.05), MeasurementProtocol(min_runs=30)
    with open_device("replay:formula?seed=1") as device:
        by_error, by_number = measure(device, graph_model(), sure), measure(device, graph_model(), fixed)
    assert not fixed.served_by(by_error, 30)
    assert sure.served_by(by_number, 30)
    assert fixed.served_by(by_number, 30)


def test_a_device_that_hides_single_runs_cannot_be_asked_for_a_relative_error() -> None:
    device = ScriptedDevice([steady(2.0, 30)], default_min_runs=30)
    with pytest.raises(InvalidProtocolError, match="does not reveal single runs"):
        measure(device, MeasurableModel("k", "k", "none"), MeasurementProtocol(relative_error=0.01))


def test_a_wandering_device_refuses_before_the_first_run() -> None:
    device = ScriptedDevice()
    with pytest.raises(InvalidProtocolError, match="wanders by 10"):
        measure(device, MeasurableModel("k", "k", "none"), MeasurementProtocol(relative_error=0.05), wander=0.1)
    assert device.loads == []


def test_the_wander_enters_the_interval_and_is_recorded() -> None:
    with open_device("replay:formula?seed=1") as device:
        plain = measure(device, graph_model(), MeasurementProtocol(min_runs=100))
        wandering = measure(device, graph_model(), MeasurementProtocol(min_runs=100), wander=0.1)
    assert plain.batch.mean_error_ms is not None
    assert wandering.batch.mean_error_ms == pytest.approx(
        with_wander(plain.batch.mean_error_ms, plain.batch.mean_ms, 0.1)
    )
    assert [metric.value for metric in wandering.metrics if metric.name == "wander"] == [0.1]


def test_samples_of_several_runs_on_this_host_take_as_long_a_run() -> None:
    with open_device("host-cpu") as device, device.load(graph_model()) as session:
        session.run(20)
        batch = session.run(10, runs_per_sample=5)
    assert batch.count == 50
    assert batch.runs_ms is not None
    assert len(batch.runs_ms) == 10
    assert batch.runs_per_sample == 5


def test_a_batch_keeps_its_interval_and_refuses_nonsense() -> None:
    batch = RunBatch.from_runs([1.0, 1.1] * 50)
    assert batch.mean_error_ms is not None
    assert batch.relative_error == pytest.approx(batch.mean_error_ms / batch.mean_ms)
    with pytest.raises(ValueError, match="mean_error_ms"):
        RunBatch(count=1, mean_ms=1.0, mean_error_ms=-1.0)
    with pytest.raises(ValueError, match="sample"):
        RunBatch(count=1, mean_ms=1.0, runs_per_sample=0)


def test_on_recorded_traces_intervals_that_know_the_wander_hold_where_others_fail() -> None:
    judged = [intervals.judge(load_trace(path)) for path in sorted(FOLDER.glob("s*-quiet.trace"))]
    assert [finding.trace for finding in judged] == ["short-quiet", "small-quiet"]
    for finding in judged:
        assert finding.coverage >= 0.9
        assert finding.naive_stops > 0
        assert finding.naive_coverage < 0.5
