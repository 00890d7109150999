"""Active learning: measures what a predictor learns most from, until it is known how good it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.certainty import CONFIDENCE
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.objective.active_goal import ActiveGoal, check_count
from leti_opt.objective.active_result import ActiveResult, ActiveStep, ErrorEstimate, Reason, SideCounts
from leti_opt.objective.answers import Answer, Source, without_runs
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.limit_sides import UNDECIDED, counted, measured_sides, predicted_sides
from leti_opt.objective.surrogate_checks import check_fallback
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.held_out_error import FEWEST_HELD_OUT, HeldOut, hold_out, mean_upper_bound
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.selection import check_selection, choose

Rows = NDArray[np.int64]

_RANDOM_SHARE = 1 / 3
_SMALLEST_BATCH = 20
_GROWTH = 4
_FEWEST_TO_FIT = 5


def fit_actively(
    objective: DeviceLatencyObjective,
    predictor: LatencyPredictor,
    architectures: Cells,
    *,
    budget: int | None = None,
    target_error: float | None = None,
    confidence: float = CONFIDENCE,
    until: Literal["decided"] | None = None,
    limit_ms: float | None = None,
    batch: int | None = None,
    seed: int = 0,
    on_step: Callable[[ActiveStep], None] | None = None,
) -> ActiveResult:
    """Measure networks batch by batch and fit a predictor to them, until the first of its goals is reached.

    A third of each batch is drawn at random from all networks; the others are those from which the predictor learns
    most (:func:`~leti_opt.predictor.selection.select`), with a limit among those that are still undecided. What was
    chosen is no fair sample, so the error is told by the random third alone: by cross-validation in which only these
    are held out. :class:`~leti_opt.objective.active_result.ErrorEstimate` says how many they were and what the bound
    holds for.

    With ``until="decided"`` a network that was asked for is judged by the bounds of its own measurements, as
    :func:`~leti_opt.objective.limit_decisions.decide_limits` does; any other by the predictor's interval, which is
    widened until the held-out networks lie in theirs as often as the confidence says. That holds over all networks:
    those close to the limit may be wrong more often, and each is judged for itself.

    Infeasible and unstable networks are counted, and nothing is learned from them. Every answer is in the store before
    the next question: the same call goes on where it was interrupted, and asks no device for what the store knows.

    Args:
        objective: what measures.
        predictor: is fitted anew, whatever it had learned; for the same network config.
        architectures: the networks that it shall predict, which are those that may be asked for.
        budget: the most networks to ask for, those included that the store knows.
        target_error: the mean error relative to the latency that shall be kept, such as 0.05.
        confidence: how sure the error must be below its target, and a network on its side of the limit.
        until: ``"decided"``: until each network is known to meet or to miss ``limit_ms``.
        limit_ms: the limit, on the objective's statistic.
        batch: networks a step; by default a quarter of what was asked for, and 20 at least. With a target every step is
            a look at the error, and the more looks, the surer each must be.
        seed: of everything random. The same seed and answers give the same choices.
        on_step: called after each step.

    Raises:
        InvalidInputError: nothing says when to end, or a number is out of range; nothing has been measured by then.
        NotFoundError: it ended, and too few networks gave a latency to learn from.
        DeviceError: the device is gone; everything measured so far is in the store.

    >>> from leti_opt import NAS_BENCH_101, NetworkConfig, enumerate_architectures
    >>> from leti_opt.predictor.flops import FlopsPredictor
    >>> network = NetworkConfig.small(filters=8)
    >>> objective = DeviceLatencyObjective("replay:formula?seed=1", network, store=":memory:")
    >>> cells = enumerate_architectures(NAS_BENCH_101)[:91]
    >>> result = fit_actively(objective, FlopsPredictor(network), cells, budget=30)
    >>> result.reason, result.last.asked, result.error.held_out
    ('budget', 30, 10)
    """
    check_selection(predictor, seed)
    if not isinstance(predictor, LatencyPredictor):
        raise InvalidInputError("there is no predictor to fit; hand in one, such as a KernelPredictor")
    check_fallback(objective, predictor.network, "measured objective")
    goal = ActiveGoal.checked(objective, budget, target_error, confidence, until, limit_ms)
    if batch is not None:
        check_count(batch, "batch")
    return _Learning(objective, predictor, table_of(architectures), goal, batch, seed).run(on_step)


class _Learning:
    """What is known so far, and what to ask for next."""

    def __init__(
        self,
        objective: DeviceLatencyObjective,
        predictor: LatencyPredictor,
        table: ArchitectureTable,
        goal: ActiveGoal,
        batch: int | None,
        seed: int,
    ) -> None:
        self.objective, self.predictor, self.table, self.goal = objective, predictor, table, goal
        self.batch, self.seed = batch, seed
        self.answers: dict[int, Answer] = {}
        self.order = np.random.default_rng(seed).permutation(len(table))
        self.drawn = self.device_asked = self.looks = 0
        self.latency_ms = np.full(len(table), np.nan)
        self.fitted = False
        self.judged: dict[int, str] = {}
        self.verdicts: NDArray[np.str_] | None = None
        self.steps: list[ActiveStep] = []

    def run(self, on_step: Callable[[ActiveStep], None] | None) -> ActiveResult:
        while True:
            self._ask(self._next_rows())
            step = self._learn()
            self.steps.append(step)
            if on_step is not None:
                on_step(step)
            reason = self._reason(step)
            if reason is not None:
                return self._result(reason)

    def _next_rows(self) -> Rows:
        """A random part, which goes on in one order of all networks, and a chosen one."""
        size = self._size()
        fair = self._draw(max(1, round(size * _RANDOM_SHARE)))
        known = np.array([*self.answers, *fair], dtype=np.int64)
        open_rows = np.setdiff1d(self._open_rows(), known)
        count = min(size - len(fair), len(open_rows))
        if count < 1:
            return np.array(fair, dtype=np.int64)
        together = np.concatenate([open_rows, known])
        places = choose(
            self.table[together],
            count,
            self.predictor,
            np.arange(len(open_rows), len(together)),
            np.random.default_rng([self.seed, len(self.steps)]),
            by_width=self.fitted,
        )
        return np.concatenate([np.array(fair, dtype=np.int64), together[places]])

    def _size(self) -> int:
        asked = len(self.answers)
        size = self.batch or max(_SMALLEST_BATCH, asked // _GROWTH)
        if self.goal.budget is not None:
            size = min(size, self.goal.budget - asked)
        return min(size, math.ceil(len(self._open_rows()) / (1 - _RANDOM_SHARE)))

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

    def _ask(self, rows: Rows) -> None:
        for row in rows.tolist():
            answer = self.objective.answer(self.table[row])
            self.device_asked += answer.source is Source.DEVICE
            self._keep(row, answer)
        self.objective.settle()
        for row, answer in list(self.answers.items()):
            newer = self.objective.service.current(answer)
            if newer is not answer:
                self._keep(row, newer)
                self.judged.pop(row, None)

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
            held = hold_out(self.predictor, cells, latency_ms, fair, self.goal.confidence)
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
        )

    def _fair_rows(self) -> Rows:
        """Drawn at random, with a latency, in the order of the draw."""
        drawn: Rows = self.order[: self.drawn]
        return np.asarray(drawn[np.isfinite(self.latency_ms[drawn])])

    def _estimate(self, held: HeldOut) -> ErrorEstimate:
        errors = held.errors
        self.looks += len(errors) >= FEWEST_HELD_OUT
        confidence = self.goal.confidence_of(max(self.looks, 1))
        if not len(errors):
            return ErrorEstimate(0, math.nan, math.inf, confidence, math.nan)
        return ErrorEstimate(
            held_out=len(errors),
            mean=float(errors.mean()),
            upper=mean_upper_bound(errors, confidence),
            confidence=confidence,
            coverage=held.coverage,
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
        return "exhausted" if step.asked == len(self.table) else None

    def _result(self, reason: Reason) -> ActiveResult:
        if not self.fitted:
            raise NotFoundError(
                f"{self.steps[-1].learned} of {len(self.answers)} networks that were asked for gave a latency, too few "
                f"to learn from: it takes {_FEWEST_TO_FIT}; give a larger budget, or see why the device refuses them"
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
