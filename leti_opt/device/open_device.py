"""From a device's URI to the device, and the list of those that can be named."""

from __future__ import annotations

import logging
import re
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import platformdirs

from leti_opt.device.device import Device
from leti_opt.device.host_cpu import HostCpu, parse_cores
from leti_opt.device.published import COLLECTION, PublishedDevice, published_names
from leti_opt.device.replay import Replay
from leti_opt.device.simulated import WHOLE_NUMBERS, Formula, SimulatedDevice
from leti_opt.errors import DeviceError, InvalidDeviceUriError, did_you_mean

_LOGGER = logging.getLogger("leti_opt")


@dataclass(frozen=True)
class DeviceUri:
    """A URI taken apart: ``kind[:address][/unit][?option=value&…]``.

    Args:
        kind: ``host-cpu``, ``replay`` …
        address: everything between the colon and the question mark; its kind says what it means.
        options: names and values, percent-decoded.
    """

    kind: str
    address: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> DeviceUri:
        """Take a URI apart.

        Raises:
            InvalidDeviceUriError: an option has no value or occurs twice, or there is no kind.

        >>> DeviceUri.parse("host-cpu?threads=2").options
        {'threads': '2'}
        """
        body, _, query = text.strip().partition("?")
        kind, _, address = body.partition(":")
        if not kind:
            raise InvalidDeviceUriError(f"{text!r} names no device; write for instance 'host-cpu?threads=1'")
        options: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            if not (name and equals and value):
                raise InvalidDeviceUriError(f"{part!r} in {text!r} is no option; write name=value")
            if name in options:
                raise InvalidDeviceUriError(f"option {name!r} occurs twice in {text!r}")
            options[name] = unquote(value)
        return cls(kind, address, options)


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
    opener = _KINDS.get(parsed.kind)
    if opener is not None:
        return opener(parsed)
    nicknames = read_nicknames()
    if uri not in nicknames:
        if re.fullmatch(r"[\w.-]+:\d+(/\w+)?", uri.partition("?")[0]):
            raise InvalidDeviceUriError(f"unknown device {uri!r}; a phone on the network is 'android:{uri}'")
        raise InvalidDeviceUriError(f"unknown device {uri!r}; {did_you_mean(parsed.kind, [*_KINDS, *nicknames])}")
    parsed = DeviceUri.parse(nicknames[uri])
    if parsed.kind not in _KINDS:
        raise InvalidDeviceUriError(
            f"nickname {uri!r} in {nicknames_file()} stands for {nicknames[uri]!r}, an unknown device; "
            f"{did_you_mean(parsed.kind, _KINDS)}"
        )
    return _KINDS[parsed.kind](parsed)


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
        DeviceRow("host-cpu", about_host, "measured", _note(_HOST_CPU_OPTIONS)),
        DeviceRow("replay:formula", "a formula over the network's costs", "simulated", _note(_FORMULA_OPTIONS)),
        DeviceRow("replay:PATH.parquet", "a recording that a store exported", "replayed", _note(_REPLAY_OPTIONS)),
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
        if not isinstance(uri, str) or name in _KINDS:
            raise InvalidDeviceUriError(
                f"nickname {name!r} in {path} must be unlike {', '.join(_KINDS)} and stand for a URI, "
                f'for instance mine = "host-cpu"'
            )
    return devices


def _note(readers: _Readers) -> str:
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


def _text(_name: str, value: str) -> str:
    return value


def _whole_number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InvalidDeviceUriError(f"{name} must be a whole number, not {value!r}") from error


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InvalidDeviceUriError(f"{name} must be a number, not {value!r}") from error


def _yes_or_no(name: str, value: str) -> bool:
    if value not in ("yes", "no"):
        raise InvalidDeviceUriError(f"{name} must be yes or no, not {value!r}")
    return value == "yes"


def _cores(_name: str, value: str) -> list[int]:
    return parse_cores(value)


_ANY_PHONE = "android:*"
_PAUSES_S = (1.0, 3.0)
_Readers = Mapping[str, Callable[[str, str], Any]]
_HOST_CPU_OPTIONS: _Readers = {"threads": _whole_number, "delegate": _text, "cores": _cores, "deadline_s": _number}
_FORMULA_OPTIONS: _Readers = {
    field.name: _whole_number if field.name in WHOLE_NUMBERS else _number for field in fields(Formula)
}
_REPLAY_OPTIONS: _Readers = {"device": _text}

_GUARD_OPTIONS: _Readers = {
    "max_battery_c": _number,
    "max_thermal_status": _whole_number,
    "min_battery_percent": _whole_number,
    "longest_wait_s": _number,
}
_ANDROID_OPTIONS: _Readers = {
    "threads": _whole_number,
    "cores": _text,
    "delegate": _text,
    "precision_loss": _yes_or_no,
    "accelerator": _text,
    "binary": _text,
    "layout": _text,
    "deadline_s": _number,
    **_GUARD_OPTIONS,
}


def _options(uri: DeviceUri, readers: _Readers) -> dict[str, Any]:
    for name in uri.options:
        if name not in readers:
            raise InvalidDeviceUriError(f"{uri.kind} has no option {name!r}; {did_you_mean(name, readers)}")
    return {name: readers[name](name, value) for name, value in uri.options.items()}


def _open_host_cpu(uri: DeviceUri) -> Device:
    if uri.address:
        raise InvalidDeviceUriError(f"host-cpu takes no address, found {uri.address!r}; write host-cpu?threads=1")
    return HostCpu(**_options(uri, _HOST_CPU_OPTIONS))


def _open_android(uri: DeviceUri) -> Device:
    from leti_opt.device.android.android_device import AndroidDevice, split_address
    from leti_opt.device.android.health import GuardSettings

    address, unit = split_address(uri.address)
    options = _options(uri, _ANDROID_OPTIONS)
    guard = GuardSettings(**{name: options.pop(name) for name in _GUARD_OPTIONS if name in options})
    return AndroidDevice(address, unit, guard=guard, **options)


def _open_replay(uri: DeviceUri) -> Device:
    if not uri.address:
        raise InvalidDeviceUriError(
            "replay needs a Parquet file, or 'formula': replay:recording.parquet, replay:formula, "
            "or a published device: replay:help/pixel3"
        )
    if uri.address == "formula":
        return SimulatedDevice(Formula(**_options(uri, _FORMULA_OPTIONS)))
    # A folder may have the collection's name; a recording in it is told by its suffix.
    if uri.address.startswith(COLLECTION) and not uri.address.endswith(".parquet"):
        if uri.options:
            raise InvalidDeviceUriError(f"replay:{uri.address} takes no options, found {', '.join(uri.options)}")
        return PublishedDevice(uri.address)
    return Replay(uri.address, **_options(uri, _REPLAY_OPTIONS))


_KINDS: dict[str, Callable[[DeviceUri], Device]] = {
    "host-cpu": _open_host_cpu,
    "android": _open_android,
    "replay": _open_replay,
}
