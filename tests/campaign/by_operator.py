"""Devices that run files by reading them: so many milliseconds for each operator, written down beforehand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from leti_opt.device.device import Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import RunBatch
from leti_opt.network.tflite_cuts import cut_operators
from tests.contracts.scripted_device import ScriptedDevice

QUICK = MeasurementProtocol(min_runs=40, max_attempts=2, warmup_runs=1, runs_per_sample=None)
START_MS = 0.25
TIMES: dict[str, float] = {"CONV_2D": 4.0, "MUL": 0.5, "ADD": 1.0, "RELU": 0.75, "MEAN": 2.0, "FULLY_CONNECTED": 3.0}


class ByOperator(ScriptedDevice):
    """Runs files by reading them: so many milliseconds for each operator, and some for each run."""

    needs_file = True
    watched = False

    def __init__(self, times: dict[str, float] = TIMES, start_ms: float = START_MS) -> None:
        super().__init__()
        self.times = times
        self.start_ms = start_ms
        self.samples: dict[str, tuple[int, int]] = {}
        self.on_load: Callable[[str], None] = lambda _name: None

    @property
    def resources(self) -> frozenset[str]:
        return frozenset()

    def load(self, model: MeasurableModel) -> Session:
        self.loads.append(model.name)
        self.on_load(model.name)
        operators = [cut.operator for cut in cut_operators(model.tflite)]
        assert operators, f"{model.name} has nothing to run"
        return self.session(model, self.start_ms + sum(self.times[operator] for operator in operators))

    def session(self, model: MeasurableModel, run_ms: float) -> Session:
        return Timed(self, model.name, run_ms, 0.01)


class Timed(Session):
    def __init__(self, device: ByOperator, name: str, run_ms: float, spread: float) -> None:
        self.device, self.name, self.run_ms, self.spread = device, name, run_ms, spread

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        self.device.samples[self.name] = (n, runs_per_sample)
        offsets = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        return RunBatch.from_runs((self.run_ms * (1 + self.spread * offsets)).tolist(), runs_per_sample)


class Shaky(ByOperator):
    """Its convolutions never keep the rule."""

    def session(self, model: MeasurableModel, run_ms: float) -> Session:
        alone = "CONV_2D" in model.name or "Conv2D" in model.name
        return Timed(self, model.name, run_ms, 0.9 if alone else 0.01)
