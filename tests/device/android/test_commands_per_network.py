"""How often a phone is spoken to for one network: every command costs it tens of milliseconds of its time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.health import GuardSettings
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.errors import PhoneError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from tests.loopback_phone.fixtures import MakeDevice, MakePhone
from tests.loopback_phone.phone import LoopbackPhone

pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]

CELLS = ("0-1,1-2:conv3x3-bn-relu", "0-1,1-2:maxpool3x3", "0-1,0-2,1-2:conv1x1-bn-relu", "0-1:")
PROTOCOL = MeasurementProtocol(min_runs=5, warmup_runs=1, max_relative_std=1e6)
LAYOUTS = ("file", "resident")
SHELLS = 3
"""Take the phone and see how it is; see that all is there, and start; clear up and let go."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", f"{tmp_path}/cache")


def networks() -> list[MeasurableModel]:
    config = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
    return [MeasurableModel.of_graph(build_layer_graph(Architecture.parse(cell), config)) for cell in CELLS]


def opened(phone: LoopbackPhone, since: int) -> tuple[int, int]:
    """Shell commands and file transfers that the real adb server asked the phone for."""
    services = [service.name for service in phone.services[since:]]
    shells = [service for service in services if service.startswith("shell")]
    transfers = [service for service in services if service.startswith("sync")]
    assert len(shells) + len(transfers) == len(services)
    return len(shells), len(transfers)


def steady(device: AndroidDevice) -> list[MeasurableModel]:
    """Bring a device to where the first networks, and the block of weights, are behind it."""
    first, *others = networks()
    for model in others:
        device.prepare(model)  # the block is made for the largest of them
    measure(device, first, PROTOCOL)
    return others


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_costs_three_commands_and_one_transfer(
    make_phone: MakePhone, make_device: MakeDevice, layout: str
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone, layout=layout)
    for model in steady(device):
        since = len(phone.services)
        assert measure(device, model, PROTOCOL).faults == ()
        shells, transfers = opened(phone, since)
        assert (shells, transfers) == (SHELLS, 1)


