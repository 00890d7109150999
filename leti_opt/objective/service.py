"""What answers questions about latency: one device with its store, or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.pool import DeviceReport
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.objective.answers import Answer, Question, Source
from leti_opt.objective.canary import CanarySettings
from leti_opt.store.latency_store import LatencyStore

if TYPE_CHECKING:
    from leti_opt.objective.measuring import MeasuringService


class LatencyService(ABC):
    """Answers what a network's latency is, and measures only what nobody measured before.

    It may be called from several threads. Every result is in the store before the answer is given.

    Attributes:
        store: what remembers.
        protocol: when a measurement holds.
        offline: whether it answers from the store alone.
        canary: how devices are watched.
        counts: answers so far, by ``(source, status)``.
        notify: called with a line when a device leaves its usual pace, is set aside, or is back.
    """

    store: LatencyStore
    protocol: MeasurementProtocol
    offline: bool
    canary: CanarySettings
    counts: Counter[tuple[Source, str]]
    notify: Callable[[str], None]

    @property
    @abstractmethod
    def members(self) -> Sequence[MeasuringService]:
        """The services of the single devices."""

    @property
    def judges(self) -> Sequence[MeasuringService]:
        """Those whose verdicts on a limit count: one of the devices that answer for each other."""
        return self.members

    @property
    @abstractmethod
    def identity(self) -> DeviceIdentity:
        """What measures; offline, what measured under this URI before.

        Raises:
            DeviceError: it cannot be reached.
            NotFoundError: offline, and the store does not know it.
        """

    @property
    @abstractmethod
    def epoch(self) -> DeviceEpoch:
        """System build, driver and unit; offline, those that were seen last."""

    @abstractmethod
    def answer(self, question: Question, fresh: bool = False) -> Answer:
        """The latency of a network.

        Args:
            question: the network.
            fresh: measure it again, whatever is known.

        Raises:
            DeviceError: the device is gone.
            StoreError: the store cannot be read or written.
            NotFoundError: offline, and the store does not know it.
        """

    @abstractmethod
    def current(self, answer: Answer) -> Answer:
        """The answer itself, or the one that replaced it after the canary had left its band."""

    @abstractmethod
    def settle(self) -> None:
        """Look at the canary after the last measurement; what was measured beside the device's pace is done again.

        Call it at the end of a series of measurements.

        Raises:
            DeviceError: the device is gone, or does not come back to its pace.
        """

    def stop(self) -> None:
        """Measure nothing more, since somebody interrupts: what is queued ends with a DeviceError.

        After :meth:`close` the service may be used again.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the devices. May be called twice; the service may be used again afterwards."""

    def report(self) -> list[DeviceReport]:
        """What became of each device's time; empty where one device serves alone."""
        return []
