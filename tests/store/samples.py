"""Small things to store, all different by number and equal by equal number."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from leti_opt.device.device import DeviceEpoch, DeviceIdentity, Origin
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.store import CellAlias, LatencyStore

DEVICE = DeviceIdentity(
    "host-cpu", "Xeon", "litert 2.3", "worker", "xnnpack", (("precision", "full"), ("threads", "2"))
)
EPOCH = DeviceEpoch("linux 6.1", "", "unit-a")
LATER_EPOCH = DeviceEpoch("linux 6.2", "", "unit-a")
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def device(origin: Origin) -> DeviceIdentity:
    return DeviceIdentity("replay", "formula", "1", "inline", "cpu", (), origin)


def model(number: int = 0) -> MeasurableModel:
    return MeasurableModel(f"key-{number}", f"network {number}", "tflite_writer 1")


def model_with_layers(number: int = 0) -> MeasurableModel:
    layers = (
        Layer("in", LayerKind.INPUT, (), (8, 8, 3)),
        Layer("conv", LayerKind.CONV, (0,), (8, 8, 4), kernel_size=3),
    )
    return MeasurableModel(f"key-{number}", f"network {number}", "tflite_writer 1", layer_graph=LayerGraph(layers))


def alias(number: int = 0, network: str = "net") -> CellAlias:
    return CellAlias(f"hash-{number}", network, "tflite_writer 1", f"0-1,1-2:maxpool{number}")


def measurement(
    number: int = 0,
    *,
    stable: bool = True,
    identity: DeviceIdentity = DEVICE,
    epoch: DeviceEpoch = EPOCH,
    minutes: float = 0,
    runs: int = 5,
) -> Measurement:
    """Two attempts (the first without a spread and without runs), one crash, two metrics."""
    times = [1.0 + number + 0.01 * place for place in range(runs)]
    return Measurement(
        model_key=f"key-{number}",
        device=identity,
        epoch=epoch,
        attempts=(RunBatch(count=runs, mean_ms=9.5 + number, max_ms=30.25), RunBatch.from_runs(times)),
        stable=stable,
        min_runs=runs,
        max_relative_std=0.1,
        warmup_runs=3,
        started_at=NOON + timedelta(minutes=minutes),
        duration_s=1.5,
        faults=("the worker crashed with signal 11",),
        initialization_ms=4.25,
        first_run_ms=7.125,
        metrics=(
            Metric("peak_memory", 1.5e6, "bytes", "/proc/self/status"),
            Metric("temperature", 41.5, "°C", "thermal"),
        ),
        tool="0.1.0",
        commit="0123456789ab",
    )


def child_that_adds(store: LatencyStore, number: int) -> int:
    """Fork a child that adds a measurement by the store it inherits; its process id."""
    child = os.fork()
    if child == 0:
        try:
            store.add(model(number), measurement(number))
            store.close()
            os._exit(0)
        finally:
            os._exit(1)
    return child
