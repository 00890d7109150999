"""Which networks meet a limit on latency: all are measured once, and the undecided ones get more runs first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

from leti_opt.device.measurement import Measurement
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError
from leti_opt.objective.answers import Question
from leti_opt.objective.limits import Judgement, LatencyLimit, Verdict
from leti_opt.objective.measuring import MeasuringService


@dataclass(frozen=True)
class LimitRow:
    """One network and a limit.

    Args:
        name: what people call the network.
        verdict: ``met``, ``missed``, ``undecided``; ``infeasible`` for a network that the device cannot run.
        limit_ms: the limit.
        statistic: what it is on.
        latency_ms: the statistic over all runs that count.
        low_ms, high_ms: its bounds; None where the runs do not say.
        runs: how many runs count.
        further_runs: for an undecided network, how many more would decide it if the figure stays where it is; None
            where nothing says so.
        origin: ``measured``, ``simulated``, ``replayed`` or ``imported``; None for an infeasible network.
        reason: why it is undecided or infeasible.
    """

    name: str
    verdict: Verdict | Literal["infeasible"]
    limit_ms: float
    statistic: str
    latency_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    runs: int | None = None
    further_runs: int | None = None
    origin: str | None = None
    reason: str | None = None


def decide_limits(
    service: MeasuringService,
    questions: Sequence[Question],
    limit: LatencyLimit,
    max_runs: int = 10_000,
    show: Callable[[LimitRow], None] | None = None,
) -> list[LimitRow]:
    """Say of each network whether it meets a limit; measure those further of which that is not known.

    All are measured once by the service's protocol. Then the undecided network whose decision seems to need the fewest
    further runs (by the width of its bounds and their distance to the limit) is measured once more, with twice the
    runs of its longest measurement, until all are decided or the next measurement would exceed ``max_runs``. So
    wherever it is stopped, most that can be decided are; and since every measurement is in the store, the same call
    goes on where it was. No run is dropped: the bounds stand on all stable measurements of this device and epoch, each
    as a session, so that what changes from one session to the next is in them
    (:func:`~leti_opt.device.bounds.pooled_bounds`).

    A network is looked at several times, and each look is a chance to be wrong. So each is made with a higher
    confidence, by which all of them together keep ``limit.confidence`` (Bonferroni over :func:`planned_looks`). Each
    network is judged for itself: of 100 verdicts with 95 % a few may be wrong.

    A network that is unstable, a recording, and a service that is offline give no further runs.

    Args:
        service: what measures.
        questions: the networks.
        limit: the limit.
        max_runs: the most runs of one network, those included that the store has and those of attempts that broke the
            rule.
        show: called with each row as soon as it is known, and again whenever it changes.

    Returns:
        A row for each question, in order.

    Raises:
        DeviceError: the device is gone; everything measured so far is in the store.
        InvalidInputError: ``max_runs`` is not positive.
    """
    if max_runs < 1:
        raise InvalidInputError(f"max_runs must be 1 or more, not {max_runs}")
    longer = copy(service)  # with the same memory, store and canary, and a protocol of its own
    looks = planned_looks(service.protocol.runs_on(service.device), max_runs)
    each_look = replace(limit, confidence=1 - (1 - limit.confidence) / looks)
    cases = [_Case(service, longer, question, each_look, max_runs, show) for question in questions]
    while True:
        _decide(cases)
        longer.settle()
        for case in cases:
            case.judge()  # the canary may have withdrawn what the verdict stood on
        if not any(case.can_go_on for case in cases):
            return [case.row for case in cases]


def planned_looks(first_runs: int, max_runs: int) -> int:
    """How often a network is judged at most, if each measurement has twice the runs of the one before.

    >>> planned_looks(300, 10_000)  # after 300, 900, 2100, 4500 and 9300 runs
    5
    """
    return max(1, int(math.log2(max_runs / first_runs + 1))) if max_runs > first_runs else 1


def _decide(cases: Sequence[_Case]) -> None:
    while open_cases := [case for case in cases if case.can_go_on]:
        min(open_cases, key=lambda case: case.further_runs or math.inf).measure_further()


class _Case:
    """One network on its way to a verdict."""

    def __init__(
        self,
        service: MeasuringService,
        longer: MeasuringService,
        question: Question,
        limit: LatencyLimit,
        max_runs: int,
        show: Callable[[LimitRow], None] | None,
    ) -> None:
        self.service = longer
        self.protocol = service.protocol
        self.question = question
        self.limit = limit
        self.max_runs = max_runs
        self.show = show
        self.can_measure = False
        self.further_runs: int | None = None
        self.made = self.longest = 0
        self.row = LimitRow(question.name, "undecided", limit.limit_ms, limit.statistic)
        self.first = service.answer(question)
        self.judge()

    def judge(self) -> None:
        """Bring the row up to date with the store."""
        measurement = self.first.measurement
        if measurement is None:
            self._set(replace(self.row, verdict="infeasible", reason=self.first.failure))
            return
        found = self._found(measurement)
        judged = self.limit.judge(found)
        bounds = judged.bounds
        self.can_measure = bool(found) and not self.service.offline and _gives_more_runs(found)
        self.made, self.longest = self._runs_made(measurement), max((m.batch.count or 0 for m in found), default=0)
        self.further_runs = _further_runs(judged, self.limit.limit_ms)
        self._set(
            LimitRow(
                name=self.question.name,
                verdict=judged.verdict,
                limit_ms=self.limit.limit_ms,
                statistic=self.limit.statistic,
                latency_ms=judged.latency_ms,
                low_ms=None if bounds is None else bounds.low_ms,
                high_ms=None if bounds is None else bounds.high_ms,
                runs=judged.runs,
                further_runs=self.further_runs,
                origin=measurement.device.origin,
                reason=judged.reason,
            )
        )

    @property
    def can_go_on(self) -> bool:
        """Whether it is undecided, and a further measurement is allowed and may tell."""
        return self.row.verdict == "undecided" and self.can_measure and self.made + 2 * self.longest <= self.max_runs

    def measure_further(self) -> None:
        """Measure once more, with twice the runs of the longest measurement."""
        self.service.protocol = replace(
            self.protocol, min_runs=2 * self.longest, relative_error=None, runs_per_sample=1
        )
        self.service.answer(self.question, fresh=True)
        self.judge()

    def _found(self, measurement: Measurement) -> list[Measurement]:
        """What counts: all of this very epoch, or where it has none, of the linked one that answered."""
        service = self.service
        found = service.store.find(measurement.model_key, service.identity, service.epoch)
        here = [m for m in found if (m.device, m.epoch) == (service.identity, service.epoch)]
        there = [m for m in found if (m.device, m.epoch) == (measurement.device, measurement.epoch)]
        return _fair(here or there or [measurement], self.protocol)

    def _runs_made(self, measurement: Measurement) -> int:
        """Every run, withdrawn ones and those of broken attempts included, so that an end is always reached."""
        every = self.service.store.find(
            measurement.model_key, self.service.identity, self.service.epoch, include_suspect=True
        )
        return sum(batch.count or 0 for m in every for batch in m.attempts)

    def _set(self, row: LimitRow) -> None:
        changed, self.row = row != self.row, row
        if changed and self.show is not None:
            self.show(row)


def _fair(measurements: list[Measurement], protocol: MeasurementProtocol) -> list[Measurement]:
    """Without those that ended once their runs looked good, where there are others."""
    if protocol.relative_error is not None:
        return measurements
    return [m for m in measurements if m.relative_error is None] or measurements


def _gives_more_runs(measurements: Sequence[Measurement]) -> bool:
    """A recording and an import say the same again, and what is unstable stays so with more runs."""
    return any(m.status == "stable" and m.device.origin in ("measured", "simulated") for m in measurements)


def _further_runs(judged: Judgement, limit_ms: float) -> int | None:
    """Runs that an undecided network still needs, if its figure stays: bounds narrow with the root of the runs."""
    if judged.verdict != "undecided" or judged.bounds is None or judged.latency_ms is None or not judged.runs:
        return None
    below = judged.latency_ms < limit_ms
    width = judged.bounds.high_ms - judged.latency_ms if below else judged.latency_ms - judged.bounds.low_ms
    distance = abs(limit_ms - judged.latency_ms)
    needed = (width / distance) ** 2 * judged.runs if distance else math.inf
    return max(1, math.ceil(needed - judged.runs)) if needed < 1e12 else None
