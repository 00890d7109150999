"""Which networks need no prediction, since they cannot run: not built, refused by a device before, or forecast so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidConfigError, NotFoundError, UnknownOperationError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.gpu_support import gpu_support
from leti_opt.network.rendering import Renderer, renderer_version
from leti_opt.network.table_cost import unfit_rows
from leti_opt.network.table_gpu_support import gpu_support_mask
from leti_opt.objective.answers import Answer, Source
from leti_opt.objective.service import LatencyService
from leti_opt.store.cells import cell_alias
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.opening import exists, shown
from leti_opt.store.standings import State

FEASIBLE, SKIPPED, INFEASIBLE = "", "skipped", "infeasible"


@dataclass(frozen=True)
class Judge:
    """A device whose verdicts a store holds.

    Args:
        identity: what it is.
        epoch: what it was when last seen.
        min_runs: runs that a measurement needs on it.
    """

    identity: DeviceIdentity
    epoch: DeviceEpoch
    min_runs: int


@dataclass(frozen=True)
class Verdicts:
    """What a store knows of devices: which cells they refused. The devices are not contacted.

    It is read once, when a cell is first asked about.

    Args:
        store: what remembers.
        judges: the devices; what one of them refuses is infeasible.
        network: how cells become networks.
        renderer: what makes files of them.
        protocol: what a measurement must be good enough for, to be a verdict.
    """

    store: LatencyStore
    judges: tuple[Judge, ...]
    network: NetworkConfig
    renderer: Renderer = "auto"
    protocol: MeasurementProtocol = field(default_factory=MeasurementProtocol)

    @property
    def refused(self) -> dict[str, str]:
        """Cells that a device refused, by their text, with their hash."""
        return self._known[0]

    @property
    def ran(self) -> dict[str, str]:
        """Cells that every device ran, likewise."""
        return self._known[1]

    def reason(self, architecture: Architecture) -> str:
        """Why a device refused a cell that is among :attr:`refused`."""
        alias = cell_alias(architecture, self.network, self.renderer)
        found = [
            failure.reason
            for judge in self.judges
            for failure in self.store.failures(alias=alias, identity=judge.identity, epoch=judge.epoch)
        ]
        return found[0] if found else "a device refused a network that is equal to this cell's"

    @cached_property
    def _known(self) -> tuple[dict[str, str], dict[str, str]]:
        refused: dict[str, str] = {}
        ran: list[dict[str, str]] = []
        for judge in self.judges:
            found = self._standings(judge)
            refused |= found[State.INFEASIBLE]
            ran.append(found[State.MEASURED] | found[State.UNSTABLE])
        everywhere = set.intersection(*map(set, ran)) if ran else set()
        return refused, {cell: ran[0][cell] for cell in everywhere}

    def _standings(self, judge: Judge) -> dict[State, dict[str, str]]:
        found = self.store.standings(
            judge.identity,
            judge.epoch,
            self.network.digest,
            renderer_version(self.network.precision, self.renderer),
            self.protocol,
            judge.min_runs,
            cells=True,
        )
        assert found.cells is not None, "they were asked for"
        texts, hashes = found.cells.astype(np.str_), found.graph_hashes.astype(np.str_)
        cells = {}
        for state in State:
            chosen = found.states == state
            cells[state] = dict(zip(texts[chosen].tolist(), hashes[chosen].tolist(), strict=True))
        return cells


def verdicts_in(store: str | Path | LatencyStore, device: str | Device, network: NetworkConfig) -> Verdicts:
    """What a store knows of a device, by the usual protocol.

    Raises:
        NotFoundError: there is no such store, or it has no results of the device.
        InvalidDeviceUriError: there is no such device.
    """
    if not isinstance(store, LatencyStore) and not exists(store):
        raise NotFoundError(f"there is no store {shown(store)}; name one that holds results of the device")
    opened = store if isinstance(store, LatencyStore) else LatencyStore(store)
    protocol = MeasurementProtocol()
    return Verdicts(opened, (judge_of(device, opened, protocol),), network, protocol=protocol)


def verdicts_of(service: LatencyService, network: NetworkConfig, renderer: Renderer) -> Verdicts:
    """What a service's store knows of its devices; one that the store has not seen yet has refused nothing."""
    devices = (member.device for member in service.members)
    seen = [device for device in devices if service.store.device_of(device.uri) is not None]
    judges = tuple(judge_of(device, service.store, service.protocol) for device in seen)
    return Verdicts(service.store, judges, network, renderer, service.protocol)


