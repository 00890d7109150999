"""A phone behind an objective: its canary, its epochs, profiles, and two who want it at once."""

from __future__ import annotations

import dataclasses
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from leti_opt import DeviceLatencyObjective, LatencyStore, MeasurementProtocol, NetworkConfig
from leti_opt.architecture import Architecture
from leti_opt.cli.main import app
from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.health import GuardSettings
from leti_opt.device.protocol import measure
from leti_opt.device.resource_lock import hold
from leti_opt.errors import AttemptError, InvalidProtocolError, PhoneError, PhoneGoneError
from leti_opt.objective.answers import Source
from leti_opt.objective.canary import CanarySettings, canary_model
from leti_opt.objective.panel import changed_since
from leti_opt.objective.questions import cell_question
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakeDevice, MakePhone
from tests.loopback_phone.phone import LoopbackPhone

pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]

NETWORK = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
PROTOCOL = MeasurementProtocol(min_runs=5, warmup_runs=1, max_relative_std=1e6)
OFF = CanarySettings(pace="off")
CELLS = [
    Architecture.parse(text)
    for text in ("0-1,1-2:conv1x1-bn-relu", "0-1,1-2:conv3x3-bn-relu", "0-1,1-2:maxpool3x3", "0-1:")
]


@pytest.fixture
def store() -> LatencyStore:
    return LatencyStore(":memory:")


def starts(phone: LoopbackPhone) -> int:
    return len([line for line in phone.log if line["event"] == "start"])


