"""What measures the pieces of a study: a device that runs files, with the protocol for short ones."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from leti_opt.device.device import Device
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, check_protocol
from leti_opt.errors import InvalidInputError
from leti_opt.network.tflite_converter import converter_version
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.measuring import MeasuringService
from leti_opt.predictor.lut import TableOrigin
from leti_opt.store.latency_store import LatencyStore


def study_protocol(device: Device, min_runs: int | None = None) -> MeasurementProtocol:
    """The device's number of runs, or another; several timed as one for short pieces where the device can do so."""
    return MeasurementProtocol(min_runs=min_runs, runs_per_sample=None if device.reveals_runs else 1)


def study_service(
    device: str | Device,
    store: str | Path | LatencyStore,
    protocol: MeasurementProtocol | None,
    canary: CanarySettings | None,
) -> MeasuringService:
    """A service on a device that runs files; with :func:`study_protocol` if none is given.

    What was opened here is closed again where the device is refused.

    Raises:
        InvalidInputError: the device runs none.
    """
    with ExitStack() as refused:
        opened = refused.enter_context(open_device(device)) if isinstance(device, str) else device
        if not opened.needs_file:
            raise InvalidInputError(
                f"{opened.uri} runs no files, its answers are from elsewhere, so it cannot measure single layers; "
                "study on a device that measures, for instance host-cpu"
            )
        wanted = protocol or study_protocol(opened)
        check_protocol(opened, wanted)
        results = store if isinstance(store, LatencyStore) else refused.enter_context(LatencyStore(store))
        service = MeasuringService(opened, results, wanted, canary=canary)
        refused.pop_all()
        return service


def table_origin(service: MeasuringService) -> TableOrigin:
    """Where a table's figures come from that a service measured."""
    identity, epoch = service.identity, service.epoch
    return TableOrigin(
        device=identity.name,
        device_digest=identity.digest,
        identity={name: str(value) for name, value in asdict(identity).items()},
        epoch=asdict(epoch),
        protocol=asdict(service.protocol) | {"min_runs": service.protocol.runs_on(service.device)},
        converter=converter_version(),
        measured=identity.origin,
    )
