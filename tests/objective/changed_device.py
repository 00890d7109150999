"""A simulated device after an update: another system, driver, unit or runtime, and perhaps another speed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from leti_opt import Architecture, LatencyStore, MeasurableModel, MeasurementProtocol, NetworkConfig
from leti_opt.device.device import DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.simulated import Formula, SimulatedDevice
from leti_opt.errors import DeviceError, InfeasibleError
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.panel import choose_panel, link_epochs, measure_models, panel_model
from leti_opt.objective.questions import cell_question

NETWORK = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
PROTOCOL = MeasurementProtocol(min_runs=30)
DIGEST = NETWORK.digest
OLD = DeviceEpoch("kernel 6.1", unit="a")
NEW = DeviceEpoch("kernel 6.2", unit="a")


class ChangedDevice(SimulatedDevice):
    """Counts its loads.

    Args:
        epoch: system build, driver, unit.
        runtime: of the identity; the formula's own if empty.
        factor: times as slow.
        shuffle: every network is slower or faster by up to so much, as its key says.
        gone_after: loads that succeed before the device is gone.
        refuses: keys of models that it cannot run.
    """

    def __init__(
        self,
        epoch: DeviceEpoch,
        runtime: str = "",
        factor: float = 1.0,
        shuffle: float = 0.0,
        gone_after: int | None = None,
        refuses: Iterable[str] = (),
    ) -> None:
        super().__init__(Formula(seed=1, noise=0.002))
        self._epoch, self._runtime, self._factor, self._shuffle = epoch, runtime, factor, shuffle
        self._gone_after, self._refuses = gone_after, frozenset(refuses)
        self.loads: list[str] = []

    @property
    def identity(self) -> DeviceIdentity:
        identity = super().identity
        return replace(identity, runtime=self._runtime) if self._runtime else identity

    @property
    def epoch(self) -> DeviceEpoch:
        return self._epoch

    def load(self, model: MeasurableModel) -> Session:
        if self._gone_after is not None and len(self.loads) >= self._gone_after:
            raise DeviceError("the cable was pulled")
        if model.key in self._refuses:
            raise InfeasibleError("this driver refuses it")
        self.loads.append(model.key)
        return super().load(model)

    def _latency_ms(self, model: MeasurableModel, graph: LayerGraph) -> float:
        place = hashlib.sha256(model.key.encode()).digest()[0] / 255 - 0.5
        return super()._latency_ms(model, graph) * self._factor * (1 + 2 * self._shuffle * place)


def cells(count: int) -> list[Architecture]:
    """Different cells: chains and ladders of convolutions and pools."""
    names = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
    found = []
    for number in range(count):
        length, rest = 1 + number % 4, number
        operations = []
        for _ in range(length):
            operations.append(names[rest % 3])
            rest //= 3
        edges = ",".join(f"{place}-{place + 1}" for place in range(length + 1))
        found.append(Architecture.parse(f"{edges}:{','.join(operations)}"))
    return list(dict.fromkeys(found))


def service_on(
    device: SimulatedDevice, store: LatencyStore, protocol: MeasurementProtocol = PROTOCOL
) -> MeasuringService:
    return MeasuringService(device, store, protocol)


def measure_cells(
    device: SimulatedDevice, store: LatencyStore, count: int, network: NetworkConfig = NETWORK
) -> list[str]:
    """Measure cells, and return their models' keys."""
    service = service_on(device, store)
    answers = [service.answer(cell_question(cell, network)) for cell in cells(count)]
    return [answer.measurement.model_key for answer in answers if answer.measurement is not None]


def panel_of(store: LatencyStore, device: ChangedDevice, **settings: int) -> list[str]:
    return choose_panel(store, device.identity, device.epoch, DIGEST, **settings)


def linked(store: LatencyStore, old: ChangedDevice, new: ChangedDevice) -> bool:
    panel = panel_of(store, old)
    service = service_on(new, store)
    measure_models(service, [panel_model(store, key) for key in panel])
    return link_epochs(service, (old.identity, old.epoch), panel).agrees
