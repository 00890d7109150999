"""One run of active learning: what is known so far, what to ask for next, and whether that is enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import NotFoundError
from leti_opt.objective.active_goal import ActiveGoal
from leti_opt.objective.active_result import WITHIN, ActiveResult, ActiveStep, ErrorEstimate, Reason, SideCounts
from leti_opt.objective.answers import Answer, Source, without_runs
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.limit_sides import UNDECIDED, counted, measured_sides, predicted_sides
from leti_opt.predictor.held_out_error import FEWEST_HELD_OUT, HeldOut, hold_out, mean_upper_bound
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.selection import choose

Rows = NDArray[np.int64]

_RANDOM_SHARE = 1 / 3
_SMALLEST_BATCH = 20
_GROWTH = 4
_FEWEST_TO_FIT = 5


@dataclass(frozen=True)
class ActivePlan:
    """What to ask for, and in which manner.

    Args:
        table: all networks.
        first: rows that are asked for before all others.
        batch: networks a step; None for the usual.
        least_held_out: until so many networks that were drawn at random gave a latency, none is chosen.
        seed: of everything random.
    """

    table: ArchitectureTable
    first: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    batch: int | None = None
    least_held_out: int = 0
    seed: int = 0


class ActiveRun:
    """Asks, learns and looks until a goal is reached.

    Args:
        objective: what measures.
        predictor: what learns.
        plan: what to ask for.
        goal: when to end.
        clock: seconds that pass.
    """

    def __init__(
        self,
        objective: DeviceLatencyObjective,
        predictor: LatencyPredictor,
        plan: ActivePlan,
        goal: ActiveGoal,
        clock: Callable[[], float],
    ) -> None:
        self.objective, self.predictor, self.plan, self.goal, self.clock = objective, predictor, plan, goal, clock
        self.table = plan.table
        self.answers: dict[int, Answer] = {}
        order = np.random.default_rng(plan.seed).permutation(len(self.table))
        self.order = order[~np.isin(order, plan.first)]
        self.drawn = self.device_asked = self.looks = 0
        self.latency_ms = np.full(len(self.table), np.nan)
        self.fitted = False
        self.judged: dict[int, str] = {}
        self.verdicts: NDArray[np.str_] | None = None
        self.steps: list[ActiveStep] = []
        self.started, self.asking_s = clock(), 0.0

    def run(
        self, on_step: Callable[[ActiveStep], None] | None, on_answer: Callable[[int], None] | None
    ) -> ActiveResult:
        """Until the first of the goals is reached.

        Args:
            on_step: called after each step.
            on_answer: called after each network, with how many were asked for so far.
        """
        while True:
            rows = self._next_rows()
            began = self.clock()
            self._ask(rows, on_answer)
            self.asking_s += self.clock() - began
            step = self._learn()
            self.steps.append(step)
            if on_step is not None:
                on_step(step)
            reason = self._reason(step)
            if reason is not None:
                return self._result(reason)

    def _next_rows(self) -> Rows:
        """A random part, which goes on in one order of all networks, and a chosen one."""
        first = self.plan.first[: 0 if self.steps else None]
        asked = [*self.answers, *first.tolist()]
        size = self._size(asked)
        fair = self._draw(self._fair_count(size))
        known = np.array([*asked, *fair], dtype=np.int64)
        now = np.concatenate([first, np.array(fair, dtype=np.int64)])
        open_rows = np.setdiff1d(self._open_rows(), known)
        count = min(size - len(fair), len(open_rows))
        if count < 1:
            return now
        together = np.concatenate([open_rows, known])
        places = choose(
            self.table[together],
            count,
            self.predictor,
            np.arange(len(open_rows), len(together)),
            np.random.default_rng([self.plan.seed, len(self.steps)]),
            by_width=self.fitted,
        )
        return np.concatenate([now, together[places]])

    def _size(self, asked: list[int]) -> int:
        size = self.plan.batch or max(_SMALLEST_BATCH, len(asked) // _GROWTH)
        if self.goal.budget is not None:
            size = min(size, self.goal.budget - len(asked))
        return min(size, math.ceil(len(np.setdiff1d(self._open_rows(), asked)) / (1 - _RANDOM_SHARE)))

    def _fair_count(self, size: int) -> int:
        """How many of a batch are drawn at random: a third, but no fewer than the error still needs."""
        if size < 1:
            return 0
        return max(1, round(size * _RANDOM_SHARE), min(size, self.plan.least_held_out - len(self._fair_rows())))

    def _draw(self, count: int) -> list[int]:
        """Networks that are next in the random order; those that were chosen already belong to the sample for nothing.

        So the sample is always the beginning of the random order, whatever was chosen.
        """
        found: list[int] = []
        while len(found) < count and self.drawn < len(self.order):
            row = int(self.order[self.drawn])
            self.drawn += 1
            if row not in self.answers:
                found.append(row)
        return found

    def _open_rows(self) -> Rows:
        """Those that were not asked for; with a limit, those of them that are undecided."""
        rows = np.setdiff1d(np.arange(len(self.table)), list(self.answers))
        return rows if self.verdicts is None else rows[self.verdicts[rows] == UNDECIDED]

    def _ask(self, rows: Rows, on_answer: Callable[[int], None] | None) -> None:
        for row in rows.tolist():
            if self._time_is_up() and np.isfinite(self.latency_ms).sum() >= _FEWEST_TO_FIT:
                break
            answer = self.objective.answer(self.table[row])
            self.device_asked += answer.source is Source.DEVICE
            self._keep(row, answer)
            if on_answer is not None:
                on_answer(len(self.answers))
        self.objective.settle()
        for row, answer in list(self.answers.items()):
            newer = self.objective.service.current(answer)
            if newer is not answer:
                self._keep(row, newer)
                self.judged.pop(row, None)

    def _time_is_up(self) -> bool:
        return self.goal.time_s is not None and self.clock() - self.started >= self.goal.time_s

    def _keep(self, row: int, answer: Answer) -> None:
        self.answers[row] = without_runs(answer)
        teaches = answer.measurement is not None and not answer.provisional
        self.latency_ms[row] = self.objective.latency_ms(answer) if teaches else np.nan

    def _learn(self) -> ActiveStep:
        """Fit to everything that gave a latency, and say how good that is."""
        rows = np.flatnonzero(np.isfinite(self.latency_ms))
        self.fitted = len(rows) >= _FEWEST_TO_FIT
        error, sides = None, None
        if self.fitted:
            cells, latency_ms = self.table[rows], self.latency_ms[rows]
            fair = np.searchsorted(rows, self._fair_rows())
            held = hold_out(self.predictor, cells, latency_ms, fair, self.goal.interval)
            self.predictor.fit(cells, latency_ms)
            error, sides = self._estimate(held), self._decide(held)
        statuses = Counter(answer.status for answer in self.answers.values())
        return ActiveStep(
            number=len(self.steps) + 1,
            asked=len(self.answers),
            device_asked=self.device_asked,
            learned=len(rows),
            infeasible=statuses["infeasible"] + statuses["skipped"],
            unstable=statuses["provisional"],
            error=error,
            sides=sides,
            elapsed_s=self.clock() - self.started,
            asking_s=self.asking_s,
        )

    def _fair_rows(self) -> Rows:
        """Drawn at random, with a latency, in the order of the draw."""
        drawn: Rows = self.order[: self.drawn]
        return np.asarray(drawn[np.isfinite(self.latency_ms[drawn])], dtype=np.int64)

    def _estimate(self, held: HeldOut) -> ErrorEstimate:
        errors = held.errors
        self.looks += len(errors) >= FEWEST_HELD_OUT
        confidence = self.goal.confidence_of(max(self.looks, 1))
        if not len(errors):
            return ErrorEstimate(0, math.nan, math.inf, confidence, math.nan, math.nan, self.goal.interval)
        return ErrorEstimate(
            held_out=len(errors),
            mean=float(errors.mean()),
            upper=mean_upper_bound(errors, confidence),
            confidence=confidence,
            within=float(np.mean(errors <= WITHIN)),
            coverage=held.coverage,
            interval=self.goal.interval,
        )

    def _decide(self, held: HeldOut) -> SideCounts | None:
        limit = self.goal.limit
        if limit is None:
            return None
        new = [row for row in self.answers if row not in self.judged]
        self.judged.update(zip(new, measured_sides(self.objective, self.table, new, limit), strict=True))
        others = np.setdiff1d(np.arange(len(self.table)), list(self.answers))
        self.verdicts = np.full(len(self.table), UNDECIDED, dtype="U10")
        self.verdicts[list(self.judged)] = list(self.judged.values())
        widening = held.widening(limit.confidence)
        self.verdicts[others] = predicted_sides(self.predictor, self.table, others, limit, widening)
        return counted(self.verdicts)

    def _reason(self, step: ActiveStep) -> Reason | None:
        goal, error, sides = self.goal, step.error, step.sides
        if goal.target_error is not None and error is not None and error.upper < goal.target_error:
            return "target"
        if sides is not None and not len(self._open_rows()):
            return "undecidable" if sides.undecided else "decided"
        if goal.budget is not None and step.asked >= goal.budget:
            return "budget"
        if step.asked == len(self.table):
            return "exhausted"
        return "time" if self._time_is_up() else None

    def _result(self, reason: Reason) -> ActiveResult:
        if not self.fitted:
            last = self.steps[-1]
            raise NotFoundError(
                f"{last.learned} of {last.asked} networks that were asked for gave a latency, too few to learn from: "
                f"it takes {_FEWEST_TO_FIT}; {last.infeasible} were infeasible, {last.unstable} unstable; give a "
                "larger budget or more time, or measure while nobody else uses the device"
            )
        rows = np.array(list(self.answers), dtype=np.int64)
        return ActiveResult(
            reason=reason,
            predictor=self.predictor,
            steps=tuple(self.steps),
            rows=rows,
            statuses=np.array([answer.status for answer in self.answers.values()]),
            latency_ms=self.latency_ms[rows],
            held_out_rows=self._fair_rows(),
            verdicts=self.verdicts,
        )
