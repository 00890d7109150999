"""From a device's URI to the device, and the list of those that can be named."""

from __future__ import annotations

import logging
import re
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from leti_opt.device.device import Device
from leti_opt.device.device_kinds import FORMULA_OPTIONS, HOST_CPU_OPTIONS, KINDS, REPLAY_OPTIONS, Readers
from leti_opt.device.device_uri import DeviceUri
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.published import COLLECTION, published_names
from leti_opt.errors import DeviceError, InvalidDeviceUriError, did_you_mean

_LOGGER = logging.getLogger("leti_opt")


@dataclass(frozen=True)
class DeviceRow:
    """One line of the list of devices.

    Args:
        uri: what to hand to :func:`open_device`.
        name: what it is.
        origin: where its figures come from; ``unknown`` for a nickname that cannot be opened.
        note: its options, or what a nickname stands for.
    """

    uri: str
    name: str
    origin: Literal["measured", "simulated", "replayed", "imported", "unknown"]
    note: str = ""


def open_device(uri: str) -> Device:
    """Open a device by its URI or by a nickname of the user's ``devices.toml``.

    It only checks what it was given; the device is not contacted before it is used.

    Args:
        uri: ``host-cpu?threads=2``, ``android:SERIAL/gpu``, ``replay:recording.parquet?device=NAME``,
            ``replay:help/pixel3``, ``replay:formula?seed=1`` or a nickname.

    Raises:
        InvalidDeviceUriError: unknown kind, option or value; the message lists what is known.

    >>> open_device("host-cpu").identity.kind
    'host-cpu'
    """
    parsed = DeviceUri.parse(uri)
    opener = KINDS.get(parsed.kind)
    if opener is not None:
        return opener(parsed)
    nicknames = read_nicknames()
    if uri not in nicknames:
        if re.fullmatch(r"[\w.-]+:\d+(/\w+)?", uri.partition("?")[0]):
            raise InvalidDeviceUriError(f"unknown device {uri!r}; a phone on the network is 'android:{uri}'")
        raise InvalidDeviceUriError(f"unknown device {uri!r}; {did_you_mean(parsed.kind, [*KINDS, *nicknames])}")
    parsed = DeviceUri.parse(nicknames[uri])
    if parsed.kind not in KINDS:
        raise InvalidDeviceUriError(
            f"nickname {uri!r} in {nicknames_file()} stands for {nicknames[uri]!r}, an unknown device; "
            f"{did_you_mean(parsed.kind, KINDS)}"
        )
    return KINDS[parsed.kind](parsed)


def open_devices(uris: str | Sequence[str]) -> list[Device]:
    """Open devices by their URIs; ``android:*`` stands for every phone that adb lists as ready.

    Args:
        uris: one or several, as for :func:`open_device`. The star takes unit and options, too:
            ``android:*/gpu?delegate=cl``.

    Returns:
        The devices, each once.

    Raises:
        InvalidDeviceUriError: a URI is wrong, or there is none.
        DeviceError: ``android:*``, and no phone is ready; the message says what adb lists.

    >>> [device.uri for device in open_devices(["host-cpu", "replay:formula"])]
    ['host-cpu', 'replay:formula']
    """
    opened: dict[str, Device] = {}
    for uri in [uris] if isinstance(uris, str) else uris:
        for each in _every_phone(uri) if uri.startswith(_ANY_PHONE) else [uri]:
            device = open_device(each)
            opened.setdefault(device.uri, device)
    if not opened:
        raise InvalidDeviceUriError("no device is named; write for instance 'host-cpu' or 'android:*'")
    return list(opened.values())


def _every_phone(uri: str) -> list[str]:
    """A URI with the star replaced by each phone that is ready, each hardware once."""
    from leti_opt.device.android.listing import list_phones

    for pause_s in (*_PAUSES_S, None):
        phones = list_phones()
        ready = {phone.serial: phone for phone in reversed(phones) if phone.state == "device" and phone.serial}
        silent = [phone for phone in phones if phone.state == "device" and not phone.serial]
        if not silent or pause_s is None:
            break
        time.sleep(pause_s)  # one that was just restarting is not to be left out
    others = [
        f"{phone.address} ({phone.state}): {phone.advice or 'another address of a phone that takes part'}"
        for phone in phones
        if phone not in ready.values()
    ]
    if not ready:
        listed = "; ".join(others) or "adb lists none"
        raise DeviceError(f"{uri}: no phone is ready: {listed}; see: leti-opt devices list")
    for other in others:
        _LOGGER.warning("%s is left out: %s", uri, other)
    return [uri.replace("*", phone.address, 1) for phone in reversed(ready.values())]


def list_devices() -> list[DeviceRow]:
    """The devices that this machine offers now: its CPU, the forms of replay, and the user's nicknames.

    Raises:
        InvalidDeviceUriError: ``devices.toml`` cannot be read.
    """
    host = HostCpu()
    about_host = f"{host.identity.name}, {host.identity.runtime}, {len(host.resources)} cores"
    rows = [
        DeviceRow("host-cpu", about_host, "measured", _note(HOST_CPU_OPTIONS)),
        DeviceRow("replay:formula", "a formula over the network's costs", "simulated", _note(FORMULA_OPTIONS)),
        DeviceRow("replay:PATH.parquet", "a recording that a store exported", "replayed", _note(REPLAY_OPTIONS)),
        DeviceRow(f"replay:{COLLECTION}NAME", "HELP's figures of NAS-Bench-201's cells", "replayed", _published_note()),
    ]
    nicknames = read_nicknames()
    if not nicknames:
        return rows
    with ThreadPoolExecutor(len(nicknames), thread_name_prefix="nickname") as asking:
        return rows + list(asking.map(_nickname_row, nicknames, nicknames.values()))


def nicknames_file() -> Path:
    """Where the user's nicknames are: a TOML file with a table ``[devices]`` of lines ``name = "uri"``."""
    return Path(platformdirs.user_config_dir("leti_opt")) / "devices.toml"


def read_nicknames() -> dict[str, str]:
    """The user's nicknames and the URIs that they stand for; empty without a file.

    Raises:
        InvalidDeviceUriError: the file is not TOML, or not of this form.
    """
    path = nicknames_file()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidDeviceUriError(f"cannot read {path}: {error}; correct or remove it") from error
    devices = content.get("devices")
    if set(content) - {"devices"} or not isinstance(devices, dict):
        raise InvalidDeviceUriError(f"{path} must hold a table [devices] and nothing else; found: {sorted(content)}")
    for name, uri in devices.items():
        if not isinstance(uri, str) or name in KINDS:
            raise InvalidDeviceUriError(
                f"nickname {name!r} in {path} must be unlike {', '.join(KINDS)} and stand for a URI, "
                f'for instance mine = "host-cpu"'
            )
    return devices


def _note(readers: Readers) -> str:
    return f"options: {', '.join(readers)}"


def _published_note() -> str:
    return f"names: {', '.join(name.removeprefix(COLLECTION) for name in published_names())}"


def _nickname_row(nickname: str, uri: str) -> DeviceRow:
    note = f"stands for {uri}"
    try:
        with open_device(nickname) as device:
            device.give_up_soon()
            return DeviceRow(nickname, device.identity.name, device.identity.origin, note)
    except (InvalidDeviceUriError, DeviceError) as error:
        return DeviceRow(nickname, f"cannot be opened: {error}", "unknown", note)


_ANY_PHONE = "android:*"
_PAUSES_S = (1.0, 3.0)
