"""Fixtures for whoever tests against loopback phones: import them into a ``conftest.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.android.phone_connection import Patience
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fake_binary import fake_binary
from tests.loopback_phone.phone import LoopbackPhone
from tests.loopback_phone.settings import PhoneSettings

QUICK = Patience(tries=3, back_within_s=20.0, pause_s=0.05, command_s=10.0, lock_s=2.0)
"""Loopback phones are gone for a fraction of a second only."""

MakePhone = Callable[..., LoopbackPhone]
MakeDevice = Callable[..., AndroidDevice]


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAdbServer]:
    """A real adb server on a port of its own."""
    server = PrivateAdbServer(tmp_path_factory.mktemp("adb")).start()
    yield server
    server.stop()


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """A stand-in for benchmark_model, for arm64-v8a."""
    path = tmp_path / "benchmark_model"
    path.write_bytes(fake_binary())
    return path


@pytest.fixture
def make_phone(tmp_path: Path, adb_server: PrivateAdbServer) -> Iterator[MakePhone]:
    """Makes loopback phones: ``make_phone(serial="A", fixed_run_ms=1.0)``."""
    made: list[LoopbackPhone] = []

    def make(away_s: float = 0.3, **settings: object) -> LoopbackPhone:
        given = {"serial": f"LOOP{len(made):04}", **settings}
        phone = LoopbackPhone(tmp_path / f"phone{len(made)}", PhoneSettings(**given), away_s=away_s)  # type: ignore[arg-type]
        made.append(phone.start())
        return phone

    yield make
    for phone in made:
        AdbServer(adb_server.port).disconnect(phone.address)
        phone.stop()


@pytest.fixture
def loopback_phone(make_phone: MakePhone) -> LoopbackPhone:
    """One loopback phone."""
    return make_phone()


@pytest.fixture
def make_device(
    adb_server: PrivateAdbServer, binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeDevice:
    """Opens a unit of a loopback phone: ``make_device(phone, "gpu", deadline_s=5)``; it tells to ``device.told``."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def make(phone: LoopbackPhone, unit: str = "cpu", **options: object) -> AndroidDevice:
        told: list[str] = []
        settings = {
            "binary": str(binary),
            "server": AdbServer(adb_server.port, connect_s=1.5),
            "patience": QUICK,
            "notify": told.append,
            **options,
        }
        device = AndroidDevice(phone.address, unit, **settings)  # type: ignore[arg-type]
        device.told = told  # type: ignore[attr-defined]
        return device

    return make
