"""What a surrogate answers with: a prediction, which never passes for a measurement."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.device.measurement import Measurement
from leti_opt.objective.answers import Answer

PREDICTED, UNPREDICTED = "predicted", "unpredicted"
"""The status of a figure that no device gave, and of a cell of which the predictor says nothing that can be true."""


@dataclass(frozen=True)
class Prediction:
    """What a predictor says of one cell.

    Args:
        predictor: name of its class.
        training_digest: SHA-256 of what it learned from.
        mean_ms: the prediction.
        lower_ms, upper_ms: ends of its interval; not finite where the predictor knows none.
        coverage: share of measured latencies that the interval should hold.
    """

    predictor: str
    training_digest: str
    mean_ms: float
    lower_ms: float
    upper_ms: float
    coverage: float

    @property
    def told_ms(self) -> tuple[float, float, float]:
        """What an optimizer may be told: the prediction, and the ends of its interval."""
        return self.mean_ms, self.lower_ms, self.upper_ms


@dataclass(frozen=True)
class PredictedAnswer(Answer):
    """An answer without a measurement, since nothing was measured.

    Args:
        prediction: what stands in its place; None where the predictor's figure is no latency, which is the failure.
    """

    prediction: Prediction | None = None

    @property
    def status(self) -> str:
        """``predicted`` or ``unpredicted``."""
        return UNPREDICTED if self.prediction is None else PREDICTED


@dataclass(frozen=True)
class BestAnswered:
    """The cell with the lowest latency among a surrogate's calls.

    Args:
        value: the cell.
        latency_ms: what the optimizer was told of it.
        answer: what stands behind it.
    """

    value: Architecture
    latency_ms: float
    answer: Answer

    @property
    def architecture(self) -> Architecture:
        """The same as :attr:`value`."""
        return self.value

    @property
    def status(self) -> str:
        """``predicted``; where a device was asked, since the surrogate was unsure, ``measured`` and the like."""
        return self.answer.status

    @property
    def prediction(self) -> Prediction | None:
        """The prediction; None where a device was asked."""
        return self.answer.prediction if isinstance(self.answer, PredictedAnswer) else None

    @property
    def measurement(self) -> Measurement | None:
        """The measurement; None where nothing was measured."""
        return self.answer.measurement


@dataclass(frozen=True, eq=False)
class AnsweredTable:
    """What a surrogate answers for many cells at once, a row a cell; NaN where there is no figure.

    Args:
        latency_ms: what an optimizer would be told of each, penalties included.
        mean_ms, lower_ms, upper_ms: predictions and the ends of their intervals.
        statuses: ``predicted``, ``unpredicted``, ``skipped``, ``infeasible``, or what a device did that was asked.
        predictor: name of the predictor's class.
        training_digest: SHA-256 of what it learned from.
        coverage: share of measured latencies that the intervals should hold.
    """

    latency_ms: NDArray[np.float64]
    mean_ms: NDArray[np.float64]
    lower_ms: NDArray[np.float64]
    upper_ms: NDArray[np.float64]
    statuses: NDArray[np.str_]
    predictor: str
    training_digest: str
    coverage: float

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.latency_ms)

    @property
    def counts(self) -> Counter[str]:
        """How many cells have which status."""
        return Counter(self.statuses.tolist())