def judge_of(device: str | Device, store: LatencyStore, protocol: MeasurementProtocol) -> Judge:
    """A device as a store last saw it.

    Raises:
        NotFoundError: the store has no results of it.
        InvalidDeviceUriError: there is no such device.
    """
    opened = open_device(device) if isinstance(device, str) else device
    known = store.device_of(opened.uri)
    if known is None:
        raise NotFoundError(f"the store {store.url} has no results of {opened.uri}; measure something on it first")
    return Judge(*known, protocol.runs_on(opened))


@dataclass(frozen=True)
class Feasibility:
    """Says of cells whether anything speaks against them, as the measured objective would.

    Args:
        network: how they become networks.
        skip_forecast: rules that forecast what a phone's GPU takes; None to skip nothing on a forecast.
        verdicts: what devices said before; None where nobody knows.
    """

    network: NetworkConfig
    skip_forecast: str | None = None
    verdicts: Verdicts | None = None

    def refusal(self, architecture: Architecture) -> Answer | None:
        """Why a cell gets no prediction; None where nothing speaks against it.

        Raises:
            UnknownOperationError: the network knows no layers for one of its operations.
        """
        text = str(architecture.canonical())
        if self.verdicts is not None and text in self.verdicts.refused:
            return Answer(Source.STORE, failure=self.verdicts.reason(architecture))
        try:
            graph = build_layer_graph(architecture, self.network)
        except UnknownOperationError:
            raise
        except InvalidConfigError as error:
            return Answer(Source.PREDICTOR, failure=f"cannot be built: {error}")
        if self.skip_forecast is None or (self.verdicts is not None and text in self.verdicts.ran):
            return None
        refusals = gpu_support(graph, self.skip_forecast).refusals
        if not refusals:
            return None
        reason = f"skipped, forecast {self.skip_forecast}: {refusals[0].reason}"
        return Answer(Source.FORECAST, failure=reason, skipped=True)

    def states(self, table: ArchitectureTable) -> NDArray[np.str_]:
        """Of each cell ``skipped``, ``infeasible`` or nothing; the same verdicts, for all at once.

        Raises:
            UnknownOperationError: the network knows no layers for one of the operations.
        """
        self._check_operations(table)
        found = np.full(len(table), FEASIBLE, dtype="U10")
        unfit = unfit_rows(table, self.network)
        fit = np.setdiff1d(np.arange(len(table)), unfit)
        if self.skip_forecast is not None and len(fit):
            refused = fit[~gpu_support_mask(table[fit], self.network, self.skip_forecast)]
            ran = [] if self.verdicts is None else _rows_of(self.verdicts.ran, table, refused)
            found[np.setdiff1d(refused, ran)] = SKIPPED
        found[unfit] = INFEASIBLE
        if self.verdicts is not None:
            found[_rows_of(self.verdicts.refused, table, np.arange(len(table)))] = INFEASIBLE
        return found

    def _check_operations(self, table: ArchitectureTable) -> None:
        known = self.network.operation_table
        for place, label in enumerate(table.labels):
            rows = np.flatnonzero((table.operations == place).any(axis=1)) if label not in known else np.zeros(0, int)
            if rows.size:
                build_layer_graph(table[int(rows[0])], self.network)


def _rows_of(cells: dict[str, str], table: ArchitectureTable, among: NDArray[np.int64]) -> list[int]:
    """Those of some rows that hold one of these cells: found by hash, told apart by text."""
    if not cells or not len(among):
        return []
    near = among[np.isin(table.graph_hashes[among], list(cells.values()))]
    texts: Sequence[str] = [str(cell) for cell in table[near]]
    return [int(row) for row, text in zip(near, texts, strict=True) if text in cells]
