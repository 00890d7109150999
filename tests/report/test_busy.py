"""The warning before a search on a busy machine says what is busy, and what it costs."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from leti_opt.device.device import DeviceIdentity
from leti_opt.device.host_health import BusyProcess, HostActivity, HostWatch, host_metrics, observe_host
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.objective.canary import CanarySettings, canary_model
from leti_opt.objective.measuring import MeasuringService
from leti_opt.report import busy
from leti_opt.report.busy import BusyForecast, forecast_busy
from leti_opt.store.latency_store import LatencyStore
from tests.objective.pacing_device import PacingDevice

CALM = HostActivity(0.5, 0.05, 0.0)
BUSY = HostActivity(0.5, 1.5, 0.25, (BusyProcess("ffmpeg", 7, 1.5),))


class HostLike(PacingDevice):
    @property
    def identity(self) -> DeviceIdentity:
        return DeviceIdentity("host-cpu", "one", "none", "test", "cpu")


def service(device: PacingDevice, offline: bool = False) -> MeasuringService:
    return MeasuringService(
        device, LatencyStore(":memory:"), MeasurementProtocol(), offline, canary=CanarySettings(pace="off")
    )


@pytest.fixture
def burden() -> Iterator[int]:
    """A process that keeps a core busy; gives its number."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.2)
    yield process.pid
    process.kill()
    process.wait()


def test_a_busy_process_is_seen_and_named(burden: int) -> None:
    activity = observe_host(1.0)
    assert burden in {process.pid for process in activity.busy}
    assert activity.others_cores > 0.1


def test_the_processes_that_measure_are_not_counted_as_others(burden: int) -> None:
    activity = observe_host(1.0, own_pids=(burden,))
    assert burden not in {process.pid for process in activity.busy}


def test_a_watch_counts_from_its_making(burden: int) -> None:
    watch = HostWatch()
    time.sleep(1.0)
    activity = watch.activity()
    assert activity.seconds >= 1.0
    assert activity.others_cores > 0.1
    assert {metric.name for metric in host_metrics(activity)} >= {"load_average_1min", "other_processes", "steal"}


def test_a_calm_machine_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "observe_host", lambda _: CALM)
    assert forecast_busy(service(HostLike(lambda _: 1.0))) is None


def test_a_busy_machine_is_named_with_its_cost_and_the_trials_are_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "observe_host", lambda _: BUSY)
    paces = itertools.cycle((1.0, 3.0))
    device = HostLike(lambda _: next(paces))
    asked = service(device)
    forecast = forecast_busy(asked)
    assert forecast is not None
    assert forecast.kept == [False] * busy.TRIALS
    assert forecast.attempts == asked.protocol.max_attempts
    lines = forecast.lines()
    assert "ffmpeg, pid 7: 1.5" in lines[0]
    assert "0 of 5 trial measurements kept the rule: expect 5.0 attempts a network" in lines[1]
    assert asked.store.info().measurements == 0
    kept = asked.store.find(canary_model().key, device.identity, include_suspect=True)
    assert len(kept) == busy.TRIALS, "the trials are stored all the same"


def test_the_slowdown_is_against_the_canary_of_better_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "observe_host", lambda _: BUSY)
    store = LatencyStore(":memory:")
    pace = {"now": 1.0}
    device = HostLike(lambda _: pace["now"])
    quick = CanarySettings(every_s=0.0, calibration=2, spacing_s=0.0)
    watched = MeasuringService(device, store, MeasurementProtocol(), canary=quick)
    from leti_opt.device.model import MeasurableModel
    from leti_opt.objective.answers import Question

    watched.answer(Question("one", lambda: MeasurableModel("key", "one", "none")))
    pace["now"] = 2.0
    forecast = forecast_busy(watched)
    assert forecast is not None
    assert forecast.slowdown == pytest.approx(2.0, rel=0.01)
    assert "2.00 times slower" in forecast.lines()[2]


def test_other_devices_and_offline_services_are_not_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy, "observe_host", lambda _: pytest.fail("nobody may look"))
    assert forecast_busy(service(PacingDevice(lambda _: 1.0))) is None
    assert forecast_busy(service(HostLike(lambda _: 1.0), offline=True)) is None


def test_attempts_follow_from_the_trials() -> None:
    assert BusyForecast(BUSY, [True, False, True, True], None, 5).attempts == pytest.approx(4 / 3)
