"""Active learning: measures what a predictor learns most from, until it is known how good it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.certainty import CONFIDENCE
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.objective.active_goal import ActiveGoal, check_count
from leti_opt.objective.active_result import ActiveResult, ActiveStep
from leti_opt.objective.active_run import ActivePlan, ActiveRun, Rows
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.surrogate_checks import check_fallback
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.selection import check_selection


def fit_actively(
    objective: DeviceLatencyObjective,
    predictor: LatencyPredictor,
    architectures: Cells,
    *,
    budget: int | None = None,
    target_error: float | None = None,
    confidence: float = CONFIDENCE,
    time_s: float | None = None,
    until: Literal["decided"] | None = None,
    limit_ms: float | None = None,
    first: Cells | None = None,
    least_held_out: int = 0,
    batch: int | None = None,
    seed: int = 0,
    on_step: Callable[[ActiveStep], None] | None = None,
    on_answer: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
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
        time_s: once so many seconds are over, fitting included, no further network is asked for. The one that is being
            measured is finished, and five latencies are waited for, since fewer teach nothing.
        until: ``"decided"``: until each network is known to meet or to miss ``limit_ms``.
        limit_ms: the limit, on the objective's statistic.
        first: networks among these that are asked for before any other, such as a panel that every device measures.
            They were chosen, so the error is told by others alone.
        least_held_out: until so many networks that were drawn at random have a latency, no other is asked for (but the
            first ones). 20 or more is for small budgets: a bound of the error stands on 20, and a third of 50 is less.
        batch: networks a step; by default a quarter of what was asked for, and 20 at least. With a target every step is
            a look at the error, and the more looks, the surer each must be.
        seed: of everything random. The same seed and answers give the same choices.
        on_step: called after each step.
        on_answer: called after each network with how many were asked for so far.
        clock: seconds that pass; for tests.

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
    goal = ActiveGoal.checked(objective, budget, target_error, confidence, until, limit_ms, time_s)
    if batch is not None:
        check_count(batch, "batch")
    if isinstance(least_held_out, bool) or not isinstance(least_held_out, int | np.integer) or least_held_out < 0:
        raise InvalidInputError(f"least_held_out is a whole number of 0 or more, not {least_held_out!r}")
    table = table_of(architectures)
    first_rows = _rows_among(table, first)
    if budget is not None and len(first_rows) > budget:
        raise InvalidInputError(f"first holds {len(first_rows)} networks, the budget is {budget}; give a larger one")
    plan = ActivePlan(table, first_rows, batch, least_held_out, seed)
    return ActiveRun(objective, predictor, plan, goal, clock).run(on_step, on_answer)


def _rows_among(table: ArchitectureTable, first: Cells | None) -> Rows:
    """Rows of networks, each once.

    Raises:
        InvalidInputError: one of them is not in the table.
    """
    if first is None:
        return np.empty(0, dtype=np.int64)
    wanted = table_of(first)
    try:
        rows = [table.find(str(found)) for found in wanted.graph_hashes]
    except NotFoundError as error:
        raise InvalidInputError(f"first holds a cell that is none of the architectures: {error}") from error
    if wanted.labels != table.labels:
        raise InvalidInputError(f"first has the labels {wanted.labels}, the architectures {table.labels}")
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)
