"""What a pool keeps of each piece of work and of each device."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from leti_opt.device.device import Device
from leti_opt.errors import DeviceError

State = Literal["ready", "away", "out"]


@dataclass(eq=False)
class Task:
    """A piece of work, and the places of the devices that may do it now."""

    work: Callable[[Device], Any]
    among: Callable[[], Collection[int]]
    prepare: Callable[[], object] | None
    is_patient: bool
    counts: bool
    future: Future[Any] = field(default_factory=Future)
    failures: int = 0
    build: Future[object] | None = None


@dataclass(eq=False)
class Seat:
    """A device's place in the pool."""

    device: Device
    place: int
    state: State = "ready"
    away_since: float = 0.0
    in_row: int = 0
    done: int = 0
    failed: int = 0
    fault: DeviceError | None = None


def unexpected(device: Device, error: Exception) -> DeviceError:
    """An error that no device should raise, as the device's fault."""
    return DeviceError(f"{device.uri}: {type(error).__name__}: {error}; see what is wrong with it")


def end(task: Task, error: DeviceError) -> None:
    """End a piece of work with an error."""
    if task.failures or task.future.set_running_or_notify_cancel():  # one that has failed is running already
        task.future.set_exception(error)
