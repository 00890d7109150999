"""A device whose pace a test sets, on a clock of its own: it measures anything, and time passes only by its runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.objective.canary import Canary, CanarySettings
from leti_opt.objective.measuring import MeasuringService


class PacingDevice(Device):
    """Every network takes ``1 ms`` times the pace of the moment, with a spread of 1 %.

    Args:
        pace: given the seconds since the beginning, how many times slower than usual the device is.
    """

    uri = "pacing:one"
    needs_file = False

    def __init__(self, pace: Callable[[float], float]) -> None:
        self.now_s = 0.0
        self.slept_s = 0.0
        self.loads: list[str] = []
        self._pace = pace

    @property
    def identity(self) -> DeviceIdentity:
        return DeviceIdentity("pacing", "one", "none", "test", "cpu")

    @property
    def epoch(self) -> DeviceEpoch:
        return DeviceEpoch("build")

    @property
    def resources(self) -> frozenset[str]:
        return frozenset()

    def load(self, model: MeasurableModel) -> Session:
        self.loads.append(model.name)
        return _PacingSession(self)

    def run(self, n: int) -> RunBatch:
        runs_ms = []
        for place in range(n):
            runs_ms.append(self._pace(self.now_s) * (1 + 0.01 * (-1) ** place))
            self.now_s += runs_ms[-1] / 1e3
        return RunBatch.from_runs(runs_ms)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s += seconds

    def clock(self) -> float:
        return self.now_s


class _PacingSession(Session):
    def __init__(self, device: PacingDevice) -> None:
        self._device = device

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        assert runs_per_sample == 1
        return self._device.run(n)


def watched(service: MeasuringService, device: PacingDevice) -> MeasuringService:
    """The service with a canary that lives by the device's clock."""
    service._make_canary = partial(Canary, clock=device.clock, sleep=device.sleep)
    return service


QUICK = CanarySettings(every_s=2.0, wait_s=60.0, calibration=8, spacing_s=0.1)
