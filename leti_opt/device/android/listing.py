"""The phones that adb knows, whatever state they are in, and what to do about each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from leti_opt.device.android.adb import AdbServer
from leti_opt.device.android.adb_list import ListedPhone
from leti_opt.device.android.identity import phone_facts
from leti_opt.device.android.phone import Phone
from leti_opt.device.android.phone_connection import Patience
from leti_opt.device.android.phone_state import parse_state
from leti_opt.errors import AttemptError, PhoneError

_LOOK_S = 5.0
_LOOK = "echo '==leti_opt battery'; dumpsys battery; echo '==leti_opt end'"
_ADVICE = {
    "device": "",
    "unauthorized": "unlock it and accept this computer's key; no question there: switch USB debugging off and on",
    "authorizing": "wait a few seconds; then unlock it and accept this computer's key",
    "connecting": "wait a few seconds",
    "offline": "it starts, or hangs: wait, plug it in again, restart it; over the network: "
    "adb disconnect ADDRESS, then adb connect ADDRESS",
    "no permissions": "this user may not open the USB device: udev rules for Android, and the group plugdev",
    "recovery": "it does not run Android now: restart it",
    "sideload": "it does not run Android now: restart it",
    "rescue": "it does not run Android now: restart it",
    "bootloader": "it does not run Android now: restart it",
    "host": "it is a computer that adb serves, and no phone",
}
_UNKNOWN = "plug it in again, or restart it"


@dataclass(frozen=True)
class PhoneRow:
    """One phone in the list. A text is empty, and a number None, where the phone does not say.

    Args:
        address: what adb calls it.
        state: adb's word for it; ``device`` is the good one.
        serial: of the hardware.
        model: with its maker.
        soc, android_version, abi: as the phone says.
        battery_percent: charge.
        battery_c: temperature of the battery in degrees Celsius.
        advice: what to do about its state; empty where there is nothing to do.
    """

    address: str
    state: str
    serial: str = ""
    model: str = ""
    soc: str = ""
    android_version: str = ""
    abi: str = ""
    battery_percent: int | None = None
    battery_c: float | None = None
    advice: str = ""


def list_phones(server: AdbServer | None = None) -> list[PhoneRow]:
    """Every phone that adb knows. They are asked at the same time, each for some seconds at most.

    Raises:
        DeviceError: there is no adb server, and none can be started.
    """
    server = server or AdbServer()
    listed = server.listed()
    if not listed:
        return []
    with ThreadPoolExecutor(len(listed), thread_name_prefix="phone list") as pool:
        return list(pool.map(lambda phone: _row(phone, server), listed))


def _row(listed: ListedPhone, server: AdbServer) -> PhoneRow:
    advice = _ADVICE.get(listed.state, _UNKNOWN).replace("ADDRESS", listed.address)
    bare = PhoneRow(
        listed.address, listed.state, model=listed.details.get("model", "").replace("_", " "), advice=advice
    )
    if listed.state != "device":
        return bare
    phone = Phone(listed.address, server, Patience(tries=1, command_s=_LOOK_S))
    try:
        facts = phone_facts(phone.properties, serial=phone.serial)
        state = parse_state(phone.shell(_LOOK, "reading its battery", check=False).stdout)
    except (PhoneError, AttemptError) as error:
        return replace(bare, advice=f"it does not answer: {error}")
    name = facts.hardware.removesuffix(f" ({facts.soc})")
    return PhoneRow(
        listed.address,
        listed.state,
        facts.serial,
        name,
        facts.soc,
        facts.android_version,
        facts.abi,
        state.battery_percent,
        state.battery_c,
        advice,
    )
