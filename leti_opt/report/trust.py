"""Can this machine be trusted? One network measured twice, and how far the two figures are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leti_opt.device.measurement import Measurement
from leti_opt.objective.answers import Question
from leti_opt.objective.measuring import MeasuringService
from leti_opt.report.tables import latency_text, statistic_prefix


@dataclass(frozen=True)
class TrustCheck:
    """Two measurements of one network on one device.

    Args:
        first, second: the measurements.
        anew: whether they were made just now; otherwise the store had them.
        statistic: which figure of theirs is compared.
    """

    first: Measurement
    second: Measurement
    anew: bool
    statistic: str = "mean"

    @property
    def difference(self) -> float:
        """How far the two latencies are apart, as a share of the smaller."""
        latencies = [self.first.latency_ms(self.statistic), self.second.latency_ms(self.statistic)]
        return max(latencies) / min(latencies) - 1

    def verdict(self) -> str:
        """How far the figures are apart, and what that says of the machine."""
        return f"{100 * self.difference:.1f} % apart: {self._verdict()}"

    def _verdict(self) -> str:
        if "unstable" in (self.first.status, self.second.status):
            return "runs scatter by more than the rule allows, so something else is busy; stop it, or read with care"
        if self.difference <= 0.03:
            return "differences between networks beyond that are real"
        return "trust only differences between networks that are clearly larger"


def check_trust(
    service: MeasuringService,
    question: Question,
    show: Callable[[str], None] | None = None,
    statistic: str = "mean",
) -> TrustCheck | None:
    """Measure a network twice, or take the two measurements that the store has.

    Args:
        service: what measures.
        question: the network.
        show: called with a line for each measurement, as soon as it is there.
        statistic: which figure is compared: that of the objective.

    Returns:
        The check; None if the device cannot run the network.
    """
    known = service.store.find(question.build().key, service.identity, service.device.epoch)[::-1][:2]
    found = []
    for place in range(2):
        anew = place >= len(known)
        measurement = service.answer(question, fresh=True).measurement if anew else known[place]
        if measurement is None:
            return None
        found.append(measurement)
        if show is not None:
            show(_line(measurement, anew, statistic))
    return TrustCheck(found[0], found[1], anew=len(known) < 2, statistic=statistic)


def _line(measurement: Measurement, anew: bool, statistic: str) -> str:
    batch = measurement.batch
    figure = statistic_prefix(statistic) + latency_text(
        measurement.latency_ms(statistic), batch.std_ms, batch.count, statistic
    )
    when = "just now" if anew else f"from the store, {measurement.started_at:%Y-%m-%d %H:%M} UTC"
    return f"{figure}{', provisional' if measurement.status == 'unstable' else ''}, {when}"
