from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.host_cpu import HostCpu, format_cores, parse_cores
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import core_resource, hold
from leti_opt.errors import AttemptError, InfeasibleError, InvalidDeviceUriError, InvalidModelError
from tests.device.tiny_tflite import (
    adding_model,
    measurable,
    model_that_crashes,
    model_that_hangs,
    model_with_custom_operator,
)

CORES = sorted(os.sched_getaffinity(0))
ONCE = MeasurementProtocol(min_runs=3, max_attempts=1)


@pytest.fixture(scope="module")
def device() -> Iterator[HostCpu]:
    with HostCpu(deadline_s=30) as device:
        yield device


def test_two_settings_are_two_identities() -> None:
    plain = HostCpu()
    others = [HostCpu(delegate="none"), HostCpu(cores=CORES[:1])]
    if len(CORES) > 1:
        others.append(HostCpu(threads=2))
    digests = {each.identity.digest for each in [plain, *others]}
    assert len(digests) == 1 + len(others)
    assert plain.identity.delegate == "xnnpack"
    assert others[0].identity.delegate == "cpu"


def test_the_deadline_is_no_part_of_the_identity() -> None:
    patient = open_device("host-cpu?deadline_s=90")
    assert patient.uri == "host-cpu?deadline_s=90"
    assert patient.identity == HostCpu().identity


def test_the_unit_is_a_pseudonym_that_stays() -> None:
    unit = HostCpu().epoch.unit
    assert len(unit) == 16
    int(unit, 16)
    assert unit == HostCpu(delegate="none").epoch.unit
    assert unit not in Path("/proc/sys/kernel/hostname").read_text()


def test_unpinned_it_takes_all_cores_and_pinned_at_least_its_own() -> None:
    assert {core_resource(core) for core in CORES} <= HostCpu().resources
    assert core_resource(CORES[0]) in HostCpu(cores=CORES[:1]).resources


def test_it_runs_on_the_cores_that_it_was_given(tmp_path: Path) -> None:
    with HostCpu(cores=CORES[-1:]) as device, hold(device.resources):
        device.load(measurable(tmp_path, adding_model())).run(1)
        assert device._client.pid is not None
        assert os.sched_getaffinity(device._client.pid) == set(CORES[-1:])


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("threads=0", "threads must be 1 to"),
        (f"threads={len(CORES) + 1}", "threads must be 1 to"),
        (f"threads=2&cores={CORES[0]}", "threads must be 1 to 1"),
        ("threads=two", "threads must be a whole number, not 'two'"),
        ("cores=9999", "cores 9999 cannot be used; this process may use"),
        ("cores=1-0", "no list of cores"),
        ("cores=all", "no list of cores"),
        ("delegate=xnpack", "did you mean 'xnnpack'"),
        ("deadline_s=0", "deadline_s must be"),
        ("deadline_s=inf", "deadline_s must be"),
        ("deadline_s=soon", "deadline_s must be a number, not 'soon'"),
    ],
)
def test_bad_options_are_refused_when_it_is_opened(query: str, fault: str) -> None:
    with pytest.raises(InvalidDeviceUriError, match=fault):
        open_device(f"host-cpu?{query}")


@given(st.sets(st.integers(0, 40), min_size=1))
def test_core_lists_round_trip(cores: set[int]) -> None:
    assert parse_cores(format_cores(cores)) == sorted(cores)


def test_a_measurement_tells_memory_load_and_initialization(device: HostCpu, tmp_path: Path) -> None:
    measurement = measure(device, measurable(tmp_path, adding_model()), ONCE)
    metrics = {metric.name: metric for metric in measurement.metrics}
    assert metrics["peak_memory"].unit == "bytes"
    assert metrics["peak_memory"].value > 1e6
    assert metrics["load_average_1min"].value >= 0
    assert measurement.initialization_ms is not None
    assert measurement.batch.runs_ms is not None


def test_peak_memory_is_that_of_the_model_and_not_of_an_earlier_one(device: HostCpu, tmp_path: Path) -> None:
    def peak(shape: tuple[int, ...]) -> float:
        measurement = measure(device, measurable(tmp_path, adding_model(shape)), ONCE)
        return next(metric.value for metric in measurement.metrics if metric.name == "peak_memory")

    before, large, after = peak((1, 8)), peak((1, 16_000_000)), peak((1, 8))
    assert large > before + 60e6
    assert after < large - 60e6


def test_a_rendered_model_is_written_to_a_file_and_removed(device: HostCpu) -> None:
    model = MeasurableModel(key="k", name="k", renderer="test", render=adding_model)
    with hold(device.resources):
        session = device.load(model)
        maps = Path(f"/proc/{device._client.pid}/maps").read_text()
        (file,) = {Path(line.split()[-1]) for line in maps.splitlines() if line.endswith("model.tflite")}
        assert file.exists()
        assert session.run(2).count == 2
        session.close()
        assert not file.exists()


def test_a_model_that_the_runtime_refuses_is_infeasible_with_its_message(device: HostCpu, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="unresolved custom op: NobodyKnowsThis"):
        measure(device, measurable(tmp_path, model_with_custom_operator()), ONCE)


def test_a_damaged_file_is_infeasible(device: HostCpu, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="not a valid Flatbuffer"):
        measure(device, measurable(tmp_path, adding_model()[:200]), ONCE)


def test_a_model_too_large_for_memory_is_infeasible(device: HostCpu, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError):
        measure(device, measurable(tmp_path, adding_model((1, 2**31 - 1, 64))), ONCE)


def test_a_missing_file_is_bad_input(device: HostCpu, tmp_path: Path) -> None:
    model = MeasurableModel(key="k", name="k", renderer="file", path=tmp_path / "nothing.tflite")
    with pytest.raises(InvalidModelError, match=r"nothing\.tflite is not a file"):
        measure(device, model, ONCE)


def test_a_model_that_crashes_the_runtime_costs_its_attempts_and_the_next_one_works(
    device: HostCpu, tmp_path: Path
) -> None:
    protocol = MeasurementProtocol(min_runs=3, max_attempts=2)
    with pytest.raises(InfeasibleError, match="every one of 2 attempts failed; the last: the worker was killed by SIG"):
        measure(device, measurable(tmp_path, model_that_crashes()), protocol)
    assert measure(device, measurable(tmp_path, adding_model()), ONCE).batch.count == 3


def test_a_model_that_hangs_costs_its_attempt(tmp_path: Path) -> None:
    with HostCpu(deadline_s=1) as device, pytest.raises(InfeasibleError, match="the last: the worker hung for 1 s"):
        measure(device, measurable(tmp_path, model_that_hangs()), ONCE)


def test_a_session_ends_when_another_model_is_loaded(device: HostCpu, tmp_path: Path) -> None:
    with hold(device.resources):
        first = device.load(measurable(tmp_path, adding_model(), "first"))
        with device.load(measurable(tmp_path, adding_model(), "second")) as second:
            with pytest.raises(AttemptError, match="another model was loaded since"):
                first.run(1)
            first.close()
            assert second.run(1).count == 1


def test_what_crashes_while_letting_go_does_not_cost_the_figures(device: HostCpu, tmp_path: Path) -> None:
    with hold(device.resources):
        with device.load(measurable(tmp_path, adding_model())) as session:
            batch = session.run(3)
            assert device._client.pid is not None
            os.kill(device._client.pid, 9)
        assert batch.count == 3
        with device.load(measurable(tmp_path, adding_model())) as session:
            assert session.run(1).count == 1
