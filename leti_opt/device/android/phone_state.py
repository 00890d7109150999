"""What state a phone is in right now: temperature, battery, clocks, screen, memory. What moves a latency."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from leti_opt.device.measurement import Metric
from leti_opt.errors import PhoneGoneError

if TYPE_CHECKING:
    from leti_opt.device.android.phone import Phone

_STEP = "reading its state"
_READ_S = 60.0
_MARK = "==leti_opt"
_END = "end"

# dumpsys display is long, and only asked where dumpsys power does not tell of the screen.
# `read` is the shell's own: a program for each of the files would take most of a second on a slow phone.
STATE_COMMAND = f"""echo '{_MARK} battery'; dumpsys battery 2>&1
echo; echo '{_MARK} thermal'; dumpsys thermalservice 2>&1
echo; echo '{_MARK} power'; p=$(dumpsys power 2>&1); echo "$p"
echo; echo '{_MARK} display'; case "$p" in *'Display Power: state='*) ;; *) dumpsys display 2>&1;; esac
echo; echo '{_MARK} memory'
{{ while read l; do echo "$l"; case "$l" in MemAvailable*) break;; esac; done < /proc/meminfo; }} 2>/dev/null
echo; echo '{_MARK} uptime'; l=; {{ read l < /proc/uptime; }} 2>/dev/null; echo "$l"
echo; echo '{_MARK} booted'; echo "$(getprop sys.boot_completed)|$(getprop init.svc.bootanim)"
echo; echo '{_MARK} cpufreq'; for d in /sys/devices/system/cpu/cpu[0-9]*; do
for f in scaling_cur_freq scaling_max_freq cpuinfo_max_freq scaling_governor; do
v=; {{ read v < $d/cpufreq/$f; }} 2>/dev/null; echo "${{d##*/cpu}}|$f|$v"; done; done
echo; echo '{_MARK} {_END}'"""
"""Prints everything that :func:`parse_state` reads, in marked sections."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class PhoneState:
    """A phone's state at one moment. None, or no entry, is what the phone does not reveal.

    Args:
        battery_percent: charge.
        battery_c: temperature of the battery in degrees Celsius.
        charging: whether it charges, or is full and plugged in.
        thermal_status: Android's, from 0 (none) to 6 (shuts down).
        clocks_khz: by core.
        max_clocks_khz: the highest clock that each core may take now; heat and power saving lower it.
        governors: by core.
        screen_on: whether a screen is lit.
        available_memory_bytes: as the kernel estimates it.
        uptime_s: since the phone started.
        booted: whether Android has finished starting; None on a phone that does not say.
        frozen: what was set by hand in its place (``dumpsys battery set …``), and is therefore not believed.
    """

    battery_percent: int | None = None
    battery_c: float | None = None
    charging: bool | None = None
    thermal_status: int | None = None
    clocks_khz: Mapping[int, int] = field(default_factory=dict)
    max_clocks_khz: Mapping[int, int] = field(default_factory=dict)
    governors: Mapping[int, str] = field(default_factory=dict)
    screen_on: bool | None = None
    available_memory_bytes: int | None = None
    uptime_s: float | None = None
    booted: bool | None = None
    frozen: tuple[str, ...] = ()


def read_state(phone: Phone) -> PhoneState:
    """Ask a phone for its state.

    Raises:
        PhoneGoneError: it went away, or its reply was cut short.
    """
    text = phone.shell(STATE_COMMAND, _STEP, _READ_S, check=False).stdout
    state = parse_whole_state(text)
    if state is None:
        raise PhoneGoneError(phone.address, _STEP, f"the reply was cut short: {text[-200:]!r}", "check the cable")
    return state


def parse_whole_state(text: str) -> PhoneState | None:
    """As :func:`parse_state`; None where what was printed is not whole."""
    return parse_state(text) if _END in _marks(text) else None


def parse_state(text: str) -> PhoneState:
    r"""Read what :data:`STATE_COMMAND` prints. A section that is cut short, or timed out, tells nothing.

    >>> parse_state("==leti_opt battery\n  level: 87\n  scale: 100\n  temperature: 285\n==leti_opt end\n").battery_c
    28.5
    """
    sections = _sections(text)
    battery = _fields(sections.get("battery", ()))
    battery_frozen = any("UPDATES STOPPED" in line for line in sections.get("battery", ()))
    if battery_frozen or battery.get("present") == "false":
        battery = {}
    thermal = _fields(sections.get("thermal", ()))
    thermal_frozen = thermal.get("IsStatusOverride") == "true"
    memory = _fields(sections.get("memory", ()))
    clocks, limits, tops, governors = (
        _by_core(sections.get("cpufreq", ()), name)
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq", "scaling_governor")
    )
    return PhoneState(
        battery_percent=_percent(battery),
        battery_c=_battery_c(battery),
        charging=_charging(battery),
        thermal_status=None if thermal_frozen else _whole(thermal.get("Thermal Status"), 0, 6),
        clocks_khz=_numbers(clocks),
        max_clocks_khz={**_numbers(tops), **_numbers(limits)},
        governors={core: name for core, name in governors.items() if re.fullmatch(r"\w+", name)},
        screen_on=_screen_on(sections.get("power", ()), sections["display"]) if "display" in sections else None,
        available_memory_bytes=_bytes(memory.get("MemAvailable")),
        uptime_s=_uptime_s(sections.get("uptime", ())),
        booted=_booted(sections.get("booted", ()), sections.get("battery", ())),
        frozen=("battery",) * battery_frozen + ("thermal status",) * thermal_frozen,
    )


