"""A device that does whatever a function says, for tests of the pool."""

from __future__ import annotations

import time
from collections.abc import Callable

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.pool import PoolPatience
from leti_opt.errors import DeviceError

QUICK = PoolPatience(tries=3, back_within_s=30.0, pause_s=0.01, longest_pause_s=0.02)
DEADLINE_S = 30.0


class Bench(Device):
    """Does nothing by itself; a test says whether it is there."""

    def __init__(self, name: str) -> None:
        self.uri = f"bench:{name}"
        self.there = True
        self.looks = 0

    @property
    def identity(self) -> DeviceIdentity:
        return DeviceIdentity("bench", "any", "none", "test", "cpu")

    @property
    def epoch(self) -> DeviceEpoch:
        return DeviceEpoch("build", unit=self.uri)

    @property
    def resources(self) -> frozenset[str]:
        return frozenset({self.uri})

    def load(self, model: MeasurableModel) -> Session:
        raise NotImplementedError

    def contact(self) -> None:
        self.looks += 1
        self.check()

    def check(self) -> None:
        if not self.there:
            raise DeviceError(f"{self.uri} is gone; plug it in")


def on_device(device: Device) -> str:
    assert isinstance(device, Bench)
    device.check()
    return device.uri


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)
