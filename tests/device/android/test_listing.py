"""``leti-opt devices list``: every phone that adb knows, its state, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import adbutils
import pytest
from typer.testing import CliRunner, Result

from leti_opt.cli.main import app
from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.adb_list import ListedPhone
from leti_opt.device.android.listing import PhoneRow, list_phones
from leti_opt.errors import DeviceError
from tests.device.android.scripted_adb import scripted_adb
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import MakePhone
from tests.loopback_phone.phone import LoopbackPhone


@pytest.fixture(autouse=True)
def no_nicknames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def server(adb_server: PrivateAdbServer, monkeypatch: pytest.MonkeyPatch) -> AdbServer:
    """The tests' adb server; commands use it, too."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    return AdbServer(adb_server.port, connect_s=1.5)


def invoke(*words: str) -> Result:
    outcome = CliRunner().invoke(app, ["devices", "list", *words])
    assert outcome.exit_code == 0, outcome.output
    return outcome


def lines_on(phone: LoopbackPhone | str) -> list[str]:
    """What people read of one phone, with its advice if there is any."""
    address = phone if isinstance(phone, str) else phone.address
    lines = invoke().output.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"android:{address}/cpu"))
    advice = [line.strip() for line in lines[first + 1 : first + 2] if line.startswith(" ")]
    return [lines[first], *advice]


def json_of(phone: LoopbackPhone) -> dict[str, Any]:
    rows: list[dict[str, Any]] = json.loads(invoke("--json").stdout)
    return next(row for row in rows if row["uri"] == f"android:{phone.address}/cpu")


@pytest.mark.needs("adb")
def test_a_good_phone_is_shown_with_all_that_it_says(make_phone: MakePhone, server: AdbServer) -> None:
    phone = make_phone(serial="S1", battery_percent=64, battery_c=31.5)
    server.connect(phone.address)
    wanted = PhoneRow(
        phone.address, "device", "S1", "loopback phone Loopback Model A", "LB100", "14", "arm64-v8a", 64, 31.5
    )
    assert list_phones(server) == [wanted]
    assert lines_on(phone) == [
        f"android:{phone.address}/cpu measured   loopback phone Loopback Model A "
        "(LB100, Android 14, arm64-v8a, battery 64 %, 31.5 °C, device)"
    ]
    assert json_of(phone) == {"uri": f"android:{phone.address}/cpu", **vars(wanted)}


@pytest.mark.needs("adb")
def test_columns_stay_in_line_whatever_the_phones_address_is(loopback_phone: LoopbackPhone, server: AdbServer) -> None:
    server.connect(loopback_phone.address)
    origins = [line.split()[1] for line in invoke().output.splitlines()]
    places = {line.index(origin) for line, origin in zip(invoke().output.splitlines(), origins, strict=True)}
    assert len(places) == 1


@pytest.mark.needs("adb")
def test_an_unauthorized_phone_is_listed_with_what_its_owner_must_do(make_phone: MakePhone, server: AdbServer) -> None:
    phone = make_phone(authorized=False)
    with pytest.raises(DeviceError, match="has not authorized this computer"):
        server.connect(phone.address)
    (row,) = list_phones(server)
    assert (row.state, row.serial, row.abi, row.battery_c) == ("unauthorized", "", "", None)
    line, advice = lines_on(phone)
    assert line.endswith("unknown phone (unauthorized)")
    assert advice == row.advice == json_of(phone)["advice"]
    assert "accept this computer's key" in advice


@pytest.mark.needs("adb")
def test_a_silent_phone_is_listed_as_offline_with_its_address_in_the_advice(
    loopback_phone: LoopbackPhone, server: AdbServer, adb_server: PrivateAdbServer
) -> None:
    loopback_phone.go_silent()
    with pytest.raises(DeviceError, match="says nothing for 2 s"):
        server.connect(loopback_phone.address)
    assert loopback_phone.address in adb_server.run("devices")
    (row,) = list_phones(server)
    assert row.state == "offline"
    assert f"adb disconnect {loopback_phone.address}, then adb connect {loopback_phone.address}" in row.advice
    assert lines_on(loopback_phone)[1] == row.advice


