"""What the commands of ``leti-opt lut`` that measure share: options of the measuring, and what they say meanwhile."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leti_opt.campaign.lut_work import LutStep

OrderSeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of the order in which is measured.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Only say what would be measured.")]
PrepareOption = Annotated[
    bool, typer.Option("--prepare", help="Convert everything before the first measurement; takes memory.")
]
RetryOption = Annotated[bool, typer.Option("--retry-unstable", help="Measure once more what was unstable.")]

_EVERY = 25


def say_step(step: LutStep) -> None:
    """A line that changes on a terminal; elsewhere one now and then."""
    figure = "" if step.latency_ms is None else f" {step.latency_ms:.4f} ms"
    text = f"{step.done} of {step.total}: {step.name}{figure} ({step.source})"
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + (text[:79] if step.done < step.total else ""))
        sys.stderr.flush()
    elif step.done % _EVERY == 0 or step.done == step.total:
        typer.echo(text, err=True)
