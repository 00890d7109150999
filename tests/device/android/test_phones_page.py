"""docs/phones.md quotes what the package says: each quoted message is one that the code gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from leti_opt.device.android import android_device, phone_options
from leti_opt.device.android.adb import AdbServer, ShellResult
from leti_opt.device.android.benchmark_failures import check_delegation, check_failure
from leti_opt.device.android.benchmark_model import Binary, RunOptions, check_options
from leti_opt.device.android.binary import find_binary
from leti_opt.device.android.cores import CoreGroup, affinity_mask
from leti_opt.device.android.elf import check_elf
from leti_opt.device.android.health import Guard, GuardSettings, unfit
from leti_opt.device.android.listing import list_phones
from leti_opt.device.android.phone import REMOTE, Phone
from leti_opt.device.android.phone_connection import Patience
from leti_opt.device.android.phone_lock import PhoneLock
from leti_opt.device.android.phone_state import PhoneState
from leti_opt.errors import LetiError, PhoneGoneError
from tests.device.android.fake_phone import FakePhone, fake_program
from tests.device.android.scripted_adb import scripted_adb

PAGE = (Path(__file__).parents[3] / "docs" / "phones.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


QUOTES = [quote for row in table("message") for quote in row[0].split("; ")]


def test_the_page_quotes_messages() -> None:
    assert len(QUOTES) > 20


class FailingServer:
    """An adb server whose phone answers nothing, or refuses every command."""

    def __init__(self, said: str = "") -> None:
        self.said = said

    def shell(self, address: str, command: str, _deadline_s: float, step: str) -> ShellResult:
        if not self.said:
            raise PhoneGoneError(address, step, "the connection broke off", "check the cable")
        if "end of contact" in command:
            return ShellResult(0, "boot\nS1\n\nend of contact\n", "")
        return ShellResult(1, "", self.said)


def phone_with(server: object) -> Phone:
    return Phone("S1", cast("Any", server), Patience(tries=1, back_within_s=0.0, pause_s=0.0))


def refused(said: str) -> Callable[[Path], object]:
    def ask(_folder: Path) -> None:
        with scripted_adb(refusal=said) as port:
            AdbServer(port).shell("S1", "true", 5)

    return ask


def denied(said: str) -> Callable[[Path], object]:
    return lambda _folder: phone_with(FailingServer(said)).shell("mkdir x", "installing benchmark_model")


def another_phone(_folder: Path) -> None:
    server = FailingServer("x")
    phone = phone_with(server)
    phone.contact("first contact")
    server.shell = lambda *_: ShellResult(0, "boot\nS2\n\nend of contact\n", "")  # type: ignore[method-assign]
    phone.contact("measuring")


def held_by_another_host(folder: Path) -> None:
    phone = FakePhone(folder / "phone")
    phone.here(f"{REMOTE}/lock").mkdir()
    phone.here(f"{REMOTE}/lock/owner").write_text("0badcafe 77 feed 99999999999\n")
    PhoneLock(cast("Any", phone), f"{REMOTE}/lock", lambda: 0.0, lambda _s: None).take(0)


def waiting(state: PhoneState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leti_opt.device.android.health.read_state", lambda _phone: state)
    clock = count(0, 450)
    Guard(
        cast("Any", SimpleNamespace(address="S1")),
        GuardSettings(),
        lambda: float(next(clock)),
        lambda _s: None,
        lambda _line: None,
    ).wait()


def no_server(_folder: Path) -> None:
    with scripted_adb(greeting=b"SSH-2.0-OpenSSH_9.2\r\n") as port:
        AdbServer(port).listed()


def server_that_does_not_start(folder: Path) -> None:
    import adbutils

    adb = folder / "adb"
    adb.write_text("#!/bin/sh\nexit 1\n")
    adb.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch, scripted_adb() as port:
        patch.setattr(adbutils, "adb_path", lambda: str(adb))
        patch.setattr("socket.create_connection", _refuse)
        AdbServer(port).listed()


def _refuse(*_: object) -> None:
    raise ConnectionRefusedError


BIG_AND_LITTLE = [CoreGroup((0, 1, 2, 3), 1_800_000), CoreGroup((4, 5, 6, 7), 2_400_000)]
GPU = RunOptions(unit="gpu", backend="cl")
PARTLY = (
    "INFO: Replacing 3 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 5 partitions.\n"
    "ERROR: Disallowed CPU fallback detected.\nERROR: Benchmarking failed.\n"
)
FELL_BACK = (
    "INFO: Initialized OpenGL-based API.\n"
    "INFO: Replacing 9 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 1 partitions.\n"
    "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
)


def gpu_start(text: str, exit_code: int) -> None:
    check_failure(text, exit_code, GPU)
    check_delegation(text, GPU)


RAISED: dict[str, Callable[[Path], object]] = {
    "no adb server": no_server,
    "server that does not start": server_that_does_not_start,
    "no program": lambda folder: find_binary(None, cast("Any", FakePhone(folder / "phone")), "arm64-v8a"),
    "another processor": lambda _folder: check_elf(fake_program("x86_64"), "arm64-v8a", "PROGRAM"),
    "linux": lambda _folder: check_elf(fake_program(loader="/lib/ld-linux-aarch64.so.1"), "arm64-v8a", "PROGRAM"),
    "flag": lambda _folder: check_options(Binary("tensorflow", frozenset({"graph"})), GPU),
    "unauthorized": refused("device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set"),
    "no permissions": refused("insufficient permissions for device: user in plugdev group; are your udev rules wrong?"),
    "offline": refused("device offline"),
    "unknown": refused("device 'S1' not found"),
    "gone": lambda _folder: phone_with(FailingServer()).wait_until_back("measuring"),
    "another phone": another_phone,
    "full": denied("write failed: No space left on device"),
    "read-only": denied("mkdir: '/data/local/tmp/leti_opt': Read-only file system"),
    "not permitted": denied("mkdir: '/data/local/tmp/leti_opt': Permission denied"),
    "slow cores": lambda _folder: affinity_mask("big", [CoreGroup((0,)), CoreGroup((1,))]),
    "mask": lambda _folder: affinity_mask("f00", BIG_AND_LITTLE),
    "lock": held_by_another_host,
    "killed": lambda _folder: check_failure("", 137, RunOptions()),
    "partly": lambda _folder: gpu_start(PARTLY, 1),
    "no gpu": lambda _folder: gpu_start("WARNING: GPU acceleration is unsupported on this platform.\n", 0),
    "fell back": lambda _folder: gpu_start(FELL_BACK, 0),
}
HOT = PhoneState(battery_c=43.0, battery_percent=50, charging=True, thermal_status=0)
LOW = PhoneState(battery_c=25.0, battery_percent=9, charging=False, thermal_status=0)
IN_THE_SOURCE = (
    "its system changed from … to …",
    "took longer than … s and was ended",
    "says nothing for … s",
    "it is listed, but does not answer",
)
"""Other tests bring these about, with a loopback phone."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the code says, by a name for the reason."""
    found: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LETI_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("LETI_BENCHMARK_MODEL", raising=False)
        actions = {
            **RAISED,
            "hot": lambda _folder: waiting(HOT, patch),
            "low": lambda _folder: waiting(LOW, patch),
        }
        for name, action in actions.items():
            with pytest.raises(LetiError) as caught:
                action(tmp_path_factory.mktemp("phone"))
            found[name] = str(caught.value)
    found["starting"] = " ".join(unfit(PhoneState(booted=False), GuardSettings()))
    return found


