"""Options of a phone's URI: what each may be, and how they are written."""

from __future__ import annotations

import math

from leti_opt.errors import InvalidDeviceUriError, did_you_mean

UNITS = ("cpu", "gpu", "npu")
BACKENDS = ("cl", "gl")
LAYOUTS = ("auto", "resident", "file")
DEFAULT_DEADLINE_S = 600.0
GUARD_OPTIONS = ("max_battery_c", "max_thermal_status", "min_battery_percent", "longest_wait_s")


def split_address(text: str) -> tuple[str, str]:
    """Address and unit of ``SERIAL/unit``; the CPU where no unit is named.

    >>> split_address("192.168.1.5:5555/gpu")
    ('192.168.1.5:5555', 'gpu')
    """
    address, slash, unit = text.rpartition("/")
    return (address, unit) if slash else (unit, "cpu")


def check(
    address: str,
    unit: str,
    threads: int,
    delegate: str | None,
    precision_loss: bool,
    accelerator: str,
    layout: str,
    deadline_s: float,
) -> None:
    """Refuse options that are none, or do not go with the unit.

    Raises:
        InvalidDeviceUriError: names the option.
    """
    if not address or any(character.isspace() for character in address):
        raise InvalidDeviceUriError(f"{address!r} is no phone; write android:SERIAL/cpu, see: leti-opt devices list")
    if unit not in UNITS:
        raise InvalidDeviceUriError(f"unknown unit {unit!r} of the phone {address}; {did_you_mean(unit, UNITS)}")
    if threads < 1:
        raise InvalidDeviceUriError(f"threads must be 1 or more, not {threads}")
    if delegate is not None and (unit != "gpu" or delegate not in BACKENDS):
        raise InvalidDeviceUriError(f"delegate={delegate} does not go with {unit}; a gpu takes {' or '.join(BACKENDS)}")
    if precision_loss and unit == "cpu":
        raise InvalidDeviceUriError("precision_loss=yes is for gpu and npu; a cpu calculates in full precision")
    if accelerator and unit != "npu":
        raise InvalidDeviceUriError(f"accelerator={accelerator} is for npu, not {unit}")
    if layout not in LAYOUTS:
        raise InvalidDeviceUriError(f"unknown layout {layout!r}; {did_you_mean(layout, LAYOUTS)}")
    if not (math.isfinite(deadline_s) and deadline_s > 0):
        raise InvalidDeviceUriError(f"deadline_s must be a number of seconds above 0, not {deadline_s}")
