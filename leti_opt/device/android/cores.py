"""A phone's groups of cores, and the mask that keeps a program on some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.errors import DeviceError, InvalidDeviceUriError, PhoneError, PhoneGoneError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.device.android.phone import Phone

NAMES = ("big", "little", "all")

_END = "end of cores"
# `read` is the shell's own: a program for each of the files would take most of a second on a slow phone.
CORES_COMMAND = f"""C=/sys/devices/system/cpu
for d in $C/cpu[0-9]*; do a=; {{ read a < $d/cpu_capacity; }} 2>/dev/null; echo "core|${{d##*/cpu}}|$a"; done
for d in $C/cpufreq/policy[0-9]* $C/cpu[0-9]*/cpufreq; do r=; m=
{{ read r < $d/related_cpus; }} 2>/dev/null; {{ read m < $d/cpuinfo_max_freq; }} 2>/dev/null
echo "policy|$r|$m"; done
echo '{_END}'"""
"""Prints a line for each core (number, capacity) and for each cpufreq policy (cores, highest clock in kHz)."""

_CORE = re.compile(r"core\|(\d+)\|(\d*)")
_POLICY = re.compile(r"policy\|([\d ,-]+)\|(\d+)")


@dataclass(frozen=True)
class CoreGroup:
    """Cores of one kind.

    Args:
        cores: their numbers, ascending.
        max_khz: their highest clock; None where the phone does not reveal it.
        capacity: their speed as the kernel rates it, up to 1024; None likewise.
    """

    cores: tuple[int, ...]
    max_khz: int | None = None
    capacity: int | None = None


def core_groups(text: str) -> tuple[CoreGroup, ...]:
    r"""Groups of equal cores, the slowest first, from what :data:`CORES_COMMAND` prints.

    Where the speeds cannot be compared the groups are in the order of their cores.

    >>> [group.cores for group in core_groups("core|0|\ncore|1|\npolicy|0|1800000\npolicy|1|2400000\n")]
    [(0,), (1,)]
    """
    lines = [line.strip() for line in text.splitlines()]
    capacities = {int(core): int(rated or 0) or None for core, rated in _matches(_CORE, lines)}
    clocks: dict[int, int] = {}
    for cores, max_khz in _matches(_POLICY, lines):
        clocks.update(dict.fromkeys(_numbers(cores), int(max_khz)))
    kinds: dict[tuple[int | None, int | None], list[int]] = {}
    for core in sorted(capacities.keys() | clocks.keys()):
        kinds.setdefault((capacities.get(core), clocks.get(core)), []).append(core)
    groups = [CoreGroup(tuple(cores), max_khz, capacity) for (capacity, max_khz), cores in kinds.items()]
    return _slowest_first(groups) or tuple(groups)


def affinity_mask(wanted: str, groups: Sequence[CoreGroup]) -> str:
    """The mask in hexadecimal for ``taskset``; empty for all cores.

    Args:
        wanted: ``all``, ``big`` (all but the slowest group; all cores where there is one group), ``little`` (the
            slowest group), or a mask in hexadecimal.
        groups: of the phone.

    Raises:
        InvalidDeviceUriError: it is no name and no mask, or names cores that the phone does not have.
        DeviceError: the phone does not reveal which cores are fast.

    >>> affinity_mask("big", [CoreGroup((0, 1, 2, 3), 1800000), CoreGroup((4, 5, 6, 7), 2400000)])
    'f0'
    """
    if wanted == "all":
        return ""
    if wanted in NAMES:
        ordered = _slowest_first(groups)
        if not ordered:
            raise DeviceError(
                f"the phone does not reveal which of its cores are fast (cpufreq cannot be read), which cores={wanted} "
                "needs; write ?cores=all, or a mask in hexadecimal such as ?cores=f0 for the cores 4 to 7"
            )
        if len(ordered) == 1:
            return ""
        chosen = ordered[1:] if wanted == "big" else ordered[:1]
        return _mask(core for group in chosen for core in group.cores)
    return _checked_mask(wanted, {core for group in groups for core in group.cores})


def read_core_groups(phone: Phone) -> tuple[CoreGroup, ...]:
    """Ask a phone for its groups of cores.

    Raises:
        PhoneError: it lists no cores at all.
        PhoneGoneError: it went away, or its reply was cut short.
    """
    step = "reading its cores"
    text = phone.shell(CORES_COMMAND, step, check=False).stdout
    if _END not in text:
        raise PhoneGoneError(phone.address, step, f"the reply was cut short: {text[-200:]!r}", "check the cable")
    groups = core_groups(text)
    if not groups:
        raise PhoneError(
            phone.address,
            step,
            "it lists no cores in /sys/devices/system/cpu",
            f"look with: adb -s {phone.address} shell ls /sys/devices/system/cpu",
        )
    return groups


def _slowest_first(groups: Sequence[CoreGroup]) -> tuple[CoreGroup, ...] | None:
    """The groups in the order of their speed; None where that is not known of each."""
    rated = all(group.capacity is not None for group in groups)
    if rated and len({group.capacity for group in groups}) == len(groups):
        return tuple(sorted(groups, key=lambda group: group.capacity or 0))
    if all(group.max_khz is not None for group in groups):
        # Some phones clock slow and fast cores alike, so the kernel's rating goes first where there is one.
        return tuple(sorted(groups, key=lambda group: ((group.capacity or 0) if rated else 0, group.max_khz or 0)))
    return None


def _matches(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        found = pattern.fullmatch(line)
        if found:
            yield found.group(1), found.group(2)


def _numbers(text: str) -> Iterator[int]:
    """The cores of ``0 1 2 3``, ``0-3`` or ``0,1``: kernels differ."""
    for first, last in re.findall(r"(\d{1,3})(?:-(\d{1,3}))?", text):
        yield from range(int(first), int(last or first) + 1)


def _mask(cores: Iterable[int]) -> str:
    return f"{sum(1 << core for core in cores):x}"


def _checked_mask(wanted: str, existing: set[int]) -> str:
    digits = wanted.lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]+", digits) or int(digits, 16) == 0:
        raise InvalidDeviceUriError(
            f"cores must be a name or a mask in hexadecimal such as f0, not {wanted!r}; {did_you_mean(wanted, NAMES)}"
        )
    cores = [core for core in range(4 * len(digits)) if int(digits, 16) >> core & 1]
    missing = [str(core) for core in cores if core not in existing]
    if existing and missing:
        raise InvalidDeviceUriError(
            f"cores={wanted} names the cores {', '.join(missing)}, which the phone does not have; "
            f"it has {', '.join(map(str, sorted(existing)))}"
        )
    return _mask(cores)