def is_quoted(quote: str, message: str) -> bool:
    pattern = ".*?".join(re.escape(part.strip()) for part in quote.split("…") if part.strip())
    return re.search(pattern, message) is not None


@pytest.mark.parametrize("quote", [quote for quote in QUOTES if quote not in IN_THE_SOURCE])
def test_every_quoted_message_is_one_that_the_code_gives(quote: str, said: dict[str, str]) -> None:
    assert [name for name, message in said.items() if is_quoted(quote, message)], said


@pytest.mark.parametrize("quote", IN_THE_SOURCE)
def test_a_message_that_takes_a_phone_to_come_about_is_in_the_source(quote: str) -> None:
    folder = Path(android_device.__file__).parent
    source = " ".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    assert quote in QUOTES
    assert is_quoted(quote, source)


def test_every_message_here_is_on_the_page(said: dict[str, str]) -> None:
    missing = {name for name, message in said.items() if not any(is_quoted(quote, message) for quote in QUOTES)}
    assert missing == set()


def test_the_limits_of_a_phones_state_are_those_of_the_code() -> None:
    usual = GuardSettings()
    assert {row[0].strip("`"): float(row[1]) for row in table("option of the URI")} == {
        name: getattr(usual, name) for name in phone_options.GUARD_OPTIONS
    }


def test_every_state_of_the_page_has_an_advice_of_its_own_in_the_list() -> None:
    states = {state for row in table("state") for state in row[0].split(", ")} - {"not in the list"}
    listed = "".join(f"{number}\t{state} usb:1-2\n" for number, state in enumerate(["unheard_of", *sorted(states)]))
    with scripted_adb(listed, refusal="device offline") as port:
        unheard_of, *rows = list_phones(AdbServer(port))
    assert {row.state for row in rows} == states
    assert [row.state for row in rows if row.advice in ("", unheard_of.advice)] == []
