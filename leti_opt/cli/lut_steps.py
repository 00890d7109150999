"""What the commands of ``leti-opt lut`` that measure share: options of the measuring, and what they say meanwhile."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.report.live_line import LiveLine

if TYPE_CHECKING:
    from leti_opt.campaign.lut_work import LutStep

OrderSeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the order in which is measured.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Only say what would be measured.")]
PrepareOption = Annotated[
    bool, typer.Option("--prepare", help="Convert everything before the first measurement; takes memory.")
]
RetryOption = Annotated[bool, typer.Option("--retry-unstable", help="Measure once more what was unstable.")]


class StudyProgress(LiveLine):
    """Shows each step of a study on the error stream; the last one also where no terminal is."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def step(self, step: LutStep) -> None:
        """Show a step."""
        figure = "" if step.latency_ms is None else f" {step.latency_ms:.4f} ms"
        line = f"{step.done} of {step.total}: {step.name}{figure} ({step.source})"
        if step.done == step.total and not self.stream.isatty():
            self.keep(line)
        else:
            self.show(lambda _now: line)
