"""A device that ``leti-opt measure`` asks, and what it answers of each network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.cli.measure_row import MeasuredRow, NamedNetwork, answered_row, failed_row
from leti_opt.errors import DeviceError, LetiError, StoreError

if TYPE_CHECKING:
    from leti_opt.device.device import Device
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.objective.answers import Answer
    from leti_opt.objective.canary import CanarySettings
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.store.latency_store import LatencyStore


@dataclass(frozen=True)
class Choices:
    """What the user chose for every answer."""

    statistic: str
    again: bool
    retry_unstable: bool


class Station:
    """A device with its service. Once it is gone, it is not asked again."""

    def __init__(
        self,
        device: Device,
        store: LatencyStore,
        protocol: MeasurementProtocol,
        offline: bool,
        choices: Choices,
        canary: CanarySettings,
    ) -> None:
        from leti_opt.objective.measuring import MeasuringService

        self.device = device
        self.service: MeasuringService = MeasuringService(device, store, protocol, offline, canary)
        self.choices = choices
        self.fault: DeviceError | None = None
        self._answers: dict[str, Answer] = {}

    def answer(self, network: NamedNetwork) -> MeasuredRow:
        """The row of a network.

        Raises:
            LetiError: there is no answer.
        """
        from leti_opt.objective.answers import Source

        answer = self.service.answer(network.question, fresh=self.choices.again)
        if self.choices.retry_unstable and answer.provisional and answer.source is not Source.DEVICE:
            answer = self.service.answer(network.question, fresh=True)
        self._answers[network.name] = answer
        return self._row_of(network, answer)

    def replaced(self, network: NamedNetwork) -> MeasuredRow | None:
        """The row that replaces an earlier one, where the network was measured again since."""
        before = self._answers.get(network.name)
        answer = None if before is None else self.service.current(before)
        return None if answer is None or answer is before else self._row_of(network, answer)

    def _row_of(self, network: NamedNetwork, answer: Answer) -> MeasuredRow:
        return answered_row(network, answer, self.service.identity.name, self.device.uri, self.choices.statistic)

    def row(self, network: NamedNetwork) -> MeasuredRow:
        """The row of a network; what keeps it from being measured is said there and stops no others.

        Raises:
            StoreError: nothing can be kept any more.
        """
        try:
            if self.fault is not None:
                raise self.fault
            return self.answer(network)
        except StoreError:
            raise
        except LetiError as error:
            if isinstance(error, DeviceError):
                self.fault = error
            return failed_row(network, error, self.name, self.device.uri, self.choices.statistic)

    @property
    def name(self) -> str:
        """The device in words, as far as it can be known."""
        return self._described(lambda name, _: name)

    @property
    def published(self) -> bool:
        """Whether its figures come from a recording or a table."""
        return self._described(lambda _, origin: origin) in ("replayed", "imported")

    def _described(self, choose: Callable[[str, str], str]) -> str:
        try:
            identity = self.service.identity
        except StoreError:
            raise
        except LetiError as error:
            return choose(f"not known: {error}", "")
        return choose(identity.name, identity.origin)