class Vanishing(AdbServer):
    """Lists a phone, which is gone at the next moment."""

    phone: LoopbackPhone

    def listed(self) -> list[ListedPhone]:
        found = super().listed()
        self.phone.die()
        return found


@pytest.mark.needs("adb")
def test_a_phone_that_vanishes_while_it_is_asked_keeps_its_row_and_does_not_spoil_the_others(
    make_phone: MakePhone, adb_server: PrivateAdbServer
) -> None:
    gone, stays = make_phone(serial="A"), make_phone(serial="B")
    server = Vanishing(adb_server.port, connect_s=1.0)
    server.phone = gone
    for phone in (gone, stays):
        AdbServer(adb_server.port).connect(phone.address)
    rows = {row.address: row for row in list_phones(server)}
    assert (rows[stays.address].serial, rows[stays.address].advice) == ("B", "")
    assert (rows[gone.address].state, rows[gone.address].serial) == ("device", "")
    assert rows[gone.address].model == "Model A"  # which adb itself knows
    assert rows[gone.address].advice.startswith(f"it does not answer: {gone.address}: ")
    gone.come_back()


@pytest.mark.needs("adb")
def test_without_a_phone_the_list_says_where_to_read_on(server: AdbServer) -> None:
    assert list_phones(server) == []
    assert invoke().output.splitlines()[-1] == "no phone is connected; see docs/phones.md"
    assert [row["uri"] for row in json.loads(invoke("--json").stdout) if row["uri"].startswith("android:")] == []


@pytest.mark.parametrize(
    ("said", "state", "advice"),
    [
        ("no permissions (missing udev rules? user is in the plugdev group); see [http://x]", "no permissions", "udev"),
        ("authorizing", "authorizing", "wait a few seconds"),
        ("connecting", "connecting", "wait a few seconds"),
        ("recovery", "recovery", "restart it"),
        ("sideload", "sideload", "restart it"),
        ("rescue", "rescue", "restart it"),
        ("bootloader", "bootloader", "restart it"),
        ("host", "host", "no phone"),
        ("from_a_later_adb", "from_a_later_adb", "plug it in again"),
    ],
)
def test_every_state_has_an_advice(said: str, state: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_adb(f"R58M123\t{said} usb:1-2 model:Pixel_7 transport_id:3\n") as port:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        (row,) = list_phones()
        assert (row.address, row.state, row.model) == ("R58M123", state, "Pixel 7")
        assert advice in row.advice
        assert lines_on("R58M123")[1] == row.advice


@pytest.fixture
def no_adb(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    """No adb server runs, and none can be started."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(unused_port))
    monkeypatch.setattr(adbutils, "adb_path", lambda: "/nowhere/adb")


@pytest.mark.usefixtures("no_adb")
def test_without_adb_the_other_devices_are_listed_and_the_reason_is_said() -> None:
    lines = invoke().output.splitlines()
    assert lines[0].startswith("host-cpu")
    assert lines[-1].startswith("phones cannot be listed: adb cannot be started: ")
    assert "try it by hand: /nowhere/adb -P" in lines[-1]


@pytest.mark.usefixtures("no_adb")
def test_without_adb_json_stays_json_and_the_reason_goes_to_the_error_stream() -> None:
    outcome = invoke("--json")
    assert "host-cpu" in {row["uri"] for row in json.loads(outcome.stdout)}
    assert outcome.stderr.startswith("phones cannot be listed: adb cannot be started: ")


def test_a_port_that_is_none_is_named_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "usb")
    assert "ANDROID_ADB_SERVER_PORT must be a port from 1 to 65535, not 'usb'" in invoke().output
