"""Whether host devices on different cores disturb each other: seen before a campaign starts, and recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from leti_opt.campaign.events import NOTE, EventLog
from leti_opt.device.device import Device
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import hold
from leti_opt.objective.canary import canary_model

MAX_SLOWDOWN = 1.03
"""Devices that slow each other down by more than this take turns."""

_ROUNDS = 5
_PROTOCOL = MeasurementProtocol(min_runs=300, max_attempts=1)


@dataclass(frozen=True)
class Interference:
    """What two devices do to each other.

    Args:
        first, second: their URIs.
        slowdown: median latency of a small network beside the other one over that alone; the worse of both.
    """

    first: str
    second: str
    slowdown: float

    @property
    def disturbs(self) -> bool:
        """Whether they must take turns."""
        return self.slowdown > MAX_SLOWDOWN


def check_interference(devices: Sequence[Device], events: EventLog) -> list[list[HostCpu]]:
    """Measure what this host's devices on different cores do to each other, and record it.

    Each measures a small network alone and beside the other in turn, five times.

    Args:
        devices: of a campaign.
        events: where it is recorded.

    Returns:
        Groups of devices that must take turns.

    Raises:
        DeviceError: one cannot measure.
    """
    hosts = [device for device in devices if isinstance(device, HostCpu)]
    groups: list[list[HostCpu]] = []
    for first, second in combinations(hosts, 2):
        shared = first.resources & second.resources
        if shared:  # its lock sees to it
            events.add(NOTE, f"{first.uri} and {second.uri} share {', '.join(sorted(shared))}; they take turns")
            continue
        found = measured_interference(first, second)
        verdict = "they take turns" if found.disturbs else "they measure side by side"
        events.add(
            NOTE,
            f"{found.first} and {found.second}: a small network takes {found.slowdown:.3f} times as long beside the "
            f"other (median of {_ROUNDS} rounds of {_PROTOCOL.min_runs} runs); {verdict}",
        )
        if found.disturbs:
            _join(groups, first, second)
    return groups


def measured_interference(first: HostCpu, second: HostCpu) -> Interference:
    """Measure what two devices do to each other."""
    _median_ms(first), _median_ms(second)  # both have loaded the network and are warm
    alone: dict[HostCpu, list[float]] = {first: [], second: []}
    beside: dict[HostCpu, list[float]] = {first: [], second: []}
    with ThreadPoolExecutor(2, thread_name_prefix="interference") as together:
        for _ in range(_ROUNDS):
            for device in (first, second):
                alone[device].append(_median_ms(device))
            both = {device: together.submit(_median_ms, device) for device in (first, second)}
            for device, future in both.items():
                beside[device].append(future.result())
    slowdowns = [median(beside[device]) / median(alone[device]) for device in (first, second)]
    return Interference(first.uri, second.uri, max(slowdowns))


def _median_ms(device: HostCpu) -> float:
    with hold(device.resources):
        return measure(device, canary_model(), _PROTOCOL).batch.statistic("median")


def _join(groups: list[list[HostCpu]], first: HostCpu, second: HostCpu) -> None:
    """Put two devices into one group, with all that take turns with either."""
    own = [group for group in groups if first in group or second in group]
    for group in own:
        groups.remove(group)
    groups.append(list(dict.fromkeys([*(device for group in own for device in group), first, second])))


@contextmanager
def taking_turns(devices: Sequence[HostCpu]) -> Iterator[None]:
    """Let devices measure one after the other for as long as the context: each holds the cores of all."""
    cores = frozenset(core for device in devices for core in device.resources)
    for device in devices:
        device.also_held = cores
    try:
        yield
    finally:
        for device in devices:
            device.also_held = frozenset()
