"""A search over cells that can be stopped anywhere and goes on where it was.

Every answer that an optimizer is told is written to the store's journal. A search that starts again asks a new
optimizer with the same seed, tells it the same answers, and goes on behind the last one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidSearchError, UnknownOperationError, did_you_mean
from leti_opt.objective.accuracy_latency import AccuracyLatency, AccuracyLatencyObjective
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.search.pareto import pareto_indices
from leti_opt.search_space.definition import NAS_BENCH_101, SpaceDefinition
from leti_opt.store.records import EvaluationRecord


@dataclass(frozen=True)
class SearchSettings:
    """What to search, and how.

    Args:
        optimizer: name in nevergrad's registry.
        budget: evaluations; None to go on until the time is up.
        time_limit_s: start no further evaluation after so many seconds of this run; None for no limit.
        seed: of the optimizer; the same seed asks for the same cells.
        workers: evaluations at once. They are told in the order in which they were asked for.

    Raises:
        InvalidSearchError: a number is out of range, or neither budget nor time limit is set.
    """

    optimizer: str = "DE"
    budget: int | None = 100
    time_limit_s: float | None = None
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if self.budget is None and self.time_limit_s is None:
            raise InvalidSearchError("give the search a budget or a time limit")
        for name in ("budget", "seed", "workers"):
            number = getattr(self, name)
            if number is not None and not isinstance(number, int):
                raise InvalidSearchError(f"{name} must be a whole number, not {number!r}")
        if self.budget is not None and self.budget < 1:
            raise InvalidSearchError(f"budget must be 1 evaluation or more, not {self.budget}")
        if self.time_limit_s is not None and not self.time_limit_s > 0:
            raise InvalidSearchError(f"the time limit must be above 0 s, not {self.time_limit_s}")
        if self.workers < 1:
            raise InvalidSearchError(f"workers must be 1 or more, not {self.workers}")
        if not 0 <= self.seed < 2**32:
            raise InvalidSearchError(f"seed must be between 0 and {2**32 - 1}, not {self.seed}")


@dataclass(frozen=True)
class SearchStep:
    """One evaluation of a search.

    Args:
        position: number of the ask, from 0.
        evaluation: the cell with accuracy, latency and what stands behind it.
        losses: what the optimizer was told.
        repeated: whether an earlier run of the search had told it already.
    """

    position: int
    evaluation: AccuracyLatency
    losses: tuple[float, ...]
    repeated: bool


@dataclass(frozen=True)
class SearchResult:
    """All steps of a search, in order."""

    steps: tuple[SearchStep, ...]

    @property
    def measured(self) -> tuple[AccuracyLatency, ...]:
        """Each cell once, only those whose measurement holds, in order of their first ask."""
        held = {
            step.evaluation.architecture: step.evaluation
            for step in reversed(self.steps)
            if step.evaluation.answer.measurement is not None and not step.evaluation.answer.provisional
        }
        return tuple(reversed(held.values()))

    @property
    def front(self) -> tuple[AccuracyLatency, ...]:
        """The measured cells that no other beats in every loss, the fastest first.

        In a search for latency alone the front is one cell; the fastest ten are given instead.
        """
        measured = self.measured
        if all(evaluation.accuracy is None for evaluation in measured):
            return tuple(sorted(measured, key=lambda evaluation: evaluation.latency_ms)[:10])
        losses = [_losses(evaluation) for evaluation in measured]
        return tuple(measured[index] for index in pareto_indices(losses))


class ArchitectureSearch:
    """Search the cells of a space with a nevergrad optimizer.

    Args:
        objective: latency alone, or accuracy and latency.
        settings: optimizer, budget, seed.
        definition: the space.

    Raises:
        InvalidSearchError: no such optimizer, or an objective that measures nothing.
        UnknownOperationError: the objective's network knows no layers for an operation of the space.

    >>> from leti_opt import NetworkConfig
    >>> objective = DeviceLatencyObjective("replay:formula?seed=1", NetworkConfig.small(), store=":memory:")
    >>> search = ArchitectureSearch(objective, SearchSettings("DE", budget=12, seed=1))
    >>> len(search.run().steps)
    12
    """

    def __init__(
        self,
        objective: DeviceLatencyObjective | AccuracyLatencyObjective,
        settings: SearchSettings,
        definition: SpaceDefinition = NAS_BENCH_101,
    ) -> None:
        self.objective = objective
        self.settings = settings
        self.definition = definition
        self.accuracy = objective if isinstance(objective, AccuracyLatencyObjective) else None
        latency = objective.latency if isinstance(objective, AccuracyLatencyObjective) else objective
        if not isinstance(latency, DeviceLatencyObjective):
            raise InvalidSearchError(
                f"a search keeps its journal with a device's measurements, and a {type(latency).__name__} has none; "
                "hand it to nevergrad's minimize"
            )
        self.latency = latency
        self._check_operations()
        find_optimizer(settings.optimizer)

    def run(self, on_step: Callable[[SearchStep], None] | None = None) -> SearchResult:
        """Search, or go on with a search of the same settings.

        Args:
            on_step: called after each evaluation, repeated ones included.

        Raises:
            DeviceError, StoreError: the search stops; everything told so far is kept.
        """
        store = self.latency.store
        search = store.open_search(self.identity())
        journal = {entry.position: entry for entry in store.evaluations(search)}
        optimizer = self._optimizer()
        deadline = None if self.settings.time_limit_s is None else time.monotonic() + self.settings.time_limit_s
        steps: list[SearchStep] = []
        with ThreadPoolExecutor(self.settings.workers) as pool, self._stopping(pool):
            for positions in self._batches(deadline, journal):
                candidates = [self._ask(optimizer, journal.get(position)) for position in positions]
                evaluations = pool.map(self._evaluate, [candidate.value for candidate in candidates])
                for position, candidate, evaluation in zip(positions, candidates, evaluations, strict=True):
                    told = journal.get(position)
                    losses = told.losses if told is not None else _losses(evaluation, self.accuracy is not None)
                    optimizer.tell(candidate, list(losses) if len(losses) > 1 else losses[0])
                    if told is None:
                        store.add_evaluation(search, _record(position, evaluation, losses))
                    steps.append(SearchStep(position, evaluation, losses, told is not None))
                    if on_step is not None:
                        on_step(steps[-1])
        self.latency.settle()
        return SearchResult(tuple(self._current(step) for step in steps))

    @contextmanager
    def _stopping(self, pool: ThreadPoolExecutor) -> Iterator[None]:
        """Where the search ends with an error or a Ctrl-C, let nobody wait for evaluations that were asked for."""
        try:
            yield
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.latency.service.stop()
            raise

    def _current(self, step: SearchStep) -> SearchStep:
        """The step with the figure that stands; what the optimizer was told remains what it was."""
        made = step.evaluation
        answer = self.latency.service.current(made.answer)
        if answer is made.answer:
            return step
        latency_ms = self.latency.latency_ms(answer)
        return replace(step, evaluation=replace(made, latency_ms=latency_ms, answer=answer))

    def identity(self) -> dict[str, Any]:
        """What makes two searches the same one: everything that the course of the optimizer depends on.

        An accuracy without a ``digest`` makes each run a search of its own. So does a device's new epoch: what was
        measured before a system update is no answer for after it.
        """
        service = self.latency.service
        evaluator = None if self.accuracy is None else self.accuracy.accuracy
        settings = asdict(self.settings)
        del settings["time_limit_s"]
        return {
            **settings,
            "space": asdict(self.definition),
            "network": self.latency.network.digest,
            "renderer": self.latency.renderer,
            "device": service.identity.digest,
            "epoch": service.epoch.digest,
            "nevergrad": metadata.version("nevergrad"),
            "protocol": asdict(service.protocol),
            "statistic": self.latency.statistic,
            "penalty_ms": self.latency.penalty_ms,
            "skip_forecast": self.latency.skip_forecast,
            # Nothing tells one callable without a digest from another, so its journal is for this run alone.
            "accuracy": None if evaluator is None else getattr(evaluator, "digest", None) or uuid.uuid4().hex,
            "latency_bound_ms": None if self.accuracy is None else self.accuracy.latency_bound_ms,
        }

    def _evaluate(self, architecture: Architecture) -> AccuracyLatency:
        if self.accuracy is not None:
            return self.accuracy.evaluate(architecture)
        evaluation = self.latency.evaluate(architecture)
        return AccuracyLatency(architecture, None, evaluation.latency_ms, evaluation.answer)

    def _batches(self, deadline: float | None, journal: dict[int, EvaluationRecord]) -> Iterator[range]:
        """Positions to evaluate at once. What the journal holds is always repeated, whatever the time."""
        start = 0
        while self.settings.budget is None or start < self.settings.budget:
            if deadline is not None and time.monotonic() >= deadline and start not in journal:
                return
            end = start + self.settings.workers
            yield range(start, end if self.settings.budget is None else min(end, self.settings.budget))
            start = end

    def _ask(self, optimizer: Any, told: EvaluationRecord | None) -> Any:
        """The next candidate; where an optimizer does not repeat itself, the one that the journal holds."""
        candidate = optimizer.ask()
        if told is None or str(candidate.value.canonical()) == told.cell:
            return candidate
        return optimizer.parametrization.spawn_child(new_value=Architecture.parse(told.cell))

    def _optimizer(self) -> Any:
        from leti_opt.search_space.parametrization import ArchitectureSpace

        space = ArchitectureSpace(self.definition)
        space.random_state.seed(self.settings.seed)
        optimizer = find_optimizer(self.settings.optimizer)(
            space, budget=self.settings.budget, num_workers=self.settings.workers
        )
        if self.accuracy is not None and self.accuracy.latency_bound_ms is not None:
            self.accuracy.give_bounds(optimizer)
        return optimizer

    def _check_operations(self) -> None:
        table = self.latency.network.operation_table
        for label in self.definition.operations:
            if label not in table and label != self.definition.absent:
                raise UnknownOperationError(
                    f"the network config knows no layers for operation {label!r} of {self.definition.name}; "
                    f"{did_you_mean(label, table)}. Hand your own to NetworkConfig(operations=...)"
                )


def find_optimizer(name: str) -> Any:
    """A class of nevergrad's registry.

    Raises:
        InvalidSearchError: it has no optimizer of this name.
    """
    import nevergrad as ng

    if name not in ng.optimizers.registry:
        raise InvalidSearchError(f"nevergrad has no optimizer {name!r}; {_nearest(name, ng.optimizers.registry)}")
    return ng.optimizers.registry[name]


def _losses(evaluation: AccuracyLatency, with_accuracy: bool | None = None) -> tuple[float, ...]:
    both = evaluation.accuracy is not None if with_accuracy is None else with_accuracy
    return tuple(evaluation.losses) if both else (evaluation.latency_ms,)


def _record(position: int, evaluation: AccuracyLatency, losses: Sequence[float]) -> EvaluationRecord:
    cell = str(evaluation.architecture.canonical())
    return EvaluationRecord(position, cell, tuple(losses), evaluation.answer.status, datetime.now(UTC))


def _nearest(name: str, known: Any) -> str:
    """Like :func:`~leti_opt.errors.did_you_mean`, for hundreds of names."""
    import difflib

    near = difflib.get_close_matches(name, list(known), n=5, cutoff=0.4) or ["DE", "NGOpt", "DiscreteOnePlusOne"]
    return f"try one of {', '.join(near)}"
