"""How far a device is, as its own process sees it."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.standing import LACKING
from leti_opt.device.pool import DeviceReport
from leti_opt.objective.answers import Answer
from leti_opt.store.paces import BATTERY_TEMPERATURE
from leti_opt.store.standings import State

_RATE_OF = 50
EVERYTHING_ELSE = "everything else"
"""Kind of use that a device did not count itself: storing results, looking things up, and the like."""


@dataclass(frozen=True)
class ProgressRow:
    """How far one device is.

    Args:
        uri: the device.
        state: ``starting``, ``ready``, ``away``, ``out``, ``waiting for other devices``, ``stopped``, ``finished``.
        total: networks of the campaign.
        measured, unstable, infeasible: those that have an answer, earlier runs and equal devices included.
        new: answers that this run got from the device.
        per_hour: networks an hour, lately; None before there are two.
        left_s: seconds until nothing is lacking at that rate; None where it is not known.
        temperature_c: of the device at its last measurement, where it tells.
        seconds: what the device's time went into, by kind of use; empty until it ends.
        origin: whether its figures are measured, simulated or replayed.
    """

    uri: str
    state: str
    total: int
    measured: int
    unstable: int
    infeasible: int
    new: int
    per_hour: float | None
    left_s: float | None
    temperature_c: float | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    origin: str = "measured"

    @property
    def lacking(self) -> int:
        """Networks without an answer."""
        return self.total - self.measured - self.unstable - self.infeasible


class DeviceProgress:
    """Counts a device's answers. One thread adds, others may look.

    Args:
        uri: the device.
        total: networks of the campaign.
        origin: whether its figures are measured, simulated or replayed.
        clock: for tests.
    """

    def __init__(
        self, uri: str, total: int, origin: str = "measured", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.uri = uri
        self.origin = origin
        self.total = total
        self.state = "starting"
        self._clock = clock
        self._states = np.full(total, LACKING, dtype=np.int8)
        self._counts: Counter[State] = Counter()
        self._new = 0
        self._lately: deque[tuple[float, int]] = deque(maxlen=_RATE_OF)
        self._temperature_c: float | None = None
        self._seconds: Mapping[str, float] = {}
        self._used_before: Mapping[str, float] = {}
        self._begun_at: float | None = None
        self._lock = threading.Lock()

    def begin_round(
        self, states: NDArray[np.int8], pending: NDArray[np.int64], used: Mapping[str, float] | None = None
    ) -> None:
        """Take in what the store says before a round.

        Args:
            states: of every item.
            pending: items that are asked for; they count as lacking until they are answered.
            used: what the device's time has gone into so far: what was before the first round is none of the
                campaign's.
        """
        with self._lock:
            self.state = "ready"
            if self._begun_at is None:
                self._begun_at = self._clock()
                self._used_before = dict(used or {})
            self._states[:] = states
            self._states[pending] = LACKING
            self._counts = Counter({state: int((self._states == state).sum()) for state in State})
            if not self._lately:
                self._lately.append((self._clock(), 0))

    def add(self, item: int, answer: Answer) -> None:
        """Count an answer in."""
        with self._lock:
            before, state = int(self._states[item]), _state_of(answer)
            if before != LACKING:
                self._counts[State(before)] -= 1
            self._counts[state] += 1
            self._states[item] = state
            if answer.source == "device":
                self._new += 1
                self._lately.append((self._clock(), 1))
            if answer.measurement is not None:
                found = {metric.name: metric.value for metric in answer.measurement.metrics}
                self._temperature_c = found.get(BATTERY_TEMPERATURE, self._temperature_c)

    def add_many(self, states: Mapping[State, int]) -> None:
        """Count answers in that came together."""
        with self._lock:
            self._counts.update(states)
            self._new += sum(states.values())
            self._lately.append((self._clock(), sum(states.values())))

    def finish(self, reports: Sequence[DeviceReport]) -> None:
        """Keep what became of the device's time."""
        with self._lock:
            lacking = self.total - sum(self._counts.values())
            self.state = "finished" if not lacking else "stopped" if self.state in ("ready", "starting") else self.state
            if reports and self._begun_at is not None:
                before = self._used_before
                told = {kind: spent - before.get(kind, 0.0) for kind, spent in reports[0].seconds.items()}
                rest_s = self._clock() - self._begun_at - sum(told.values())
                self._seconds = {**told, EVERYTHING_ELSE: max(0.0, rest_s)}

    def row(self) -> ProgressRow:
        """How far it is now."""
        with self._lock:
            counts = self._counts
            per_s = self._per_s()
            lacking = self.total - sum(counts.values())
            return ProgressRow(
                self.uri,
                self.state,
                self.total,
                counts[State.MEASURED],
                counts[State.UNSTABLE],
                counts[State.INFEASIBLE],
                self._new,
                None if per_s is None else 3600 * per_s,
                0.0 if lacking == 0 else None if per_s is None else lacking / per_s,
                self._temperature_c,
                self._seconds,
                self.origin,
            )

    def _per_s(self) -> float | None:
        """Answers a second, from the first to the last of those that came lately."""
        if len(self._lately) < 2:
            return None
        span = self._lately[-1][0] - self._lately[0][0]
        return sum(count for _, count in list(self._lately)[1:]) / span if span > 0 else None


def _state_of(answer: Answer) -> State:
    if answer.measurement is None:
        return State.INFEASIBLE
    return State.UNSTABLE if answer.provisional else State.MEASURED
