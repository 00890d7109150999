"""What ``leti-opt lut`` says while it measures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from leti_opt.campaign.lut_work import LutStep

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