def test_a_phone_that_hides_the_number_of_its_boot_is_asked_more_often(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    phone.userland.here("/proc/sys/kernel/random/boot_id").unlink()
    device = make_device(phone)
    (model, *_) = steady(device)
    since = len(phone.services)
    assert measure(device, model, PROTOCOL).faults == ()
    assert opened(phone, since) == (SHELLS + 2, 1)


def test_a_further_attempt_costs_a_look_and_a_start(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    (model, *_) = steady(device)
    since = len(phone.services)
    with device.load(model) as session:
        for _ in range(3):
            session.run(3)
    assert opened(phone, since) == (SHELLS + 2 * 2, 1)


def test_nothing_is_asked_of_the_phone_while_it_runs_a_network(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    for model in steady(device):
        measure(device, model, PROTOCOL)
    starts, ends = ([line["at"] for line in phone.log if line["event"] == event] for event in ("start", "end"))
    assert len(starts) == len(ends) == len(CELLS)
    asked = [service.at for service in phone.services]
    for start, end in zip(starts, ends, strict=True):
        assert any(at < start for at in asked)
        assert not [at for at in asked if start < at < end]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_time_that_goes_into_looking_and_pushing_is_no_initialization(
    make_phone: MakePhone, make_device: MakeDevice, layout: str
) -> None:
    now_s = 0.0

    def clock() -> float:
        return now_s

    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone, layout=layout, clock=clock)
    (model, *_) = steady(device)
    before = dict(device.use.seconds())
    shell, push = device.phone.server.shell, device.phone.server.push

    def slow_shell(address: str, command: str, *rest: object) -> object:
        nonlocal now_s
        now_s += 1000.0 if "--graph=" in command else 1.0
        return shell(address, command, *rest)  # type: ignore[arg-type]

    def slow_push(*arguments: object) -> None:
        nonlocal now_s
        now_s += 100.0
        push(*arguments)  # type: ignore[arg-type]

    device.phone.server.shell = slow_shell  # type: ignore[method-assign, assignment]
    device.phone.server.push = slow_push  # type: ignore[method-assign]
    measure(device, model, PROTOCOL)
    spent = {kind: seconds - before.get(kind, 0.0) for kind, seconds in device.use.seconds().items()}
    # The state is older than a few seconds after so long a push, and is read again: that is the guard's second.
    assert spent["cooling"] == pytest.approx(1.0)
    assert sum(spent.values()) == pytest.approx(1000.0 + 100.0 + 3.0)
    looking_s = spent["transfer"] - 102.0
    assert 0 < looking_s < 20
    assert spent["initialization"] + spent["timed runs"] == pytest.approx(1000.0 - looking_s)


@contextmanager
def between_push_and_start(device: AndroidDevice, happens: object) -> Iterator[list[bool]]:
    """Let something happen once, right before the program is started."""
    start, struck = device.phone.start, list[bool]()

    def start_after(script: str, deadline_s: float) -> object:
        if not struck:
            struck.append(True)
            happens()  # type: ignore[operator]
        return start(script, deadline_s)

    device.phone.start = start_after  # type: ignore[method-assign, assignment]
    yield struck
    device.phone.start = start  # type: ignore[method-assign]


def measured_all_the_same(device: AndroidDevice, model: MeasurableModel, happens: object) -> Measurement:
    with between_push_and_start(device, happens) as struck:
        measurement = measure(device, model, PROTOCOL)
    assert struck == [True]
    assert measurement.faults == ()
    return measurement


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_that_vanishes_before_its_start_is_pushed_again(
    make_phone: MakePhone, make_device: MakeDevice, layout: str
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone, layout=layout)
    (model, *_) = steady(device)
    folder = phone.userland.here(REMOTE)

    def vanishes() -> None:
        for path in (*folder.glob("*.tflite"), *folder.glob("header")):
            path.unlink()

    since = len(phone.services)
    measured_all_the_same(device, model, vanishes)
    assert opened(phone, since)[1] == (2 if layout == "file" else 3)
    assert len([line for line in phone.log if line["event"] == "start"]) == 2


def test_a_network_that_is_overwritten_before_its_start_is_not_measured(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    (model, other, *_) = steady(device)
    path = phone.userland.here(f"{REMOTE}/model.tflite")
    measured_all_the_same(device, model, lambda: path.write_bytes(other.tflite))
    digests = {line["model_sha256"] for line in phone.log if line["event"] == "start"}
    assert len(digests) == 2


def test_a_file_that_never_stays_is_the_phones_fault(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    (model, *_) = steady(device)
    start = device.phone.start

    def start_without(script: str, deadline_s: float) -> object:
        phone.userland.here(f"{REMOTE}/model.tflite").unlink()
        return start(script, deadline_s)

    device.phone.start = start_without  # type: ignore[method-assign, assignment]
    with pytest.raises(PhoneError, match=r"model\.tflite was gone 3 times"):
        measure(device, model, PROTOCOL)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_restart_between_push_and_start_is_noticed_and_costs_no_attempt(
    make_phone: MakePhone, make_device: MakeDevice, layout: str
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone, layout=layout)
    (model, *_) = steady(device)
    measured_all_the_same(device, model, phone.userland.boot)
    assert any("it has restarted" in line for line in device.told)  # type: ignore[attr-defined]


def test_another_phone_between_push_and_start_is_noticed(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    (model, *_) = steady(device)
    other = dataclasses.replace(phone.settings, serial="OTHER")
    with (
        between_push_and_start(device, lambda: phone.swap(other)) as struck,
        pytest.raises(PhoneError, match="another phone answers there now"),
    ):
        measure(device, model, PROTOCOL)
    assert struck == [True]


def test_a_phone_that_heats_up_between_two_networks_is_waited_for(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone, guard=GuardSettings(look_every_s=0.05))
    (model, *_) = steady(device)
    phone.faults.switch_on("hot", times=2)
    measurement = measure(device, model, PROTOCOL)
    assert phone.faults.fired["hot"] == 2
    assert {metric.name: metric.value for metric in measurement.metrics}["waited_until_fit"] > 0


def test_a_network_of_another_host_is_not_removed(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phone = make_phone(fixed_run_ms=1.0)
    device = make_device(phone)
    (model, *_) = steady(device)
    folder = phone.userland.here(REMOTE)
    session = device.load(model)
    (folder / "lock/owner").write_text("otherhost 77 feed 9999999999\n")
    session.close()
    assert (folder / "model.tflite").exists()
    assert (folder / "lock/owner").read_text().startswith("otherhost")


def test_waiting_for_another_host_is_no_transfer(make_phone: MakePhone, make_device: MakeDevice) -> None:
    now_s = 0.0
    phone = make_phone(fixed_run_ms=1.0)
    owner = phone.userland.here(f"{REMOTE}/lock/owner")

    def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        owner.write_text("otherhost 77 feed 1000\n")

    device = make_device(phone, clock=lambda: now_s, sleep=sleep)
    (model, *_) = steady(device)
    owner.parent.mkdir()
    owner.write_text("otherhost 77 feed 9999999999\n")
    with device.load(model):
        assert device.phone.waited_s == now_s > 0
    assert device.use.seconds()["transfer"] < 1.0
