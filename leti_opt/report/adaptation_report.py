"""An adapted predictor in words and for scripts, and how far its making is."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

from leti_opt.objective.active_result import WITHIN, ActiveStep, ErrorEstimate, Reason
from leti_opt.objective.adaptation import Adaptation
from leti_opt.predictor.held_out_error import FEWEST_HELD_OUT
from leti_opt.report.live_line import LiveLine
from leti_opt.report.predictor_table import origin_lines
from leti_opt.report.quantities import duration_text

_GOES_ON = "the same command goes on"
_ENDS: dict[Reason, str] = {
    "target": "the error is below its target",
    "budget": "the budget is used",
    "exhausted": "every network of the space was asked for",
    "time": "the time is over",
}


class AdaptationProgress(LiveLine):
    """Shows how many networks were asked for, and after each step how good the predictor is.

    Args:
        stream: where to write; a terminal also gets a line that changes.
        time_s: how long it may take.
        budget: how many networks it may ask for.
        clock: seconds that pass.
    """

    def __init__(
        self, stream: TextIO, time_s: float, budget: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream, clock)
        self.time_s, self.budget = time_s, budget
        self.asked = 0

    def answered(self, asked: int) -> None:
        """Count a network, and show it where the last line is some time ago."""
        self.asked = asked
        self.show(self._line)

    def stepped(self, step: ActiveStep) -> None:
        """Show what is known after a step."""
        self.keep(step_line(step))

    def _line(self, now: float) -> str:
        total = "" if self.budget is None else f" of {self.budget}"
        left = self.time_s - (now - self._start)
        known = f"{duration_text(left)} of the time left" if left > 0 else "the time is over"
        return f"{self.asked}{total} networks asked for, {known}"


def step_line(step: ActiveStep) -> str:
    """Where it stands after a batch, in one line."""
    if step.error is None:
        known = "too few latencies to learn from"
    elif not isfinite(step.error.upper):
        known = f"error not stated yet, {step.error.held_out} held out of {FEWEST_HELD_OUT} that it takes"
    else:
        known = f"error {_bounded(step.error)}, {step.error.held_out} held out"
    return (
        f"step {step.number}: {step.asked} asked for, {step.learned} learned, {duration_text(step.elapsed_s)}; {known}"
    )


def adaptation_lines(found: Adaptation, file: Path, target_error: float | None = None) -> list[str]:
    """What was measured, what learned from it, and how good that is.

    Args:
        found: what came of it.
        file: where the predictor is.
        target_error: what was asked for.
    """
    result, last = found.result, found.result.last
    predictor = result.predictor
    lines = [f"{file}: {type(predictor).__name__} {predictor.training_digest_[:12]}, learned", _own(found)]
    lines += [f"  {other.statement()} ({other.source})" for other in found.story.others]
    lines += [
        f"asked for {last.asked} networks{_of_panel(found)}: {last.learned} gave a latency, {last.unstable} unstable, "
        f"{last.infeasible} infeasible; {last.device_asked} asked of the device now, {last.asked - last.device_asked} "
        "known to the store",
        f"took {duration_text(last.elapsed_s)}, of which {duration_text(last.elapsed_s - last.asking_s)} choosing and "
        f"fitting; ended since {_ENDS[result.reason]}",
        *_error_lines(result.error),
    ]
    if target_error is not None and result.reason != "target":
        more = "with a larger --budget the same command goes on" if result.reason == "budget" else _GOES_ON
        lines.append(f"the target of {_percent(target_error)} was not reached; {more}")
    return [*lines, *origin_lines(found.story)]


def adaptation_json(found: Adaptation, file: Path, target_error: float | None = None) -> dict[str, Any]:
    """The same for scripts; what is not known is null."""
    result, last = found.result, found.result.last
    error = result.error
    return {
        "file": str(file),
        "predictor": type(result.predictor).__name__,
        "training": found.story,
        "training_digest": result.predictor.training_digest_,
        "network": result.predictor.network.digest,
        "reason": result.reason,
        "target_error": target_error,
        "asked": last.asked,
        "panel": found.panel,
        "device_asked": last.device_asked,
        "learned": last.learned,
        "unstable": last.unstable,
        "infeasible": last.infeasible,
        "seconds": last.elapsed_s,
        "fitting_seconds": last.elapsed_s - last.asking_s,
        "error": {
            "stated": isfinite(error.upper),
            "mean": _known(error.mean),
            "upper": _known(error.upper),
            "confidence": error.confidence,
            "within_10": _known(error.within),
            "held_out": error.held_out,
            "interval": error.interval,
            "coverage": _known(error.coverage),
        },
    }


def _own(found: Adaptation) -> str:
    story = found.story
    return f"  {story.cells:,} {story.origin} figures of {story.device} ({story.source})"


def _of_panel(found: Adaptation) -> str:
    return f" ({found.panel} of the standard panel first)" if found.panel else ""


def _error_lines(error: ErrorEstimate) -> list[str]:
    if not isfinite(error.upper):
        mean = f"; by these it is {_percent(error.mean)} on average, without a bound" if error.held_out else ""
        return [
            f"the error cannot be stated: {error.held_out} networks were drawn at random and held out, and it takes "
            f"{FEWEST_HELD_OUT}{mean}",
            f"give more --time or a larger --budget; {_GOES_ON}",
        ]
    return [
        f"the error is {_bounded(error)}: the mean over the space, relative to the latency",
        f"  within ±{_percent(WITHIN)}".ljust(22) + _percent(error.within),
        f"  {_percent(error.interval)} intervals hold".ljust(22) + _percent(error.coverage),
        f"  by {error.held_out} networks that were drawn at random and held out in turn",
    ]


def _bounded(error: ErrorEstimate) -> str:
    return f"{_percent(error.mean)}, below {_percent(error.upper)} with {_almost_percent(error.confidence)} confidence"


def _percent(share: float) -> str:
    """
    >>> _percent(0.05), _percent(0.9917)
    ('5 %', '99.2 %')
    """
    return f"{round(100 * share, 1):g} %"


def _almost_percent(share: float) -> str:
    """With as many digits as keep it from being all.

    >>> _almost_percent(0.95), _almost_percent(0.99976), _almost_percent(0.999997)
    ('95 %', '99.98 %', '99.9997 %')
    """
    digits = next((each for each in range(1, 12) if round(100 * share, each) < 100), 12)
    return f"{round(100 * share, digits):.{digits}f}".rstrip("0").rstrip(".") + " %"


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
