"""Predicted latency as an objective: no device is needed, or only where the predictor is unsure."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.device import Device
from leti_opt.errors import InfeasibleError, InvalidInputError, NotFoundError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.gpu_rules import rule_set
from leti_opt.objective.answers import Answer, Source, without_runs
from leti_opt.objective.evaluations import Evaluation
from leti_opt.objective.feasibility import FEASIBLE, Feasibility, verdicts_in, verdicts_of
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.predicted import PREDICTED, AnsweredTable, BestAnswered, PredictedAnswer, Prediction
from leti_opt.objective.surrogate_checks import (
    ANSWERS,
    agreed,
    check_fallback,
    check_infeasible,
    check_numbers,
    check_predictor,
)
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.store.latency_store import LatencyStore

Floats = NDArray[np.float64]

_PENALTY_MS = 10_000.0
_ROWS_AT_ONCE = 20_000


class SurrogateObjective:
    """Predicted latency of a cell, wherever a :class:`~leti_opt.objective.latency.DeviceLatencyObjective` would do.

    It works with ``minimize``, with ask and tell and with an executor of threads or processes. What it says is
    *predicted*, and says so; nothing of it is stored. As on a device the pruned cell in canonical order counts.

    Args:
        predictor: a fitted one.
        answer: what an optimizer is told: the prediction (``mean``), or the lower (``optimistic``) or upper
            (``pessimistic``) end of its interval.
        coverage: share of measured latencies that the interval should hold.
        fallback: measures instead where the predictor is unsure. What its store knows to be infeasible is so here.
        unsure_above: unsure is a prediction whose interval reaches farther up than this share of it, or that has
            no finite interval.
        store, device: in place of a fallback a store, and a device whose refusals it remembers; neither is contacted.
        skip_forecast: rules of :func:`~leti_opt.network.gpu_support.gpu_support`; networks that they forecast not to
            fit a phone's GPU are answered like infeasible ones. The fallback's, if None.
        penalty_ms: what an infeasible network is answered with; the fallback's if None, else 10,000.
        on_infeasible: ``"penalty"``, or ``"raise"`` an InfeasibleError; the fallback's if None.

    Raises:
        InvalidInputError: the predictor was not fitted, or is for other networks than the fallback measures.
        NotFoundError: the store has no results of the device.

    >>> from leti_opt.predictor.flops import FlopsPredictor
    >>> cells = [Architecture.parse(f"0-1,1-2:{kind}") for kind in ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")]
    >>> objective = SurrogateObjective(FlopsPredictor(NetworkConfig.small()).fit(cells, [1.0, 2.0, 10.0]))
    >>> objective(cells[0]) < objective(cells[2])
    True
    >>> objective.best().architecture == cells[0], objective.best().status
    (True, 'predicted')
    """

    def __init__(
        self,
        predictor: LatencyPredictor,
        *,
        answer: Literal["mean", "optimistic", "pessimistic"] = "mean",
        coverage: float = 0.9,
        fallback: DeviceLatencyObjective | None = None,
        unsure_above: float = 0.1,
        store: str | Path | LatencyStore | None = None,
        device: str | Device | None = None,
        skip_forecast: str | None = None,
        penalty_ms: float | None = None,
        on_infeasible: Literal["penalty", "raise"] | None = None,
    ) -> None:
        check_predictor(predictor)
        check_numbers(answer, coverage, unsure_above)
        if fallback is not None:
            check_fallback(fallback, predictor.network)
        if (store is None) != (device is None):
            raise InvalidInputError("store and device belong together: whose refusals does the store remember?")
        if fallback is not None and store is not None:
            raise InvalidInputError("the fallback brings its own store and device; leave out the other ones")
        self.predictor = predictor
        self.answer = answer
        self.coverage = coverage
        self.fallback = fallback
        self.unsure_above = unsure_above
        self.skip_forecast = agreed(skip_forecast, getattr(fallback, "skip_forecast", None), None, "skip_forecast")
        self.penalty_ms = agreed(penalty_ms, getattr(fallback, "penalty_ms", None), _PENALTY_MS, "penalty_ms")
        self.on_infeasible = agreed(on_infeasible, getattr(fallback, "on_infeasible", None), "penalty", "on_infeasible")
        check_infeasible(self.penalty_ms, self.on_infeasible)
        if self.skip_forecast is not None:
            rule_set(self.skip_forecast)
        build_layer_graph(Architecture.parse("0-1:"), self.network)
        verdicts = None if store is None or device is None else verdicts_in(store, device, self.network)
        if fallback is not None:
            verdicts = verdicts_of(fallback.service, self.network, fallback.renderer)
        self.feasibility = Feasibility(self.network, self.skip_forecast, verdicts)
        self._begin()

    def _begin(self) -> None:
        self.counts: Counter[tuple[Source, str]] = Counter()
        self.asked_device = 0
        self._evaluations: list[Evaluation[Architecture]] = []
        self._lock = threading.Lock()

    @property
    def network(self) -> NetworkConfig:
        """How cells become the networks that the predictor learned from."""
        return self.predictor.network

    def __call__(self, value: Architecture) -> float:
        """Latency in milliseconds: predicted, or of the fallback where the predictor is unsure.

        Raises:
            InfeasibleError: with ``on_infeasible="raise"``.
            DeviceError: the fallback's device is gone.
        """
        return self.evaluate(value).latency_ms

    def evaluate(self, value: Architecture) -> Evaluation[Architecture]:
        """The same call, with what stands behind the number."""
        if not isinstance(value, Architecture):
            raise InvalidInputError(
                f"the objective takes an Architecture, not {type(value).__name__}; optimize over ArchitectureSpace()"
            )
        answer = self.feasibility.refusal(value) or self._answered(value)
        evaluation = Evaluation(value, self.latency_ms(answer), answer)
        with self._lock:
            self.counts[answer.source, answer.status] += 1
            self._evaluations.append(replace(evaluation, answer=without_runs(answer)))
        return evaluation

    def evaluate_many(self, architectures: Iterable[Architecture] | ArchitectureTable) -> AnsweredTable:
        """What would be answered for many cells at once. They do not count as calls, for :meth:`best` for instance.

        With a fallback, every unsure one is measured, which may take long.

        Args:
            architectures: the cells.

        Raises:
            InvalidInputError: something else than cells is among them, or labels differ.
            InfeasibleError: with ``on_infeasible="raise"``; names the first that is infeasible.
            DeviceError: the fallback's device is gone.
        """
        table = _table_of(architectures)
        statuses = self.feasibility.states(table).astype("U16")
        if self.on_infeasible == "raise":
            self._raise_first(table, statuses)
        figures = np.full((3, len(table)), np.nan)
        rows = np.flatnonzero(statuses == FEASIBLE)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            figures[:, part] = self._predicted(table[part])
        statuses[rows] = PREDICTED
        told = np.where(statuses == PREDICTED, figures[ANSWERS.index(self.answer)], self.penalty_ms)
        for row in rows[self._is_doubtful(figures[:, rows])].tolist():
            answer = self._resolved(table[row], figures[:, row])
            told[row], statuses[row] = self.latency_ms(answer), answer.status
        mean, lower, upper = figures
        return AnsweredTable(told, mean, lower, upper, statuses, *self._names, self.coverage)

    def best(self) -> BestAnswered:
        """The best of this objective's calls: never a penalty, never a provisional figure.

        Its status says that it is predicted, unless the fallback measured it. To be sure, measure it:
        ``DeviceLatencyObjective(...)(objective.best().architecture)``.

        Raises:
            NotFoundError: none of the calls gave a latency.
        """
        self.settle()
        held = [e for e in self.evaluations if e.answer.failure is None and not e.answer.provisional]
        if not held:
            raise NotFoundError("no latency was predicted yet; evaluate some cells first")
        winner = min(held, key=lambda evaluation: evaluation.latency_ms)
        return BestAnswered(winner.value, winner.latency_ms, winner.answer)

    @property
    def evaluations(self) -> tuple[Evaluation[Architecture], ...]:
        """Every call so far in this process, in order; what the fallback measured again has its newer figure."""
        with self._lock:
            made = tuple(self._evaluations)
        return made if self.fallback is None else tuple(map(self._current, made))

    def latency_ms(self, answer: Answer) -> float:
        """What an answer tells an optimizer: the prediction, an end of its interval, a measured figure, the penalty."""
        if isinstance(answer, PredictedAnswer) and answer.prediction is not None:
            return answer.prediction.told_ms[ANSWERS.index(self.answer)]
        if answer.measurement is not None and self.fallback is not None:
            return self.fallback.latency_ms(answer)
        if self.on_infeasible == "raise":
            raise InfeasibleError(str(answer.failure))
        return float(self.penalty_ms)

    def settle(self) -> None:
        """See to it that the fallback's last measurements, too, were made at its device's usual pace.

        Raises:
            DeviceError: the device is gone, or does not come back to its pace.
        """
        if self.fallback is not None:
            self.fallback.settle()

    def close(self) -> None:
        """Release the fallback's devices. The objective may be called again."""
        if self.fallback is not None:
            self.fallback.close()

    def _answered(self, architecture: Architecture) -> Answer:
        figures = self._predicted(ArchitectureTable.from_architectures([architecture]))
        if self._is_doubtful(figures)[0]:
            return self._resolved(architecture, figures[:, 0])
        return self._prediction(figures[:, 0])

    def _predicted(self, table: ArchitectureTable) -> Floats:
        """Means, lower and upper ends, a column a cell."""
        lower, upper = self.predictor.predict_interval(table, self.coverage)
        return np.stack([self.predictor.predict(table), lower, upper])

    def _is_doubtful(self, figures: Floats) -> NDArray[np.bool_]:
        """Predictions that are no latencies; with a fallback also those that are unsure."""
        mean, _, upper = figures
        told = figures[ANSWERS.index(self.answer)]
        sound: NDArray[np.bool_] = (mean > 0) & np.isfinite(mean) & np.isfinite(told)
        if self.fallback is not None:
            sound &= upper - mean <= self.unsure_above * mean
        return ~sound

    def _resolved(self, architecture: Architecture, figures: Floats) -> Answer:
        """The device's answer for a doubtful cell; without a fallback, that there is none."""
        if self.fallback is not None:
            with self._lock:
                self.asked_device += 1
            return self.fallback.evaluate(architecture).answer
        mean, lower, upper = figures.tolist()
        return PredictedAnswer(
            Source.PREDICTOR,
            failure=f"{self._names[0]} predicts {mean:.6g} ms, from {lower:.6g} to {upper:.6g}, which is no latency; "
            "fit it to cells like this one, or give a fallback",
        )

    def _prediction(self, figures: Floats) -> PredictedAnswer:
        mean, lower, upper = figures.tolist()
        prediction = Prediction(*self._names, mean, lower, upper, self.coverage)
        return PredictedAnswer(Source.PREDICTOR, prediction=prediction)

    @property
    def _names(self) -> tuple[str, str]:
        return type(self.predictor).__name__, self.predictor.training_digest_

    def _current(self, evaluation: Evaluation[Architecture]) -> Evaluation[Architecture]:
        if self.fallback is None or evaluation.answer.measurement is None:
            return evaluation
        return self.fallback.current(evaluation)

    def _raise_first(self, table: ArchitectureTable, states: NDArray[np.str_]) -> None:
        for row in np.flatnonzero(states != FEASIBLE)[:1].tolist():
            refusal = self.feasibility.refusal(table[row])
            raise InfeasibleError(f"row {row}, {table[row]}: {refusal.failure if refusal else states[row]}")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_evaluations", "counts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def _table_of(architectures: Iterable[Architecture] | ArchitectureTable) -> ArchitectureTable:
    if isinstance(architectures, ArchitectureTable):
        return architectures
    if not isinstance(architectures, Iterable):
        raise InvalidInputError(f"evaluate_many takes Architectures or an ArchitectureTable, not {architectures!r}")
    cells = list(architectures)
    for cell in cells:
        if not isinstance(cell, Architecture):
            raise InvalidInputError(f"evaluate_many takes Architectures or an ArchitectureTable, not {cell!r}")
    return ArchitectureTable.from_architectures(cells)
