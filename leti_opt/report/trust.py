"""Can this machine be trusted? One network measured twice, and how far the two figures are apart."""

from __future__ import annotations

from dataclasses import dataclass

from leti_opt.device.measurement import Measurement
from leti_opt.objective.measuring import MeasuringService, Question, Source
from leti_opt.report.tables import latency_text


@dataclass(frozen=True)
class TrustCheck:
    """Two measurements of one network on one device.

    Args:
        first, second: the measurements.
        anew: whether they were made just now; otherwise the store had them.
    """

    first: Measurement
    second: Measurement
    anew: bool

    @property
    def difference(self) -> float:
        """How far the two latencies are apart, as a share of the smaller."""
        latencies = [self.first.latency_ms(), self.second.latency_ms()]
        return max(latencies) / min(latencies) - 1

    def lines(self) -> list[str]:
        """Both figures, and what their difference says."""
        when = "just now" if self.anew else f"from the store, {self.first.started_at:%Y-%m-%d %H:%M} UTC"
        texts = [
            latency_text(m.latency_ms(), m.batch.std_ms, m.batch.count) + ("" if m.stable else ", provisional")
            for m in (self.first, self.second)
        ]
        return [f"{texts[0]} and {texts[1]}, {when}", f"{100 * self.difference:.1f} % apart: {self._verdict()}"]

    def _verdict(self) -> str:
        if not (self.first.stable and self.second.stable):
            return "runs scatter by more than the rule allows, so something else is busy; stop it, or read with care"
        if self.difference <= 0.03:
            return "differences between networks beyond that are real"
        return "trust only differences between networks that are clearly larger"


def check_trust(service: MeasuringService, question: Question) -> TrustCheck | None:
    """Measure a network twice, or take the two measurements that the store has.

    Returns:
        The check; None if the device cannot run the network.
    """
    model = question.build()
    identity, epoch = service.identity, service.device.epoch
    known = service.store.find(model.key, identity, epoch)
    if len(known) >= 2:
        return TrustCheck(known[-1], known[-2], anew=False)
    answers = [service.answer(question, fresh=True) for _ in range(2 - len(known))]
    found = [*known, *(answer.measurement for answer in answers)]
    if found[0] is None or found[-1] is None:
        return None
    return TrustCheck(found[0], found[-1], anew=any(answer.source is Source.DEVICE for answer in answers))
