"""The way of devices that measure nothing: recordings and formulas, many networks at a time, stored in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.building import joblib_settings
from leti_opt.campaign.progress import DeviceProgress
from leti_opt.campaign.standing import LACKING, item_states, lacking
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.errors import InfeasibleError
from leti_opt.network.cost import network_cost
from leti_opt.network.weights_block import open_block
from leti_opt.network.weights_outside import write_header
from leti_opt.objective.answers import Question
from leti_opt.objective.build_faults import blaming_the_architecture
from leti_opt.objective.questions import cell_question
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import StoredResult
from leti_opt.store.standings import State

GROUP = 1000
"""Networks that are answered and stored together. A killed process loses a group at most, and nobody measured it."""


def is_replayed(device: Device) -> bool:
    """Whether a device runs nothing, but answers from elsewhere. It is not contacted."""
    return not device.watched


class Replay:
    """Has every network of a campaign answered by devices that measure nothing.

    Args:
        work: the campaign's networks.
        devices: recordings and formulas; they are opened again in every process.
        store: what remembers; another process must be able to open it.
        backend: what :func:`joblib.parallel_config` takes.
        workers: processes that answer at once.
        render: also make every network's file, as a device that runs it would need.
    """

    def __init__(
        self,
        work: CampaignWork,
        devices: Sequence[Device],
        store: LatencyStore,
        backend: Mapping[str, Any],
        workers: int,
        render: bool = False,
    ) -> None:
        self.work, self.devices, self.store = work, tuple(devices), store
        self._backend, self._workers, self._render = dict(backend), workers, render
        self.progress = [DeviceProgress(device.uri, len(work), device.identity.origin) for device in devices]
        self._is_stopped = False

    def run(self) -> None:
        """Answer until nothing is lacking, or until :meth:`stop`.

        Raises:
            StoreError: the store cannot be read or written.
            InvalidProtocolError: a device cannot follow the protocol.
        """
        from joblib import Parallel, delayed, parallel_config

        for device in self.devices:
            self.store.remember_uri(device.uri, device.identity, device.epoch)
        for config in self.work.configs:
            self.store.add_network(config.digest, config.settings)
        states = np.stack([self._states(device) for device in self.devices])
        for progress, of_device in zip(self.progress, states, strict=True):
            progress.begin_round(of_device, lacking(self.work, of_device))
        with parallel_config(**joblib_settings(self._backend)):
            # multiprocessing has no answers before the last one.
            way = "list" if self._backend.get("backend") == "multiprocessing" else "generator_unordered"
            answers = Parallel(n_jobs=self._workers, return_as=way, pre_dispatch=2 * self._workers)(
                delayed(answer_group)(*group) for group in self._groups(states)
            )
            for counts in answers:
                for progress, of_device in zip(self.progress, counts, strict=True):
                    progress.add_many(of_device)
        for progress in self.progress:
            progress.finish([])

    def stop(self) -> None:
        """Finish the groups in progress."""
        self._is_stopped = True

    def interrupt(self) -> None:
        """The same: nothing here waits for a device."""
        self.stop()

    def _states(self, device: Device) -> NDArray[np.int8]:
        runs = self.work.protocol.runs_on(device)
        return item_states(self.work, self.store, device.identity, device.epoch, runs)

    def _groups(self, states: NDArray[np.int8]) -> Iterator[tuple[Any, ...]]:
        """Arguments of :func:`answer_group`: cells of one config each, with what each device lacks of them."""
        uris = [device.uri for device in self.devices]
        open_items = self.work.order[(states[:, self.work.order] == LACKING).any(axis=0)]
        for start in range(0, len(open_items), GROUP):
            for number, (config, places) in enumerate(self.work.split(open_items[start : start + GROUP])):
                if self._is_stopped:
                    return
                if len(places):
                    wanted = states[:, places * len(self.work.configs) + number] == LACKING
                    part = replace(self.work, cells=self.work.cells[places], configs=(config,))
                    yield part, uris, wanted, self.store, self._render


def answer_group(
    work: CampaignWork, uris: Sequence[str], wanted: NDArray[np.bool_], store: LatencyStore, render: bool
) -> list[Counter[State]]:
    """Answer some networks of one config on every device that lacks them, and store all of it at once.

    Args:
        work: just these networks.
        uris: the devices.
        wanted: ``(devices, networks)``, which answers are lacking.
        store: what remembers.
        render: also make every network's file.

    Returns:
        For each device how many networks came to which state.
    """
    cost = network_cost(work.cells, work.configs[0])
    devices = [open_device(uri) for uri in uris]
    counts: list[Counter[State]] = [Counter() for _ in devices]
    results: list[StoredResult] = []
    for row, cell in enumerate(work.cells):
        question = cell_question(cell, work.configs[0], work.renderer)
        try:
            model = blaming_the_architecture(partial(_made, question, render))
        except InfeasibleError as error:
            store.add_failure(error.reason, stage="build", alias=question.alias)
            for number in np.flatnonzero(wanted[:, row]):
                counts[number][State.INFEASIBLE] += 1
            continue
        flops, parameters = int(cost.flops[row]), int(cost.parameters[row])
        for number in np.flatnonzero(wanted[:, row]):
            result = _answered(devices[number], question, model, work.protocol)
            results.append(replace(result, flops=flops, parameters=parameters))
            counts[number][_state(result)] += 1
    store.add_all(results)
    return counts


def _made(question: Question, render: bool) -> MeasurableModel:
    model = question.build()
    if render and model.placed is None:
        model.prepare()
    elif render and model.placed is not None:
        write_header(model.placed, open_block(model.placed.needs), model.key)
    return model


def _answered(
    device: Device, question: Question, model: MeasurableModel, protocol: MeasurementProtocol
) -> StoredResult:
    try:
        return StoredResult(model, measure(device, model, protocol), question.alias)
    except InfeasibleError as error:
        return StoredResult(
            model, alias=question.alias, failure=error.reason, device=device.identity, epoch=device.epoch
        )


def _state(result: StoredResult) -> State:
    if result.measurement is None:
        return State.INFEASIBLE
    return State.UNSTABLE if result.measurement.status == "unstable" else State.MEASURED
