"""A phone that fails: it goes away, is hot or full, is another one, is held by another host, or adb's server dies."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.health import GuardSettings
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.protocol import measure
from leti_opt.errors import DeviceError, PhoneError, PhoneGoneError
from tests.device.android.short_measurements import SHORT, small_network
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import QUICK, MakeDevice, MakePhone
from tests.loopback_phone.phone import LoopbackPhone

pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]


@pytest.mark.parametrize("fault", ["vanish_in_measure", "reboot_in_measure", "vanish_in_push"])
@pytest.mark.parametrize("layout", ["file", "resident"])
def test_a_phone_that_goes_away_and_comes_back_costs_no_attempt(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, fault: str, layout: str
) -> None:
    device = make_device(loopback_phone, layout=layout)
    loopback_phone.faults.switch_on(fault)
    measurement = measure(device, small_network(), SHORT)
    assert loopback_phone.faults.fired[fault] == 1
    assert measurement.faults == ()
    assert len(measurement.attempts) == 1
    assert device.phone.lost_s > 0
    assert device.use.seconds()["failing"] > 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [("oom_kill", "137.*killed"), ("segfault", "139.*segmentation fault"), ("output_cut", "no figures")],
)
def test_a_start_that_fails_costs_one_attempt(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, fault: str, said: str
) -> None:
    loopback_phone.faults.switch_on(fault)
    measurement = measure(make_device(loopback_phone), small_network(), SHORT)
    assert loopback_phone.faults.fired[fault] == 1
    (told,) = measurement.faults
    assert re.search(said, told)


def test_a_hang_is_ended_at_its_deadline(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    loopback_phone.faults.switch_on("hang")
    measurement = measure(make_device(loopback_phone, deadline_s=2), small_network(), SHORT)
    assert loopback_phone.faults.fired["hang"] == 1
    assert "took longer than 2 s" in measurement.faults[0]


def test_a_phone_that_stays_away_is_a_device_error_and_never_infeasible(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    device = make_device(loopback_phone, patience=dataclasses.replace(QUICK, back_within_s=0.5))
    assert device.identity
    loopback_phone.die()
    with pytest.raises(PhoneGoneError, match=f"{loopback_phone.address}.*not back after.*goes on where it was"):
        measure(device, small_network(), SHORT)
    loopback_phone.come_back()
    assert measure(device, small_network(), SHORT).stable


def test_a_phone_that_goes_away_again_and_again_is_given_up(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    loopback_phone.faults.switch_on("vanish_in_measure", times=10)
    with pytest.raises(PhoneGoneError, match="measuring"):
        measure(make_device(loopback_phone), small_network(), SHORT)
    assert loopback_phone.faults.fired["vanish_in_measure"] == QUICK.tries


def test_a_full_phone_is_told_from_a_read_only_one(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    for fault, said in (("storage_full", "No space left.*free some storage"), ("read_only", "Read-only")):
        loopback_phone.faults.switch_on(fault)
        with pytest.raises(PhoneError, match=said):
            measure(make_device(loopback_phone), small_network(), SHORT)
        loopback_phone.faults.switch_off(fault)
    assert loopback_phone.faults.fired["storage_full"] >= 1
    assert measure(make_device(loopback_phone), small_network(), SHORT).stable


def test_a_hot_phone_is_waited_for(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    loopback_phone.faults.switch_on("hot", times=2)
    guard = GuardSettings(look_every_s=0.05)
    device = make_device(loopback_phone, guard=guard)
    measurement = measure(device, small_network(), SHORT)
    assert loopback_phone.faults.fired["hot"] == 2
    assert {metric.name: metric.value for metric in measurement.metrics}["waited_until_fit"] > 0
    assert any("48.5 °C" in line for line in device.told)  # type: ignore[attr-defined]


def test_a_phone_that_stays_hot_or_has_no_battery_is_refused(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    loopback_phone.faults.switch_on("hot", times=1000)
    guard = GuardSettings(look_every_s=0.05, longest_wait_s=0.2)
    with pytest.raises(PhoneError, match=r"48.5 °C, above 40 °C"):
        measure(make_device(loopback_phone, guard=guard), small_network(), SHORT)
    loopback_phone.faults.switch_off("hot")
    loopback_phone.faults.switch_on("battery_low")
    with pytest.raises(PhoneError, match="5 %, below 15 %, and does not charge"):
        measure(make_device(loopback_phone, guard=guard), small_network(), SHORT)
    assert loopback_phone.faults.fired["hot"] > 1
    assert loopback_phone.faults.fired["battery_low"] >= 1


def test_another_phone_under_the_same_address_is_noticed(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    device = make_device(loopback_phone)
    measure(device, small_network(), SHORT)
    loopback_phone.swap(dataclasses.replace(loopback_phone.settings, serial="OTHER"))
    with pytest.raises(PhoneError, match=r"another phone answers there now: its serial number is OTHER, not LOOP0000"):
        measure(device, small_network(), SHORT)
    assert loopback_phone.faults.fired["swapped"] == 1


def test_an_update_while_measuring_ends_the_session(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    device = make_device(loopback_phone)
    measure(device, small_network(), SHORT)
    updated = dataclasses.replace(loopback_phone.settings, fingerprint="loopback/updated")
    loopback_phone.swap(updated)
    with pytest.raises(PhoneError, match=r"its system changed from .* to loopback/updated"):
        measure(device, small_network(), SHORT)
    device.close()
    assert device.epoch.system_build == "loopback/updated"
    assert measure(device, small_network(), SHORT).stable


def test_a_program_for_another_processor_is_refused_before_it_is_pushed(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    loopback_phone.faults.switch_on("wrong_abi")
    with pytest.raises(DeviceError, match=r"x86"):
        measure(make_device(loopback_phone), small_network(), SHORT)
    assert loopback_phone.faults.fired["wrong_abi"] >= 1
    assert not [event for event in loopback_phone.log if event["event"] == "push"]


def test_an_adb_server_that_is_killed_is_started_again(
    loopback_phone: LoopbackPhone, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = PrivateAdbServer(tmp_path).start()
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    try:
        device = AndroidDevice(
            loopback_phone.address, binary=str(binary), server=AdbServer(own.port), patience=QUICK, notify=print
        )
        model = small_network()
        assert measure(device, model, SHORT).stable
        own.kill()
        assert measure(device, model, SHORT).stable
    finally:
        own.stop()


def test_two_hosts_wait_for_each_other(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    device = make_device(loopback_phone, patience=dataclasses.replace(QUICK, lock_s=0.3))
    lock = loopback_phone.userland.here(f"{REMOTE}/lock")
    lock.mkdir(parents=True)
    (lock / "owner").write_text("otherhost 77 feed 9999999999\n")
    with pytest.raises(PhoneError, match="process 77 of the host otherhost has held it"):
        measure(device, small_network(), SHORT)
    (lock / "owner").write_text("otherhost 77 feed 1000\n")
    assert measure(device, small_network(), SHORT).stable
    assert any("taking over a lock" in line for line in device.told)  # type: ignore[attr-defined]
    assert not lock.exists()


def test_the_lock_of_a_dead_process_of_this_host_is_taken_over(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    device = make_device(loopback_phone)
    with device.phone.held():
        owner = (loopback_phone.userland.here(f"{REMOTE}/lock") / "owner").read_text().split()
    assert owner[1] == str(os.getpid())
    lock = loopback_phone.userland.here(f"{REMOTE}/lock")
    lock.mkdir()
    (lock / "owner").write_text(f"{owner[0]} {_dead_pid()} feed 9999999999\n")
    assert measure(device, small_network(), SHORT).stable


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_losing_the_lock_is_an_error(loopback_phone: LoopbackPhone, make_device: MakeDevice) -> None:
    device = make_device(loopback_phone)
    model = small_network()
    with device.load(model) as session:
        (loopback_phone.userland.here(f"{REMOTE}/lock") / "owner").write_text("otherhost 77 feed 9999999999\n")
        with pytest.raises(PhoneError, match="lost to otherhost 77"):
            session.run(3)


def test_an_unauthorized_phone_says_what_to_do(
    make_phone: MakePhone, tmp_path: Path, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = make_phone(authorized=False)
    own = PrivateAdbServer(tmp_path).start()
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    try:
        device = AndroidDevice(
            phone.address, binary=str(binary), server=AdbServer(own.port, connect_s=1.5), patience=QUICK
        )
        with pytest.raises(PhoneError, match=r"has not authorized this computer; unlock the phone and accept"):
            measure(device, small_network(), SHORT)
    finally:
        own.stop()


def test_a_phone_that_adb_calls_connected_but_is_offline_is_connected_anew(
    loopback_phone: LoopbackPhone, make_device: MakeDevice, adb_server: PrivateAdbServer
) -> None:
    device = make_device(loopback_phone)
    assert measure(device, small_network(), SHORT).stable
    loopback_phone.go_silent()
    server = AdbServer(adb_server.port, connect_s=1.5)
    with pytest.raises(PhoneGoneError):
        server.connect(loopback_phone.address)
    assert loopback_phone.faults.fired["offline"] == 1
    loopback_phone.come_back()
    assert measure(device, small_network(), SHORT).stable
