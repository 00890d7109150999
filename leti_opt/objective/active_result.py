"""What active learning says of itself: after each step, and at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.predictor import LatencyPredictor

Reason = Literal["target", "decided", "undecidable", "budget", "exhausted", "time"]
"""Why it ended: the error is below its target; every network is decided; what is undecided was asked for already; the
budget is used; every network was asked for; the time is over."""

WITHIN = 0.1
"""The share of errors up to this one is told beside their mean."""


@dataclass(frozen=True)
class ErrorEstimate:
    """The mean error of a predictor, relative to the latency, by cells that were drawn at random and held out in turn.

    It is about the networks of the table that give a latency at all, those left out that were asked for first. The
    device's own noise is in it.

    Args:
        held_out: how many cells it stands on.
        mean: their mean error, 0.05 for 5 %.
        upper: the mean error over all networks is below this, with the confidence; infinity for few held-out cells.
        confidence: of this bound. With a target it is looked at after each step, and every look is a chance to be
            wrong; so each look has a higher confidence, by which all together keep the one that was asked for.
        within: share of the held-out cells whose error was a tenth of the latency at most.
        coverage: share of the held-out cells' latencies that lay in the intervals predicted for them.
        interval: the share that these intervals should hold: 0.9, or the confidence of a limit.
    """

    held_out: int
    mean: float
    upper: float
    confidence: float
    within: float
    coverage: float
    interval: float


@dataclass(frozen=True)
class SideCounts:
    """On which side of a limit the networks of a table are.

    Args:
        met: below it.
        missed: above it.
        undecided: not known.
        infeasible: asked for, without a latency.
    """

    met: int
    missed: int
    undecided: int
    infeasible: int


@dataclass(frozen=True)
class ActiveStep:
    """Where it stands after a batch.

    Args:
        number: of the step, from 1.
        asked: networks asked for so far, whoever answered.
        device_asked: those of them that a device was asked for, since neither store nor memory knew them.
        learned: those that gave a latency; what the predictor learned from.
        infeasible: those that the device, or a forecast, refused.
        unstable: those whose runs spread too far.
        error: None as long as too few networks gave a latency to fit anything.
        sides: with a limit, where its networks are.
        elapsed_s: seconds since the start.
        asking_s: those of them in which networks were measured or looked up; in the others the device was idle.
    """

    number: int
    asked: int
    device_asked: int
    learned: int
    infeasible: int
    unstable: int
    error: ErrorEstimate | None
    sides: SideCounts | None = None
    elapsed_s: float = 0.0
    asking_s: float = 0.0


@dataclass(frozen=True, eq=False)
class ActiveResult:
    """How active learning ended.

    Args:
        reason: see :data:`Reason`.
        predictor: fitted to everything that gave a latency.
        steps: all of them.
        rows: rows of the table that were asked for, in order; the first ones first.
        statuses: of each ``measured``, ``simulated``, ``replayed`` or ``imported``; ``infeasible``, ``skipped``, or
            ``provisional`` for an unstable one.
        latency_ms: of each; NaN where there is none to learn from.
        held_out_rows: rows with a latency that were drawn at random; the error stands on these.
        verdicts: with a limit, of each network of the table ``met``, ``missed``, ``undecided`` or ``infeasible``.
    """

    reason: Reason
    predictor: LatencyPredictor
    steps: tuple[ActiveStep, ...]
    rows: NDArray[np.int64]
    statuses: NDArray[np.str_]
    latency_ms: NDArray[np.float64]
    held_out_rows: NDArray[np.int64]
    verdicts: NDArray[np.str_] | None = None

    @property
    def last(self) -> ActiveStep:
        """The last step."""
        return self.steps[-1]

    @property
    def error(self) -> ErrorEstimate:
        """The error after the last step."""
        assert self.last.error is not None, "nothing ends without a fitted predictor"
        return self.last.error

    @property
    def summary(self) -> str:
        """All this in sentences."""
        error, last = self.error, self.last
        bound = "without a known bound"
        if np.isfinite(error.upper):
            bound = f"below {100 * error.upper:.2f} % with {100 * error.confidence:.6g} % confidence"
        origins = Counter(self.statuses[np.isfinite(self.latency_ms)].tolist())
        kinds = ", ".join(f"{count} {status}" for status, count in sorted(origins.items()))
        sentences = [
            f"{_ENDS[self.reason]}.",
            f"{last.asked} networks were asked for: {kinds}; {last.infeasible} infeasible and {last.unstable} "
            "unstable ones taught nothing.",
            f"The mean error is {100 * error.mean:.2f} %, {bound}, by "
            f"{error.held_out} networks that were drawn at random and held out in turn; {100 * error.coverage:.0f} % "
            f"of them lay in their {100 * error.interval:g} % intervals.",
        ]
        if last.sides is not None:
            sides = last.sides
            sentences.append(
                f"Of the limit: {sides.met} met, {sides.missed} missed, {sides.undecided} undecided, "
                f"{sides.infeasible} infeasible."
            )
        return " ".join(sentences)


_ENDS: dict[Reason, str] = {
    "target": "Ended since the error is below its target",
    "decided": "Ended since every network is on one side of the limit",
    "undecidable": "Ended since what is undecided was asked for already; decide_limits gives it more runs",
    "budget": "Ended since the budget is used",
    "exhausted": "Ended since every network was asked for",
    "time": "Ended since the time is over",
}
