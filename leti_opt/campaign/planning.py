"""What a campaign will take, before anything starts: measurements, time and disk, from what the store knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.places import KnownDevice
from leti_opt.campaign.standing import LACKING, Lookup, item_states
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import DeviceIdentity
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.paces import PaceRow
from leti_opt.store.standings import State

LEAST_ROWS = 5
"""A forecast stands on so many measurements at least."""

_BYTES_OF_RUN = 7.5
_BYTES_BESIDE = 1500
_LEAST_FOR_BYTES = 200


@dataclass(frozen=True)
class PlanRow:
    """One device and one network config.

    Args:
        uri: the device.
        device: what it is; empty where it cannot be reached and the store has never seen it.
        network: which of the configs, counted from 0.
        total: networks.
        measured, unstable, infeasible: those that the store has an answer for.
        seconds_each: forecast for one network; None where nothing is known of this device.
        basis: in words, what the forecast stands on.
        note: what is wrong with the device; empty if nothing is.
    """

    uri: str
    device: str
    network: int
    total: int
    measured: int
    unstable: int
    infeasible: int
    seconds_each: float | None
    basis: str
    note: str = ""

    @property
    def lacking(self) -> int:
        """Networks to be measured."""
        return self.total - self.measured - self.unstable - self.infeasible

    @property
    def seconds(self) -> float | None:
        """All of these; None where nothing is known of this device."""
        if not self.lacking:
            return 0.0
        return None if self.seconds_each is None else self.lacking * self.seconds_each


@dataclass(frozen=True)
class CampaignPlan:
    """What a campaign will take.

    Args:
        name: of the campaign.
        cells: how many there are.
        rows: each device with each network config.
        disk_bytes: by which the store will grow.
    """

    name: str
    cells: int
    rows: tuple[PlanRow, ...]
    disk_bytes: int

    @property
    def lacking(self) -> int:
        """Measurements to be made."""
        return sum(row.lacking for row in self.rows)

    @property
    def seconds(self) -> float | None:
        """Until the slowest device is done, since they work side by side; None where one is not known."""
        by_device: dict[str, list[float | None]] = {}
        for row in self.rows:
            by_device.setdefault(row.uri, []).append(row.seconds)
        if any(None in seconds for seconds in by_device.values()):
            return None
        return max((sum(filter(None, seconds)) for seconds in by_device.values()), default=0.0)


def plan_of(work: CampaignWork, devices: Sequence[KnownDevice], store: LatencyStore) -> CampaignPlan:
    """Look up what is lacking, and forecast what it takes.

    Raises:
        StoreError: the store cannot be read.
    """
    lookup = Lookup(work)
    rows = [row for device in devices for row in _rows(work, device, store, lookup)]
    lacking = sum(row.lacking for row in rows)
    runs = max((work.protocol.runs_of(device.min_runs) for device in devices), default=0)
    bytes_each = _bytes_each(store, runs, work.protocol.max_attempts)
    return CampaignPlan(work.name, len(work.cells), tuple(rows), round(lacking * bytes_each))


def _rows(work: CampaignWork, device: KnownDevice, store: LatencyStore, lookup: Lookup) -> list[PlanRow]:
    if device.place is None:
        cells, configs = len(work.cells), len(work.configs)
        return [PlanRow(device.uri, "", number, cells, 0, 0, 0, None, "", device.note) for number in range(configs)]
    identity, epoch = device.place
    states = item_states(work, store, identity, epoch, work.protocol.runs_of(device.min_runs), lookup)
    rows = []
    for number, config in enumerate(work.configs):
        of_config = states[number :: len(work.configs)]
        each, basis = _forecast(work, config, of_config, device, identity, store)
        counts = {state: int((of_config == state).sum()) for state in State}
        rows.append(
            PlanRow(
                device.uri,
                identity.name,
                number,
                len(of_config),
                counts[State.MEASURED],
                counts[State.UNSTABLE],
                counts[State.INFEASIBLE],
                each,
                basis,
                device.note,
            )
        )
    return rows


def _forecast(
    work: CampaignWork,
    config: NetworkConfig,
    states: NDArray[np.int8],
    device: KnownDevice,
    identity: DeviceIdentity,
    store: LatencyStore,
) -> tuple[float | None, str]:
    """Seconds for one of the networks that are lacking, and what that stands on."""
    runs = work.protocol.runs_of(device.min_runs)
    own = store.last_measured(identity, config.digest)
    if len(own) >= LEAST_ROWS:
        basis = f"{len(own)} networks of this kind that it measured last"
        counts = work.protocol.relative_error is None and work.protocol.runs_per_sample == 1
        counts = counts and identity.origin == "measured"  # what answers at once takes no longer for more runs
        return _mean([_duration_s(row, runs if counts else None) for row in own]), basis
    others = [row for row in store.last_measured(identity) if row.flops]
    if len(others) < LEAST_ROWS or not (states == LACKING).any():
        return None, f"unknown: it has measured {len(others)} networks, a forecast needs {LEAST_ROWS}"
    flops = network_cost(work.cells[np.flatnonzero(states == LACKING)[:2000]], config).flops
    ms_per_flop = sum(row.mean_ms for row in others) / sum(row.flops or 0 for row in others)
    return (runs + work.protocol.warmup_runs) * ms_per_flop * float(flops.mean()) / 1e3, (
        f"FLOPs, by {len(others)} networks of other kinds that it measured last"
    )


def _mean(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds)


def _duration_s(row: PaceRow, runs: int | None) -> float:
    """How long a measurement took, or would have taken with another number of runs."""
    more = 0 if runs is None or row.runs is None else runs - row.runs
    return max(0.0, row.duration_s + more * row.mean_ms / 1e3)


def _bytes_each(store: LatencyStore, runs: int, max_attempts: int) -> float:
    """What a measurement takes in this store, or would by its runs, as often as unstable ones are tried again."""
    info = store.info()
    if info.measurements >= _LEAST_FOR_BYTES and info.size_bytes:
        return info.size_bytes / info.measurements
    unstable = info.unstable / info.measurements if info.measurements else 0.0
    return _BYTES_BESIDE + _BYTES_OF_RUN * runs * (1 + unstable * (max_attempts - 1))
