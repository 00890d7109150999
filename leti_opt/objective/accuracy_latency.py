"""Accuracy and latency together, in nevergrad's own multi-objective way: a list of losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidInputError
from leti_opt.objective.answers import Answer
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.surrogate import SurrogateObjective

if TYPE_CHECKING:
    import nevergrad as ng


@dataclass(frozen=True)
class AccuracyLatency:
    """One call of the objective.

    Args:
        architecture: the cell.
        accuracy: share of right answers, 0 to 1; None where the network is infeasible and was not tried.
        latency_ms: what the optimizer is told.
        answer: what stands behind the latency.
    """

    architecture: Architecture
    accuracy: float | None
    latency_ms: float
    answer: Answer

    @property
    def losses(self) -> list[float]:
        """``[1 - accuracy, latency_ms]``, both to be small."""
        return [1.0 - (self.accuracy or 0.0), self.latency_ms]


class AccuracyLatencyObjective:
    """Two losses of a cell: the share of wrong answers, and the latency in milliseconds.

    The latency is asked for first; an infeasible network is not trained.

    Args:
        accuracy: any callable from an architecture to an accuracy between 0 and 1, such as
            :class:`leti_opt.accuracy.DigitsAccuracy`.
        latency: the latency, measured or predicted.
        latency_bound_ms: a latency that no network of interest exceeds: the corner of the hypervolume that optimizers
            of several losses look at. Take one of the size of the latencies, since a much larger one hides their
            differences. None leaves it to nevergrad, which takes the worst of the first losses.

    >>> from leti_opt import NetworkConfig
    >>> latency = DeviceLatencyObjective("replay:formula?seed=1", NetworkConfig.small(), store=":memory:")
    >>> objective = AccuracyLatencyObjective(lambda cell: len(cell.pruned()) / 10, latency)
    >>> loss, latency_ms = objective(Architecture.parse("0-1,1-2:maxpool3x3"))
    >>> round(loss, 3)
    0.7
    """

    def __init__(
        self,
        accuracy: Callable[[Architecture], float],
        latency: DeviceLatencyObjective | SurrogateObjective,
        latency_bound_ms: float | None = None,
    ) -> None:
        if latency_bound_ms is not None and not 0 < latency_bound_ms < float("inf"):
            raise InvalidInputError(f"latency_bound_ms must be a positive finite number, not {latency_bound_ms}")
        self.accuracy = accuracy
        self.latency = latency
        self.latency_bound_ms = latency_bound_ms

    def __call__(self, architecture: Architecture) -> list[float]:
        """``[1 - accuracy, latency_ms]``."""
        return self.evaluate(architecture).losses

    def evaluate(self, architecture: Architecture) -> AccuracyLatency:
        """The same call, with what stands behind the numbers.

        Raises:
            InvalidInputError: the accuracy is not between 0 and 1.
        """
        latency = self.latency.evaluate(architecture)
        if latency.answer.failure is not None:
            return AccuracyLatency(architecture, None, latency.latency_ms, latency.answer)
        accuracy = float(self.accuracy(architecture))
        if not 0.0 <= accuracy <= 1.0:
            raise InvalidInputError(f"an accuracy lies between 0 and 1, not {accuracy}; return a share, not percent")
        return AccuracyLatency(architecture, accuracy, latency.latency_ms, latency.answer)

    @property
    def upper_bounds(self) -> list[float]:
        """The corner of the hypervolume, for ``nevergrad.p.MultiobjectiveReference``."""
        return [1.0, self.latency_bound_ms or self.latency.penalty_ms]

    def give_bounds(self, optimizer: ng.optimizers.base.Optimizer) -> None:
        """Tell an optimizer the worst losses, so that it need not guess the hypervolume's corner."""
        import nevergrad as ng

        optimizer.tell(ng.p.MultiobjectiveReference(), self.upper_bounds)
