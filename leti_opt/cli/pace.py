"""How a device is watched while a command measures on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leti_opt.objective.canary import CanarySettings
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.objective.service import LatencyService

PaceOption = Annotated[
    str,
    typer.Option(
        "--pace",
        help="usual: measure again what was measured while the device was not itself. quiet: only at its quickest "
        "level, however long that takes. off: do not watch it.",
    ),
]
NewPaceOption = Annotated[
    bool, typer.Option("--new-pace", help="Take the device's present pace for its usual one, whatever was stored.")
]


def canary_of(pace: str, new_pace: bool) -> CanarySettings:
    """The settings that the two options stand for.

    Raises:
        InvalidProtocolError: no such pace.
    """
    from leti_opt.objective.canary import CanarySettings

    return CanarySettings(pace=pace, renew=new_pace)  # type: ignore[arg-type]  # it checks the word itself


def watch_aloud(service: LatencyService) -> None:
    """Print on the error stream when a device leaves its usual pace or is set aside, and when it is back."""
    service.notify = _say


def warn_if_busy(service: MeasuringService) -> None:
    """Say on the error stream if this machine is busy, and what that will cost."""
    from leti_opt.report.busy import forecast_busy

    forecast = forecast_busy(service)
    for line in [] if forecast is None else forecast.lines():
        _say(line)


def _say(line: str) -> None:
    typer.echo(line, err=True)
