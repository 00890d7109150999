"""A limit on latency, such as 30 ms: met, missed or undecided by confidence bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal

from leti_opt.device.bounds import (
    Bounds,
    check_bounded,
    distinct_sessions,
    mean_bounds_from_error,
    point_estimate,
    pooled_bounds,
    widened_by_wander,
)
from leti_opt.device.certainty import CONFIDENCE
from leti_opt.device.measurement import Measurement
from leti_opt.errors import InvalidInputError
from leti_opt.objective.evaluations import Value
from leti_opt.objective.latency import LatencyObjective

Verdict = Literal["met", "missed", "undecided"]


@dataclass(frozen=True)
class Judgement:
    """What measurements of one network say of a limit.

    Args:
        verdict: ``met``, ``missed`` or ``undecided``.
        latency_ms: the statistic of all runs that count; None where it is not known.
        bounds: what it lies between; None where the runs do not say.
        runs: how many runs count; None where whoever published the figure did not say.
        reason: why it is undecided.
    """

    verdict: Verdict
    latency_ms: float | None
    bounds: Bounds | None
    runs: int | None
    reason: str | None = None


@dataclass(frozen=True)
class LatencyLimit:
    """A latency that networks shall stay under.

    It is met when the upper bound of the statistic is below it, missed when the lower bound is above it, and otherwise
    undecided: more runs may tell. A measurement that breaks the rule of stability decides nothing, and neither does a
    published figure of unknown spread.

    Args:
        limit_ms: the limit.
        statistic: ``mean``, ``median`` or ``p95``: what shall stay under it.
        confidence: how often a network's bounds shall hold.

    Raises:
        InvalidInputError: a number is out of range, or no bounds are known of the statistic.

    >>> from leti_opt import LatencyObjective, NetworkConfig, build_layer_graph, Architecture
    >>> graph = build_layer_graph(Architecture.parse("0-1,1-2:conv3x3-bn-relu"), NetworkConfig.small())
    >>> objective = LatencyObjective("replay:formula?seed=1", lambda _: graph, store=":memory:")
    >>> measurement = objective.evaluate("cell").answer.measurement
    >>> LatencyLimit(1000.0).verdict(measurement), LatencyLimit(0.001).verdict(measurement)
    ('met', 'missed')
    """

    limit_ms: float
    statistic: str = "mean"
    confidence: float = CONFIDENCE

    def __post_init__(self) -> None:
        if not 0 < self.limit_ms < math.inf:
            raise InvalidInputError(f"a limit must be a positive finite number of milliseconds, not {self.limit_ms}")
        check_bounded(self.statistic, self.confidence)

    def verdict(self, measurement: Measurement) -> Verdict:
        """``met``, ``missed`` or ``undecided``, by one measurement."""
        return self.judge([measurement]).verdict

    def judge(self, measurements: Sequence[Measurement]) -> Judgement:
        """What measurements of one network on one device and epoch say together, and why they may not.

        The runs of all stable ones count, each measurement as a session of its own
        (:func:`~leti_opt.device.bounds.pooled_bounds`). What the device's canary said of its wander is in the bounds.

        Args:
            measurements: of one network on one device, in any order; with their raw runs, which
                ``LatencyStore.find`` returns.
        """
        stable = sorted((m for m in measurements if m.status == "stable"), key=lambda m: m.started_at)
        if not stable:
            return self._undecidable(measurements)
        sessions = _sessions(stable, self.statistic)
        if not sessions:
            return self._judge_without_runs(stable[-1])
        runs_ms = [runs for session in distinct_sessions([m.batch.runs_ms or () for m in sessions]) for runs in session]
        bounds = pooled_bounds([m.batch.runs_ms or () for m in sessions], self.statistic, self.confidence)
        runs = len(runs_ms) * sessions[0].batch.runs_per_sample
        point_ms = point_estimate(runs_ms, self.statistic)
        if bounds is not None and bounds.low_ms <= point_ms <= bounds.high_ms:
            bounds = widened_by_wander(bounds, point_ms, _wander(sessions), self.confidence)
        reason = f"{runs} runs are too few, or change too slowly, to bound the {self.statistic}"
        return self._judged(point_ms, bounds, runs, reason)

    def violation(self, objective: LatencyObjective[Value]) -> Callable[[Value], float]:
        """How far a value is above the limit, in milliseconds, for nevergrad's ``constraint_violation``: bad above 0.

        It asks the objective, which has just been asked for the same value, so nothing is measured for it. It goes by
        the figure alone and not by bounds, since an optimizer needs a slope and no third answer; an infeasible network
        counts with the objective's penalty. There is no such thing as a *cheap* constraint of a latency: it would have
        to know the latency of cells that nobody measured.

        Raises:
            InvalidInputError: the objective answers another statistic.
        """
        if objective.statistic != self.statistic:
            raise InvalidInputError(
                f"the limit is on the {self.statistic}, the objective answers the {objective.statistic}; "
                f"make it with statistic={self.statistic!r}"
            )
        return _Violation(objective, self.limit_ms)

    def _judge_without_runs(self, measurement: Measurement) -> Judgement:
        batch = measurement.batch
        latency_ms: float | None = getattr(batch, f"{self.statistic}_ms")
        if batch.runs_per_sample > 1:
            reason = f"{batch.runs_per_sample} runs were timed as one, which hides the {self.statistic} of single runs"
            return Judgement("undecided", None, None, batch.count, reason)
        bounds = None
        if self.statistic == "mean" and batch.mean_error_ms is not None:
            bounds = mean_bounds_from_error(batch.mean_ms, batch.mean_error_ms, self.confidence)
        return self._judged(latency_ms, bounds, batch.count, "its single runs are not known, so it has no bounds")

    def _judged(self, latency_ms: float | None, bounds: Bounds | None, runs: int | None, unbounded: str) -> Judgement:
        if bounds is None:
            return Judgement("undecided", latency_ms, None, runs, unbounded)
        if bounds.high_ms < self.limit_ms:
            return Judgement("met", latency_ms, bounds, runs)
        if bounds.low_ms > self.limit_ms:
            return Judgement("missed", latency_ms, bounds, runs)
        return Judgement("undecided", latency_ms, bounds, runs, "the limit lies within the bounds")

    def _undecidable(self, measurements: Sequence[Measurement]) -> Judgement:
        if not measurements:
            return Judgement("undecided", None, None, 0, "there is no measurement")
        last = max(measurements, key=lambda measurement: measurement.started_at)
        batch = last.batch
        revealed = getattr(batch, f"{self.statistic}_ms") is not None
        latency_ms = last.latency_ms(self.statistic) if revealed else None
        if last.status == "unchecked":
            reason = "it was published without runs or spread, so nothing says how sure it is"
        else:
            share = 100 * last.max_relative_std
            reason = f"unstable: the runs of every attempt spread by more than {share:.0f} % of their mean"
        return Judgement("undecided", latency_ms, None, batch.count, reason)


@dataclass(frozen=True)
class _Violation(Generic[Value]):
    objective: LatencyObjective[Value]
    limit_ms: float

    def __call__(self, value: Value) -> float:
        return self.objective(value) - self.limit_ms


def _sessions(stable: Sequence[Measurement], statistic: str) -> list[Measurement]:
    """Measurements with single runs, all of one number of runs a sample: of the number that has the most runs.

    For anything but the mean a sample must be a run.
    """
    revealed = [m for m in stable if m.batch.runs_ms is not None]
    sizes = {m.batch.runs_per_sample for m in revealed} if statistic == "mean" else {1}
    kinds = [[m for m in revealed if m.batch.runs_per_sample == size] for size in sorted(sizes)]
    return max(kinds, key=lambda kind: sum(m.batch.count or 0 for m in kind), default=[])


def _wander(sessions: Sequence[Measurement]) -> float:
    """How far the mean over these sessions wanders with the device's pace: less than one session's, with several."""
    counts = [measurement.batch.count or 0 for measurement in sessions]
    wanders = [next((m.value for m in session.metrics if m.name == "wander"), 0.0) for session in sessions]
    shares = [count / sum(counts) for count in counts]
    return math.hypot(*(share * wander for share, wander in zip(shares, wanders, strict=True)))
