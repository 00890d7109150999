"""The kinds of devices that a URI can name: their options, and how each is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from leti_opt.device.device import Device
from leti_opt.device.device_uri import DeviceUri
from leti_opt.device.host_cpu import HostCpu, parse_cores
from leti_opt.device.published import COLLECTION, PublishedDevice
from leti_opt.device.replay import Replay
from leti_opt.device.simulated import WHOLE_NUMBERS, Formula, SimulatedDevice
from leti_opt.errors import InvalidDeviceUriError, did_you_mean


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


Readers = Mapping[str, Callable[[str, str], Any]]
"""What reads each option of a URI, from its name and text."""

HOST_CPU_OPTIONS: Readers = {"threads": _whole_number, "delegate": _text, "cores": _cores, "deadline_s": _number}

FORMULA_OPTIONS: Readers = {
    field.name: _whole_number if field.name in WHOLE_NUMBERS else _number for field in fields(Formula)
}

REPLAY_OPTIONS: Readers = {"device": _text}

_GUARD_OPTIONS: Readers = {
    "max_battery_c": _number,
    "max_thermal_status": _whole_number,
    "min_battery_percent": _whole_number,
    "longest_wait_s": _number,
}

_ANDROID_OPTIONS: Readers = {
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


def _options(uri: DeviceUri, readers: Readers) -> dict[str, Any]:
    for name in uri.options:
        if name not in readers:
            raise InvalidDeviceUriError(f"{uri.kind} has no option {name!r}; {did_you_mean(name, readers)}")
    return {name: readers[name](name, value) for name, value in uri.options.items()}


def _open_host_cpu(uri: DeviceUri) -> Device:
    if uri.address:
        raise InvalidDeviceUriError(f"host-cpu takes no address, found {uri.address!r}; write host-cpu?threads=1")
    return HostCpu(**_options(uri, HOST_CPU_OPTIONS))


def _open_android(uri: DeviceUri) -> Device:
    from leti_opt.device.android.android_device import AndroidDevice
    from leti_opt.device.android.health import GuardSettings
    from leti_opt.device.android.phone_options import split_address

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
        return SimulatedDevice(Formula(**_options(uri, FORMULA_OPTIONS)))
    # A folder may have the collection's name; a recording in it is told by its suffix.
    if uri.address.startswith(COLLECTION) and not uri.address.endswith(".parquet"):
        if uri.options:
            raise InvalidDeviceUriError(f"replay:{uri.address} takes no options, found {', '.join(uri.options)}")
        return PublishedDevice(uri.address)
    return Replay(uri.address, **_options(uri, REPLAY_OPTIONS))


KINDS: dict[str, Callable[[DeviceUri], Device]] = {
    "host-cpu": _open_host_cpu,
    "android": _open_android,
    "replay": _open_replay,
}
"""How a device is opened, by the kind in its URI."""
