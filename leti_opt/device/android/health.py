"""When a phone is fit to measure: cool, charged, and done with starting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.device.android.phone_state import STATE_COMMAND, PhoneState, parse_state, read_state, state_metrics
from leti_opt.errors import InvalidDeviceUriError, PhoneError

if TYPE_CHECKING:
    from leti_opt.device.android.phone import Phone

__all__ = [
    "STATE_COMMAND",
    "Guard",
    "GuardSettings",
    "PhoneState",
    "parse_state",
    "read_state",
    "state_metrics",
    "unfit",
]

_STEP = "waiting until it is fit to measure"


@dataclass(frozen=True)
class GuardSettings:
    """When a phone is fit to measure, and how long to wait for that.

    Args:
        max_battery_c: highest temperature of the battery, in degrees Celsius.
        max_thermal_status: highest thermal status: 0 none, 1 light, 2 moderate, up to 6.
        min_battery_percent: lowest charge.
        longest_wait_s: after so many seconds the phone is given up.
        look_every_s: seconds between two looks.

    Raises:
        InvalidDeviceUriError: a number is out of range.
    """

    max_battery_c: float = 40.0
    max_thermal_status: int = 1
    min_battery_percent: int = 15
    longest_wait_s: float = 900.0
    look_every_s: float = 10.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_battery_c", 0, 120),
            ("max_thermal_status", 0, 6),
            ("min_battery_percent", 0, 100),
            ("longest_wait_s", 0, 86_400),
            ("look_every_s", 0.01, 3600),
        ):
            number = getattr(self, name)
            if not (math.isfinite(number) and least <= number <= most):
                raise InvalidDeviceUriError(f"{name} must be from {least} to {most}, not {number}")


def unfit(state: PhoneState, settings: GuardSettings) -> tuple[str, ...]:
    """Why a phone in this state should not measure; empty if it is fit.

    >>> unfit(PhoneState(battery_c=43.5), GuardSettings())
    ('its battery is at 43.5 °C, above 40 °C',)
    """
    reasons = []
    if state.booted is False:
        reasons.append("it has not finished starting")
    if state.battery_c is not None and state.battery_c > settings.max_battery_c:
        reasons.append(f"its battery is at {state.battery_c:g} °C, above {settings.max_battery_c:g} °C")
    if state.thermal_status is not None and state.thermal_status > settings.max_thermal_status:
        reasons.append(f"its thermal status is {state.thermal_status}, above {settings.max_thermal_status}")
    if _is_low(state, settings):
        reasons.append(f"its battery is at {state.battery_percent} %, below {settings.min_battery_percent} %")
    return tuple(reasons)


class Guard:
    """Holds measuring back until a phone is fit.

    Args:
        phone: to look at.
        settings: when it is fit.
        clock: seconds.
        sleep: between two looks.
        notify: told in one line what is being waited for, and once what the phone does not reveal.
    """

    def __init__(
        self,
        phone: Phone,
        settings: GuardSettings,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        notify: Callable[[str], None],
    ) -> None:
        self._phone, self._settings = phone, settings
        self._clock, self._sleep, self._notify = clock, sleep, notify
        self._told: set[str] = set()

    def wait(self, first: PhoneState | None = None) -> tuple[PhoneState, float]:
        """Return once the phone is fit.

        Args:
            first: its state as it was read a moment ago; None to read it.

        Returns:
            Its state, and the seconds waited; 0 if it was fit at the first look.

        Raises:
            PhoneError: it is not fit after the longest wait, or its battery is low and does not charge.
            PhoneGoneError: it went away.
        """
        state = first or read_state(self._phone)
        self._tell_what_is_hidden(state)
        began, waited_s = self._clock(), 0.0
        reasons = unfit(state, self._settings)
        if reasons:
            self._notify(f"{self._phone.address}: waiting, since {' and '.join(reasons)}")
        while reasons:
            self._refuse_hopeless(state, reasons, waited_s)
            self._sleep(self._settings.look_every_s)
            state = read_state(self._phone)
            waited_s = self._clock() - began
            reasons = unfit(state, self._settings)
        if waited_s:
            self._notify(f"{self._phone.address}: fit again after {waited_s:.0f} s")
        return state, waited_s

    def _refuse_hopeless(self, state: PhoneState, reasons: tuple[str, ...], waited_s: float) -> None:
        if _is_low(state, self._settings) and not state.charging:
            raise PhoneError(
                self._phone.address,
                _STEP,
                f"its battery is at {state.battery_percent} %, below {self._settings.min_battery_percent} %, "
                "and does not charge",
                "charge it, from a port that gives enough current; the same command goes on",
            )
        if waited_s >= self._settings.longest_wait_s:
            raise PhoneError(
                self._phone.address,
                _STEP,
                f"after {waited_s:.0f} s {' and '.join(reasons)}",
                "take it out of its case, cool it, switch its screen off, or raise max_battery_c or longest_wait_s; "
                "the same command goes on",
            )

    def _tell_what_is_hidden(self, state: PhoneState) -> None:
        hidden = [
            name
            for name, value in (
                ("battery temperature", state.battery_c),
                ("thermal status", state.thermal_status),
                ("battery charge", state.battery_percent),
            )
            if value is None
        ]
        lines = [f"it does not reveal its {', '.join(hidden)}, which is not guarded"] if hidden else []
        if "battery" in state.frozen:
            lines.append(f"its battery's readings are frozen; undo it: adb -s {self._phone.address} shell {_UNFREEZE}")
        if "thermal status" in state.frozen:
            lines.append(f"its thermal status is overridden; undo it: adb -s {self._phone.address} shell {_RESET}")
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                self._notify(f"{self._phone.address}: {line}")


_UNFREEZE = "dumpsys battery reset"
_RESET = "cmd thermalservice reset"


def _is_low(state: PhoneState, settings: GuardSettings) -> bool:
    return state.battery_percent is not None and state.battery_percent < settings.min_battery_percent
