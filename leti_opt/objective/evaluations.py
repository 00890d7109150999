"""What an objective found: each of its calls, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from leti_opt.device.measurement import Measurement
from leti_opt.objective.answers import Answer

Value = TypeVar("Value")


@dataclass(frozen=True)
class Evaluation(Generic[Value]):
    """One call of the objective.

    Args:
        value: what was asked for.
        latency_ms: what the optimizer is told.
        answer: what stands behind it.
    """

    value: Value
    latency_ms: float
    answer: Answer


@dataclass(frozen=True)
class Best(Generic[Value]):
    """The value with the lowest latency that a device really measured.

    Args:
        value: the architecture, or whatever the objective's ``build`` takes.
        latency_ms: its latency.
        measurement: everything behind that number.
    """

    value: Value
    latency_ms: float
    measurement: Measurement

    @property
    def architecture(self) -> Value:
        """The same as :attr:`value`."""
        return self.value