def wait_until_back(device: AndroidDevice) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return device.contact()
        except PhoneGoneError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_phones_canary_is_looked_at_between_networks(
    make_phone: MakePhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    device = make_device(make_phone(fixed_run_ms=1.0))
    assert device.canary_every_s == 60.0
    often = CanarySettings(every_s=0.0, runs=3, looks=1, calibration=3, spacing_s=0.0, least_band=0.9)
    objective = DeviceLatencyObjective(device, NETWORK, store=store, protocol=PROTOCOL, canary=often)
    for cell in CELLS[:2]:
        objective(cell)
    looks = store.find(canary_model().key, device.identity, device.epoch)
    assert len(looks) == 3 + 2
    assert {look.batch.count for look in looks} == {3}
    objective.close()


def test_a_phone_that_becomes_slower_has_its_figures_withdrawn_and_measured_again(
    make_phone: MakePhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    often = CanarySettings(every_s=0.0, runs=5, looks=1, calibration=3, spacing_s=0.0, least_band=0.5)
    objective = DeviceLatencyObjective(device, NETWORK, store=store, protocol=PROTOCOL, canary=often)
    told: list[str] = []

    def heard(line: str) -> None:
        told.append(line)
        if "will be measured again" in line:
            phone.userland.become(dataclasses.replace(phone.settings, fixed_run_ms=1.0))

    objective.service.notify = heard
    objective(CELLS[0])
    phone.userland.become(dataclasses.replace(phone.settings, fixed_run_ms=5.0))
    evaluation = objective.evaluate(CELLS[1])
    assert any("the canary takes" in line for line in told)
    assert "the device is back at its usual pace" in told
    assert evaluation.latency_ms < 3.0
    assert objective(CELLS[1]) < 3.0
    objective.close()


@pytest.mark.parametrize(
    ("changed", "unit"),
    [
        ({"fingerprint": "loopback/updated"}, "cpu"),
        ({"gles": "Loopback, Painter 1, OpenGL ES 3.2 v2.0"}, "gpu"),
        ({"serial": "ANOTHER"}, "cpu"),
    ],
)
def test_an_update_a_driver_and_another_unit_start_an_epoch(
    changed: dict[str, str], unit: str, make_phone: MakePhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    phone = make_phone()
    before = DeviceLatencyObjective(make_device(phone, unit), NETWORK, store=store, protocol=PROTOCOL, canary=OFF)
    before(CELLS[0])
    before.close()
    phone.swap(dataclasses.replace(phone.settings, **changed))
    wait_until_back(make_device(phone))
    after = DeviceLatencyObjective(make_device(phone, unit), NETWORK, store=store, protocol=PROTOCOL, canary=OFF)
    assert after.service.identity == before.service.identity
    assert after.service.epoch != before.service.epoch
    line = changed_since(store, after.service.identity, after.service.epoch)
    assert line is not None
    assert "leti-opt compare --panel" in line
    assert after.evaluate(CELLS[0]).answer.source is Source.DEVICE
    after.close()


def test_two_that_want_one_phone_take_turns(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    def measure_all(_: int) -> list[float]:
        device = make_device(loopback_phone)
        objective = DeviceLatencyObjective(
            device, NETWORK, store=LatencyStore(":memory:"), protocol=PROTOCOL, canary=OFF
        )
        found = [objective(cell) for cell in CELLS]
        objective.close()
        return found

    with ThreadPoolExecutor(2) as both:
        found = list(both.map(measure_all, range(2)))
    assert [len(each) for each in found] == [len(CELLS)] * 2
    running = 0
    for line in loopback_phone.log:
        running += {"start": 1, "end": -1}.get(line["event"], 0)
        assert running in (0, 1)
    assert starts(loopback_phone) == 2 * len(CELLS)


def test_what_is_stored_answers_without_the_phone(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    device = make_device(loopback_phone)
    online = DeviceLatencyObjective(device, NETWORK, store=store, protocol=PROTOCOL, canary=OFF)
    latency_ms = online(CELLS[0])
    online.close()
    loopback_phone.die()
    offline = DeviceLatencyObjective(
        make_device(loopback_phone), NETWORK, store=store, protocol=PROTOCOL, canary=OFF, offline=True
    )
    assert offline(CELLS[0]) == latency_ms


def test_a_phone_that_goes_away_while_its_profile_is_fetched_is_asked_again(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    loopback_phone.faults.switch_on("vanish_in_pull")
    times = make_device(loopback_phone).operator_times(cell_question(CELLS[1], NETWORK).build(), runs=5)
    assert loopback_phone.faults.fired["vanish_in_pull"] == 1
    assert "CONV_2D" in {time.operator for time in times}


def test_a_table_of_operators_is_shown_for_a_phone(
    loopback_phone: LoopbackPhone,
    adb_server: PrivateAdbServer,
    binary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    monkeypatch.setenv("LETI_BENCHMARK_MODEL", str(binary))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    words = ["measure", str(CELLS[1]), "--network", "small", "--set", "filters=8", "--min-runs", "5", "--profile"]
    words += ["--device", f"android:{loopback_phone.address}/cpu", "--store", str(tmp_path / "s.db"), "--pace", "off"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code in (0, 6), shown.output
    assert "CONV_2D" in shown.output
    assert "benchmark_model's own profiler" in shown.output
    as_json = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert as_json[0]["operators"][0]["operator"] == "CONV_2D"


def test_a_protocol_that_a_phone_cannot_follow_is_refused_before_anything_runs(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    impossible = MeasurementProtocol(relative_error=0.05)
    objective = DeviceLatencyObjective(make_device(loopback_phone), NETWORK, store=store, protocol=impossible)
    with pytest.raises(InvalidProtocolError, match="does not reveal single runs"):
        objective(CELLS[0])
    assert starts(loopback_phone) == 0


def test_a_lock_that_the_other_unit_could_not_let_go_of_keeps_nobody_waiting(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    cpu, gpu = make_device(loopback_phone), make_device(loopback_phone, "gpu")
    model = cell_question(CELLS[0], NETWORK).build()
    with hold(cpu.resources):
        session = cpu.load(model)
        loopback_phone.die()
        session.close()
    loopback_phone.come_back()
    wait_until_back(gpu)
    with hold(gpu.resources), gpu.load(model):
        assert any("taking over a lock" in line for line in gpu.told)  # type: ignore[attr-defined]


def test_a_push_that_is_too_slow_is_the_connections_fault(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make_device(loopback_phone)
    push = AdbServer.push

    def slow(server: AdbServer, address: str, source: bytes | Path, remote: str, *rest: Any) -> None:
        if remote.endswith("model.tflite"):
            raise AttemptError("pushing took longer than 20 s")
        push(server, address, source, remote, *rest)

    monkeypatch.setattr(AdbServer, "push", slow)
    with hold(device.resources), pytest.raises(PhoneGoneError, match="pushing the network: no end after"):
        measure(device, cell_question(CELLS[0], NETWORK).build(), PROTOCOL)


def test_a_wait_for_a_hot_phone_can_be_ended(
    make_phone: MakePhone, make_device: MakeDevice, store: LatencyStore
) -> None:
    phone = make_phone(battery_c=55.0)
    device = make_device(phone, guard=GuardSettings(look_every_s=600.0))
    objective = DeviceLatencyObjective(device, NETWORK, store=store, protocol=PROTOCOL, canary=OFF)
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(objective, CELLS[0])
        deadline = time.monotonic() + 20
        while not any("55 °C" in line for line in device.told):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        device.interrupt()
        with pytest.raises(PhoneError, match="nobody needs it any more"):
            asked.result(60)
    phone.userland.become(dataclasses.replace(phone.settings, battery_c=25.0))
    objective.close()
    assert objective(CELLS[0]) > 0
    objective.close()