def state_metrics(state: PhoneState) -> tuple[Metric, ...]:
    """The state as further figures of a measurement; what the phone does not reveal is left out."""
    figures: list[tuple[str, float | None, str, str]] = [
        ("battery", state.battery_percent, "%", "dumpsys battery"),
        ("battery_temperature", state.battery_c, "degrees Celsius", "dumpsys battery"),
        ("charging", state.charging, "1 if it charges", "dumpsys battery"),
        ("thermal_status", state.thermal_status, "0 to 6", "dumpsys thermalservice"),
        ("screen_on", state.screen_on, "1 if it is lit", "dumpsys power, dumpsys display"),
        ("available_memory", state.available_memory_bytes, "bytes", "/proc/meminfo"),
        ("uptime", state.uptime_s, "s", "/proc/uptime"),
    ]
    found = [Metric(name, float(value), unit, source) for name, value, unit, source in figures if value is not None]
    for core, khz in sorted(state.clocks_khz.items()):
        found.append(Metric(f"clock_core_{core}", khz / 1e3, "MHz", "cpufreq/scaling_cur_freq"))
    for core, khz in sorted(state.max_clocks_khz.items()):
        found.append(Metric(f"clock_limit_core_{core}", khz / 1e3, "MHz", "cpufreq/scaling_max_freq"))
    for governor, cores in sorted(Counter(state.governors.values()).items()):
        found.append(Metric(f"governor_{governor}", float(cores), "cores", "cpufreq/scaling_governor"))
    return tuple(found)


def _marks(text: str) -> list[str]:
    return [line.removeprefix(_MARK).strip() for line in text.split("\n")[:-1] if line.startswith(_MARK)]


def _sections(text: str) -> dict[str, tuple[str, ...]]:
    """Lines by section; only sections that another one follows, since the last may have been cut."""
    sections: dict[str, tuple[str, ...]] = {}
    name, lines = "", list[str]()
    for line in text.split("\n")[:-1]:
        if not line.startswith(_MARK):
            lines.append(line.strip())
            continue
        # A service that took too long leaves off anywhere, also within a number.
        if name and not any("DUMP TIMEOUT" in one for one in lines):
            sections[name] = tuple(lines)
        name, lines = line.removeprefix(_MARK).strip(), []
    return sections


def _fields(lines: tuple[str, ...]) -> dict[str, str]:
    """``name: value`` lines; the first of a name counts, since vendors add lines of their own below."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip(), value.strip())
    return found


def _whole(text: str | None, least: int, most: int) -> int | None:
    if text is None or not re.fullmatch(r"-?\d{1,12}", text):
        return None
    number = int(text)
    return number if least <= number <= most else None


def _percent(battery: Mapping[str, str]) -> int | None:
    scale = _whole(battery.get("scale"), 1, 100_000)
    level = _whole(battery.get("level"), 0, scale or 0)
    return None if scale is None or level is None else round(100 * level / scale)


def _battery_c(battery: Mapping[str, str]) -> float | None:
    tenths = _whole(battery.get("temperature"), -400, 1200)
    # Exactly 0 is what devices without a sensor print.
    return tenths / 10 if tenths else None


_CHARGING = {"2": True, "3": False, "4": False, "5": True}
"""BatteryManager's states: charging, discharging, not charging, full. 1 is unknown."""


def _charging(battery: Mapping[str, str]) -> bool | None:
    status = battery.get("status", "")
    if status in _CHARGING:
        return _CHARGING[status]
    sources = [value for name, value in battery.items() if name.endswith(" powered")]
    return "true" in sources if sources else None


def _screen_on(power: tuple[str, ...], display: tuple[str, ...]) -> bool | None:
    readings: tuple[Callable[[], list[str]], ...] = (
        lambda: _found(r"Display Power: state=(\w+)", power),
        lambda: _found(r"(?:mScreenState|mGlobalDisplayState|Display State)=(\w+)", display),
        lambda: [_WAKEFULNESS.get(word, "") for word in _found(r"mWakefulness=(\w+)", power)],
    )
    for reading in readings:
        states = [state for state in reading() if state in _SCREEN]
        if states:
            return any(_SCREEN[state] for state in states)
    return None


_SCREEN = {"ON": True, "VR": True, "ON_SUSPEND": True, "OFF": False, "DOZE": False, "DOZE_SUSPEND": False}
_WAKEFULNESS = {"Awake": "ON", "Dreaming": "ON", "Asleep": "OFF", "Dozing": "DOZE"}


def _found(pattern: str, lines: tuple[str, ...]) -> list[str]:
    matches = (re.fullmatch(pattern, line) for line in lines)
    return [match.group(1) for match in matches if match]


def _bytes(text: str | None) -> int | None:
    found = re.fullmatch(r"(\d{1,15}) kB", text or "")
    return int(found.group(1)) * 1024 if found else None


def _uptime_s(lines: tuple[str, ...]) -> float | None:
    found = next(iter(_found(r"(\d+\.\d+) \d+\.\d+", lines)), None)
    return None if found is None else float(found)


def _booted(lines: tuple[str, ...], battery: tuple[str, ...]) -> bool | None:
    """Android sets its property to 1 at the end. Before, it shows its animation, or has no services yet."""
    if any(line.startswith("1|") for line in lines):
        return True
    starting = "|running" in lines or any("Can't find service" in line for line in battery)
    return False if lines and starting else None


def _by_core(lines: tuple[str, ...], name: str) -> dict[int, str]:
    def entries() -> Iterator[tuple[int, str]]:
        for line in lines:
            found = re.fullmatch(rf"(\d{{1,3}})\|{name}\|(.+)", line)
            if found:
                yield int(found.group(1)), found.group(2).strip()

    return dict(entries())


def _numbers(texts: Mapping[int, str]) -> dict[int, int]:
    return {core: int(text) for core, text in texts.items() if re.fullmatch(r"[1-9]\d{0,8}", text)}
