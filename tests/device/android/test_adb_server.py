"""The adb server: one that is not there, one that is none, and one that several start at once."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import adbutils
import pytest

from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.adb_wire import Wire
from leti_opt.errors import DeviceError, PhoneGoneError
from tests.device.android.scripted_adb import scripted_adb
from tests.loopback_phone.adb_server import PrivateAdbServer


def test_a_program_that_is_no_adb_server_is_told_from_a_phone_that_does_not_answer() -> None:
    with scripted_adb(greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        with pytest.raises(DeviceError, match=f"no adb server answers at 127.0.0.1:{port}: .*see what uses the port"):
            AdbServer(port).listed()
        with pytest.raises(PhoneGoneError, match="not an adb server"):
            AdbServer(port).shell("R58M123", "true", 5)


def test_a_server_that_says_nothing_is_not_the_phones_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leti_opt.device.android.adb._QUERY_S", 0.2)
    monkeypatch.setattr("leti_opt.device.android.adb._ECHO_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = AdbServer(silent.getsockname()[1])
        for ask in (server.listed, lambda: server.shell("R58M123", "true", 0.2)):
            with pytest.raises(DeviceError, match=r"no adb server answers at .*: it says nothing; "):
                ask()


def test_a_server_that_ends_again_and_again_is_an_error() -> None:
    with (
        scripted_adb(greeting=b"OK") as port,
        pytest.raises(DeviceError, match=r"no adb server answers at .*: it broke off; "),
    ):
        AdbServer(port).listed()


def test_none_is_started_here_for_another_computer(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", "127.0.0.2")
    monkeypatch.setattr(adbutils, "adb_path", lambda: pytest.fail("adb was started"))
    with pytest.raises(DeviceError, match=r"no adb server answers at 127\.0\.0\.2:.*unset ANDROID_ADB_SERVER_HOST"):
        AdbServer(unused_port).listed()


def test_a_server_that_does_not_start_is_an_error_with_the_command_to_try(
    monkeypatch: pytest.MonkeyPatch, unused_port: int, tmp_path: Path
) -> None:
    adb = tmp_path / "adb"
    adb.write_text("#!/bin/sh\necho 'cannot bind'\nexit 1\n")
    adb.chmod(0o755)
    monkeypatch.setattr(adbutils, "adb_path", lambda: str(adb))
    with pytest.raises(DeviceError, match=f"does not start: cannot bind; try it by hand: {adb} -P {unused_port}"):
        AdbServer(unused_port).listed()


@pytest.mark.needs("adb")
def test_several_may_start_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    private = PrivateAdbServer(tmp_path)
    for name, value in private.environment.items():
        monkeypatch.setenv(name, value)
    try:
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(lambda _: AdbServer().listed(), range(6))) == [[]] * 6
    finally:
        private.stop()


def test_small_requests_are_sent_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connected:
        Wire(connected, time.monotonic() + 5)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
