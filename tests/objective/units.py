"""Simulated devices that are units of one model, behind one service."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leti_opt import LatencyStore
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.pool import PoolPatience
from leti_opt.errors import DeviceError
from leti_opt.objective.answers import Answer
from leti_opt.objective.pooled import PooledService
from leti_opt.objective.questions import cell_question
from tests.objective.changed_device import NETWORK, PROTOCOL, ChangedDevice, cells

A, B, C = (DeviceEpoch("build 1", unit=unit) for unit in ("a", "b", "c"))
QUICK = PoolPatience(tries=2, back_within_s=0.2, pause_s=0.01, longest_pause_s=0.02)
MANY = 120


class Unit(ChangedDevice):
    """A device with a URI of its own."""

    def __init__(self, epoch: DeviceEpoch, **settings: object) -> None:
        super().__init__(epoch, **settings)  # type: ignore[arg-type]
        self.uri = f"unit:{epoch.unit}"
        self.there = True

    def contact(self) -> None:
        if not self.there:
            raise DeviceError(f"{self.uri} is gone")

    @property
    def resources(self) -> frozenset[str]:
        self.contact()
        return frozenset({self.uri})


def service(store: LatencyStore, devices: Sequence[Unit], told: Callable[[str], None] = print) -> PooledService:
    found = PooledService(devices, store, PROTOCOL, patience=QUICK)
    found.notify = told
    return found


def ask(pooled: PooledService, count: int, start: int = 0) -> list[Answer]:
    return [pooled.answer(cell_question(cell, NETWORK)) for cell in cells(count)[start:]]


def gone() -> None:
    raise DeviceError("unit:b is gone")
