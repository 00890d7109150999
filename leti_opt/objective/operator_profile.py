"""Which operators of a network take the time: a device says so itself, or each is cut out and measured alone.

LiteRT's Python packages do not reveal the times of single operators (``litert-benchmark`` of the wheel times whole
runs only), so this is what a plain install can measure. Alone, an operator finds its input in the cache and pays for a
run of its own; in the whole network the runtime may treat neighbours together. The sum is therefore near the whole's
latency, not equal to it, and is to be shown beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from leti_opt.device.device import Device
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.operator_time import OperatorTime
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.resource_lock import building_on_host, hold
from leti_opt.errors import InfeasibleError, InvalidInputError
from leti_opt.network.tflite_cuts import OperatorCut, cut_operators

METHOD = "each operator cut into a file of its own and measured alone; the shares are of their sum"

PROFILE_RUNS = 100
"""Runs of a device that times operators by itself."""

PROFILE_PROTOCOL = MeasurementProtocol(relative_error=0.02, runs_per_sample=None, max_attempts=2, max_runs=3000)
"""Operators of some microseconds are timed many at once, and a share needs no more than 2 %."""


def check_profiling(device: Device) -> None:
    """Refuse a device that cannot time single operators, before anything is measured.

    Raises:
        InvalidInputError: it does not run files, but answers from a recording or a formula.
    """
    if not device.needs_file:
        raise InvalidInputError(
            f"{device.uri} cannot time single operators: it runs no files, its answers are from elsewhere; "
            "profile on a device that measures, for instance host-cpu"
        )


def method_on(device: Device) -> str:
    """How operators are timed on a device, in a line for people."""
    return device.profile_method or METHOD


def profile(
    device: Device, model: MeasurableModel, protocol: MeasurementProtocol = PROFILE_PROTOCOL
) -> tuple[OperatorTime, ...]:
    """Time every operator of a network, in the order of execution. Nothing of it is stored.

    A device that can do so times them within the whole network (:attr:`Device.profile_method`). On another each is
    measured alone; operators of one shape and options are measured once, since weights do not matter to that.

    Args:
        device: one that runs files.
        model: the network; its file is rendered where it has none yet.
        protocol: when the measurement of an operator alone holds.

    Raises:
        InvalidInputError: the device runs no files.
        InvalidModelError: the file cannot be read.
        DeviceError: the device is gone.

    >>> from leti_opt import Architecture, NetworkConfig, build_layer_graph, open_device
    >>> graph = build_layer_graph(Architecture.parse("0-1,1-2:maxpool3x3"), NetworkConfig(scope="cell", filters=8))
    >>> with open_device("host-cpu") as device:
    ...     times = profile(device, MeasurableModel.of_graph(graph), MeasurementProtocol(min_runs=2, max_attempts=1))
    >>> [time.operator for time in times], times[0].latency_ms > 0
    (['CONV_2D', 'MAX_POOL_2D'], True)
    """
    check_profiling(device)
    if device.profile_method:
        with building_on_host():
            device.prepare(model)
        with hold(device.resources):
            return device.operator_times(model, PROFILE_RUNS)
    with building_on_host():
        cuts = cut_operators(model.tflite)
    measured: dict[str, OperatorTime] = {}
    times = []
    for cut in cuts:
        if cut.refusal:
            times.append(OperatorTime(cut.position, cut.operator, cut.name, reason=cut.refusal))
            continue
        alone = _as_model(cut)
        first = measured.get(alone.key)
        if first is None:
            measured[alone.key] = found = _measured(device, cut, alone, protocol)
        else:
            found = _repeated(cut, first)
        times.append(found)
    return tuple(times)


def sum_ms(times: Sequence[OperatorTime]) -> float:
    """Latency of all measured operators together.

    >>> sum_ms([OperatorTime(0, "ADD", "a", 0.5), OperatorTime(1, "IF", "b", reason="it runs other graphs")])
    0.5
    """
    return sum(time.latency_ms for time in times if time.latency_ms is not None)


def _as_model(cut: OperatorCut) -> MeasurableModel:
    name = f"operator {cut.position} ({cut.operator})"
    with building_on_host():
        return MeasurableModel.of_content(cut.content, name, "cut", "unknown")


def _measured(device: Device, cut: OperatorCut, alone: MeasurableModel, protocol: MeasurementProtocol) -> OperatorTime:
    try:
        measurement = measure(device, alone, protocol)
    except InfeasibleError as error:
        return OperatorTime(cut.position, cut.operator, cut.name, reason=error.reason)
    return _time(cut, measurement)


def _time(cut: OperatorCut, measurement: Measurement) -> OperatorTime:
    stable = measurement.status == "stable"
    batch = measurement.batch
    return OperatorTime(
        cut.position,
        cut.operator,
        cut.name,
        measurement.latency_ms(),
        batch.mean_error_ms if stable else None,
        batch.count,
        stable,
    )


def _repeated(cut: OperatorCut, first: OperatorTime) -> OperatorTime:
    return OperatorTime(
        cut.position,
        cut.operator,
        cut.name,
        first.latency_ms,
        first.mean_error_ms,
        first.runs,
        first.stable,
        first.position,
        first.reason,
    )
