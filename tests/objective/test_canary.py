"""The canary: what was measured while the device was not itself is noticed, withdrawn and measured again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.device.device import Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import DeviceError, InfeasibleError, InvalidProtocolError
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.answers import Answer, Question, Source
from leti_opt.objective.band import Band
from leti_opt.objective.canary import Canary, CanarySettings, canary_model
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.measuring import MeasuringService
from leti_opt.store.latency_store import LatencyStore
from tests.objective.cells import CONV, DEEP, POOL
from tests.objective.pacing_device import QUICK, PacingDevice, watched


def question(number: int) -> Question:
    model = MeasurableModel(f"key-{number}", f"network {number}", "none")
    return Question(model.name, lambda: model)


def service_on(
    pace: Callable[[float], float], canary: CanarySettings = QUICK, protocol: MeasurementProtocol | None = None
) -> tuple[MeasuringService, PacingDevice, list[str]]:
    device, lines = PacingDevice(pace), []
    service = watched(
        MeasuringService(device, LatencyStore(":memory:"), protocol or MeasurementProtocol(), canary=canary), device
    )
    service.notify = lines.append
    return service, device, lines


def loaded_between(begin_s: float, end_s: float, factor: float = 2.0) -> Callable[[float], float]:
    return lambda now_s: factor if begin_s <= now_s < end_s else 1.0


def latencies_of(service: MeasuringService, count: int) -> list[float]:
    answers = [service.answer(question(number)) for number in range(count)]
    service.settle()
    found = [service.current(answer).measurement for answer in answers]
    return [measurement.latency_ms() for measurement in found if measurement is not None]


def test_without_a_canary_a_loaded_stretch_stays_in_the_results() -> None:
    service, device, _ = service_on(loaded_between(8, 12), CanarySettings(pace="off"))
    latencies = latencies_of(service, 60)
    assert device.now_s > 12
    assert max(latencies) == pytest.approx(2.0, rel=0.01)


def test_what_was_measured_under_load_is_measured_again_when_the_device_is_back() -> None:
    service, device, lines = service_on(loaded_between(8, 12))
    latencies = latencies_of(service, 60)
    assert device.now_s > 12
    assert len(latencies) == 60
    assert latencies == pytest.approx([1.0] * 60, rel=0.01)
    assert any("2.00 times" in line for line in lines)
    assert lines[-1] == "the device is back at its usual pace"
    table = service.store.to_frame()
    assert table["mean_ms"].max() == pytest.approx(1.0, rel=0.01)
    withdrawn = service.store.info().measurements - len(table)
    assert withdrawn >= 1, "what was withdrawn stays in the store"


def test_a_load_that_begins_with_the_last_networks_is_noticed_at_the_end() -> None:
    burdened = {"since_s": math.inf}
    service, device, lines = service_on(loaded_between_marks(burdened), replace(QUICK, every_s=7.0))
    answers = [service.answer(question(number)) for number in range(30)]
    assert device.now_s > 7
    burdened["since_s"] = device.now_s
    answers.append(service.answer(question(30)))
    assert lines == [], "the next check is not due yet"
    assert service.current(answers[-1]).measurement.latency_ms() == pytest.approx(2.0, rel=0.01)  # type: ignore[union-attr]
    service.settle()
    assert len(lines) == 2
    assert service.current(answers[-1]).measurement.latency_ms() == pytest.approx(1.0, rel=0.01)  # type: ignore[union-attr]


def loaded_between_marks(burdened: dict[str, float]) -> Callable[[float], float]:
    """Twice as slow for two seconds from a moment that the test sets."""
    return lambda now_s: 2.0 if 0 <= now_s - burdened["since_s"] < 2 else 1.0


def test_a_load_from_the_very_beginning_shows_when_it_ends_and_all_before_is_measured_again() -> None:
    service, device, lines = service_on(lambda now_s: 2.0 if now_s < 25 else 1.0)
    latencies = latencies_of(service, 60)
    assert device.now_s > 25
    assert latencies == pytest.approx([1.0] * 60, rel=0.01)
    assert any("quicker than when watching began" in line for line in lines)
    assert len(service.store.to_frame()) == 60
    band = service._watch._canary.band  # type: ignore[union-attr]
    assert band is not None
    assert band.centre_ms == pytest.approx(1.0, rel=0.01)


def test_a_load_that_grows_before_it_ends_shows_that_the_band_was_made_under_it() -> None:
    service, device, lines = service_on(lambda now_s: 2.0 if now_s < 25 else 4.0 if now_s < 40 else 1.0)
    latencies = latencies_of(service, 60)
    assert device.now_s > 40
    assert any("2.00 times" in line for line in lines)
    assert any("quicker than when watching began" in line for line in lines)
    assert latencies == pytest.approx([1.0] * 60, rel=0.01)


def test_a_device_that_becomes_quicker_long_after_its_band_was_made_is_not_believed() -> None:
    service, device, _ = service_on(lambda now_s: 1.0 if now_s < 700 else 0.5)
    latencies_of(service, 20)
    device.sleep(800)
    with pytest.raises(DeviceError, match=r"takes 0\.50 times"):
        service.answer(question(100))


def test_a_short_spell_of_a_quicker_device_does_not_count() -> None:
    service, device, lines = service_on(lambda now_s: 0.5 if 8 <= now_s < 10.5 else 1.0)
    latencies = latencies_of(service, 60)
    assert device.now_s > 11
    assert latencies == pytest.approx([1.0] * 60, rel=0.01)
    assert not any("quicker than when watching began" in line for line in lines)


def test_the_band_is_made_between_the_first_networks_so_that_a_load_that_comes_soon_is_noticed() -> None:
    service, device, _ = service_on(loaded_between(6, 9), replace(QUICK, every_s=8.0))
    latencies = latencies_of(service, 60)
    assert device.loads[:4] == ["network 0", "network 1", "canary", "network 2"]
    assert device.now_s > 9
    assert latencies == pytest.approx([1.0] * 60, rel=0.01)


def test_a_device_that_does_not_come_back_is_its_own_fault_and_everything_is_kept() -> None:
    service, device, _ = service_on(loaded_between(8, 1e9))
    with pytest.raises(DeviceError, match=r"has changed: the canary takes 2\.00 times.*--new-pace"):
        latencies_of(service, 60)
    assert device.slept_s > 0.8 * QUICK.wait_s
    good = len(service.store.to_frame())
    assert good > 10
    assert service.store.suspects(device.identity, device.epoch) != []


def test_a_new_pace_can_be_taken_for_the_usual_one() -> None:
    service, device, _ = service_on(loaded_between(8, 1e9))
    with pytest.raises(DeviceError):
        latencies_of(service, 60)
    renewed = watched(
        MeasuringService(device, service.store, MeasurementProtocol(), canary=replace(QUICK, renew=True)), device
    )
    later = [renewed.answer(question(number)) for number in range(200, 230)]
    renewed.settle()
    assert [renewed.current(answer).measurement.latency_ms() for answer in later] == pytest.approx([2.0] * 30, rel=0.01)  # type: ignore[union-attr]


def test_a_session_that_is_too_short_for_a_check_measures_no_canary() -> None:
    service, device, _ = service_on(lambda _: 1.0)
    service.answer(question(0))
    service.settle()
    assert device.loads == ["network 0"]


def test_the_band_is_known_from_the_store_in_the_next_session() -> None:
    service, device, _ = service_on(lambda _: 1.0)
    latencies_of(service, 20)
    again = watched(MeasuringService(device, service.store, MeasurementProtocol(), canary=QUICK), device)
    before = device.loads.count("canary")
    again.answer(question(500))
    again.settle()
    assert device.loads.count("canary") - before == QUICK.looks


def test_canaries_are_no_results() -> None:
    service, device, _ = service_on(lambda _: 1.0)
    latencies_of(service, 20)
    assert device.loads.count("canary") >= QUICK.calibration
    assert service.store.info().measurements == 20
    assert set(service.store.to_frame()["name"]) == {f"network {number}" for number in range(20)}


def test_another_process_asks_again_for_what_was_withdrawn(tmp_path: Path) -> None:
    service, device, _ = service_on(lambda _: 1.0)
    first = service.answer(question(1))
    assert first.measurement is not None
    service.store.suspect(device.identity, device.epoch, since=first.measurement.started_at, reason="test")
    other = MeasuringService(device, service.store, MeasurementProtocol())
    assert other.answer(question(1)).source is Source.DEVICE


def wandering(now_s: float) -> float:
    """Slow for two of every three tenths of a second."""
    return 1.5 if int(now_s * 3) % 3 else 1.0


def test_at_quiet_pace_every_figure_is_of_the_quickest_level() -> None:
    short = MeasurementProtocol(min_runs=50)
    service, _, _ = service_on(wandering, replace(QUICK, pace="quiet", runs=20, spacing_s=0.11), short)
    quiet = latencies_of(service, 30)
    assert quiet == pytest.approx([1.0] * 30, rel=0.05)
    service, _, _ = service_on(wandering, replace(QUICK, pace="off"), short)
    assert max(latencies_of(service, 30)) > 1.3


def test_at_quiet_pace_a_network_that_spreads_by_itself_is_unstable_not_endless() -> None:
    protocol = MeasurementProtocol(max_relative_std=0.001, max_attempts=3)
    service, _, _ = service_on(lambda _: 1.0, replace(QUICK, pace="quiet"), protocol)
    answer = service.answer(question(0))
    assert answer.provisional
    assert service.store.info().measurements == 3


def test_a_wandering_device_refuses_a_relative_error_that_it_cannot_reach() -> None:
    service, _, _ = service_on(wandering, QUICK, MeasurementProtocol(relative_error=0.01))
    with pytest.raises(InvalidProtocolError, match="its pace wanders by"):
        service.answer(question(0))


def test_a_steady_device_reaches_a_relative_error_with_few_runs() -> None:
    service, _, _ = service_on(lambda _: 1.0, QUICK, MeasurementProtocol(relative_error=0.01))
    measurement = service.answer(question(0)).measurement
    assert measurement is not None
    assert measurement.stable
    assert measurement.batch.count is not None
    assert 30 <= measurement.batch.count < 300
    assert "wander" in {metric.name for metric in measurement.metrics}


def test_an_objective_answers_with_what_replaced_a_withdrawn_figure() -> None:
    device = PacingDevice(loaded_between(8, 12))
    objective = DeviceLatencyObjective(device, NetworkConfig.small(), store=":memory:", canary=QUICK)
    watched(objective.service, device)
    told: list[float] = []
    cells = (POOL, CONV, DEEP)
    while device.now_s < 9:  # the last ones under load
        told.append(objective(cells[len(told) % 3]))
        device.sleep(1.0)
    objective.settle()
    assert max(evaluation.latency_ms for evaluation in objective.evaluations) == pytest.approx(1.0, rel=0.01)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0.5, 2.0), min_size=24, max_size=60),
    st.floats(0.01, 100.0),
)
def test_a_band_scales_with_its_looks_and_holds_its_centre(looks: list[float], factor: float) -> None:
    for make in (Band.of, Band.quickest):
        band, scaled = make(looks, 0.03), make([factor * look for look in looks], 0.03)
        assert scaled.centre_ms == pytest.approx(factor * band.centre_ms)
        assert band.holds(band.centre_ms)
        assert min(looks) <= band.centre_ms <= max(looks)
        assert band.width >= 0.03
    assert all(Band.of(looks, 0.03).holds(look) for look in looks)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"pace": "fast"}, "unknown pace"),
        ({"looks": 0}, "looks"),
        ({"wait_s": -1.0}, "wait_s"),
        ({"least_band": 1.5}, "least_band"),
    ],
)
def test_settings_that_make_no_sense_are_refused(chosen: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidProtocolError, match=words):
        CanarySettings(**chosen)  # type: ignore[arg-type]


def test_the_canary_is_not_a_network_of_the_presets() -> None:
    assert canary_model().layer_graph is not None
    assert canary_model().layer_graph.input_shape == (28, 28, 3)  # type: ignore[union-attr]


def test_a_real_canary_is_measured_on_this_host(tmp_path: Path) -> None:
    quick = CanarySettings(every_s=0.0, calibration=3, spacing_s=0.0, runs=10, least_band=0.99)
    objective = DeviceLatencyObjective(
        "host-cpu",
        NetworkConfig.small(filters=8),
        store=tmp_path / "latency.db",
        protocol=MeasurementProtocol(min_runs=10, max_relative_std=1e9),
        canary=quick,
    )
    objective(POOL)
    objective.close()
    looks = objective.store.find(canary_model().key, objective.service.identity, include_suspect=True)
    assert len(looks) >= 3
    names = {metric.name for metric in looks[0].metrics}
    assert {"load_average_1min", "other_processes", "steal"} <= names


def test_answers_without_a_measurement_stay_as_they_are() -> None:
    service, _, _ = service_on(lambda _: 1.0)
    answer = Answer(Source.STORE, failure="refused")
    assert service.current(answer) is answer


class _RefusingDevice(PacingDevice):
    def load(self, model: MeasurableModel) -> Session:  # noqa: ARG002
        raise InfeasibleError("no operator is delegated")


def test_a_device_that_refuses_the_canary_is_at_fault_and_not_the_network() -> None:
    device = _RefusingDevice(lambda _: 1.0)
    canary = Canary(device, LatencyStore(":memory:"), device.identity, device.epoch, QUICK, print, device.clock)
    with pytest.raises(DeviceError, match=r"cannot run the canary's network.*no operator is delegated.*--pace off"):
        canary.check()


@pytest.mark.parametrize(("every_s", "due"), [(None, True), (50.0, False)])
def test_how_often_it_is_due_is_the_devices_to_say_unless_the_user_does(every_s: float | None, due: bool) -> None:
    device = PacingDevice(lambda _: 1.0)
    device.canary_every_s = 20.0
    settings = replace(QUICK, every_s=every_s)
    canary = Canary(device, LatencyStore(":memory:"), device.identity, device.epoch, settings, print, device.clock)
    device.sleep(30.0)
    assert canary.due == due
