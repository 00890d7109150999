"""``leti-opt campaign``."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from leti_opt.cli.common import (
    EXIT_DEVICE,
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    JsonOption,
    fail,
    print_json,
    reports_errors,
    seconds,
)
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.campaign.dataset import CampaignSummary
    from leti_opt.campaign.status import CampaignStatus

app = typer.Typer(
    help="Data sets of latencies: measured for hours or days, resumed after anything.", no_args_is_help=True
)

FileArgument = Annotated[Path, typer.Argument(help="The campaign's TOML file; see docs/campaigns.md.")]
_SHORTEST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 86_400.0
_PLAIN_WIDTH = 160
"""Where the output goes to a file or another program, whole lines are worth more than narrow ones."""


@app.callback()
def campaign() -> None:
    """Data sets of latencies, measured for hours or days."""


@app.command("plan")
@reports_errors
def plan(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say how many measurements are to be made, how long they take and what disk they need. Nothing is measured.

    Example: leti-opt campaign plan phones.toml
    """
    from leti_opt.campaign.dataset import DatasetCampaign

    found = DatasetCampaign(file).plan()
    if as_json:
        totals = {"lacking": found.lacking, "seconds": found.seconds}
        print_json({**asdict(found), **totals, "rows": [{**asdict(row), "lacking": row.lacking} for row in found.rows]})
        return
    from leti_opt.report.campaign_view import plan_lines, plan_row_line, plan_table

    _print_table(plan_table(found), [plan_row_line(row) for row in found.rows])
    typer.echo("\n".join(plan_lines(found)))


@app.command("run")
@reports_errors
def run(
    file: FileArgument,
    until: Annotated[
        str | None, typer.Option("--until", help="When to stop: 08:00, or after a time such as 90m or 8h.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="Address of a Dask scheduler, tcp://HOST:8786; its workers have the devices."),
    ] = None,
    retry_unstable: Annotated[
        bool, typer.Option("--retry-unstable", help="Ask once more for what was unstable on devices that measure.")
    ] = False,
    render: Annotated[
        bool, typer.Option("--render", help="For recordings: build every network's file all the same, as a rehearsal.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what is lacking. Stop it at any time, or pull the plug: the same command goes on.

    Example: leti-opt campaign run phones.toml --until 08:00
    """
    from leti_opt.campaign.dataset import DatasetCampaign
    from leti_opt.report.campaign_view import CampaignProgress

    signal.signal(signal.SIGTERM, _interrupt)  # systemd's way to stop it shall be as good as Ctrl-C
    stop = None if until is None else moment(until, datetime.now())
    made = DatasetCampaign(file)
    with CampaignProgress(sys.stderr) as progress:
        try:
            summary = made.run(stop, progress.show, retry_unstable, render, cluster)
        except KeyboardInterrupt:
            fail("stopped; everything measured is kept, the same command goes on", EXIT_INTERRUPTED)
    if as_json:
        print_json({**asdict(summary), "is_complete": summary.is_complete})
    else:
        _print_summary(summary)
    if summary.outcome.errors:
        raise typer.Exit(EXIT_DEVICE)
    if not summary.is_complete:
        raise typer.Exit(EXIT_INCOMPLETE)


@app.command("status")
@reports_errors
def status(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say how far each device is, by what the store holds.

    Example: leti-opt campaign status phones.toml
    """
    from leti_opt.campaign.dataset import DatasetCampaign

    found = DatasetCampaign(file).status()
    if as_json:
        rows = [{**asdict(row), "lacking": row.lacking} for row in found.rows]
        print_json({**asdict(found), "lacking": found.lacking, "rows": rows})
        return
    _print_status(found)


@app.command("watch")
@reports_errors
def watch(
    file: FileArgument,
    every: Annotated[str, typer.Option("--every", help="How often to look, for instance 5s.")] = "5s",
) -> None:
    """Show how far each device is, again and again, until the campaign is complete or Ctrl-C.

    Example: leti-opt campaign watch phones.toml
    """
    from leti_opt.campaign.dataset import DatasetCampaign

    pause_s = min(max(seconds(every), _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
    made = DatasetCampaign(file)
    while True:
        start = time.monotonic()
        found = made.status()
        if sys.stdout.isatty():
            click.clear()
        _print_status(found)
        if not found.lacking:
            return
        # A look at a large store takes its time, and must not take most of it.
        time.sleep(max(pause_s, 4 * (time.monotonic() - start)))


@app.command("export")
@reports_errors
def export(
    file: FileArgument,
    folder: Annotated[Path, typer.Option("--to", help="Folder of the data set; made if absent.")],
    csv: Annotated[bool, typer.Option("--csv", help="Write a CSV file, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the data set: Parquet that pandas reads alone, its card (README.md) and the networks to check it by.

    Example: leti-opt campaign export phones.toml --to phones-dataset
    """
    from leti_opt.campaign.dataset import DatasetCampaign
    from leti_opt.report.dataset_card import write_dataset

    written = write_dataset(DatasetCampaign(file), folder, csv=csv)
    if as_json:
        print_json(written)
        return
    typer.echo(f"{folder}: {written.rows:,} networks, {', '.join(written.files)}")
    typer.echo(written.statement)
    if written.without_figures:
        typer.echo(f"no figures yet of {', '.join(written.without_figures)}")
    if written.left_over:
        typer.echo(f"left there by an earlier export, and not of this one: {', '.join(written.left_over)}")


@app.command("new")
@reports_errors
def new(
    file: Annotated[Path, typer.Argument(help="Where to write it; nothing is overwritten.")] = Path("campaign.toml"),
) -> None:
    """Write a campaign's TOML file to start from, with every setting explained.

    Example: leti-opt campaign new phones.toml
    """
    from leti_opt.campaign.template import TEMPLATE

    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(TEMPLATE)
    except FileExistsError as error:
        raise InvalidInputError(f"{file} is there already; name another file") from error
    except OSError as error:
        raise InvalidInputError(f"cannot write {file}: {error.strerror}") from error
    typer.echo(f"{file}: change it, then run: leti-opt campaign plan {file}")


def moment(text: str, now: datetime) -> datetime:
    """The moment that ``--until`` means: the next time that a clock shows it, or so much later than now.

    Raises:
        InvalidInputError: it is neither.

    >>> moment("08:00", datetime(2026, 1, 1, 22, 30)).isoformat()
    '2026-01-02T08:00:00'
    >>> moment("90m", datetime(2026, 1, 1, 22, 30)).isoformat()
    '2026-01-02T00:00:00'
    """
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text.strip())
    if match is None:
        try:
            if re.fullmatch(r"\d+\.\d+", text.strip()):  # a clock's time to some, and seconds to none
                raise InvalidInputError(text)
            return now + timedelta(seconds=seconds(text))
        except OverflowError:
            raise InvalidInputError(f"{text!r} is beyond the calendar; leave --until out") from None
        except InvalidInputError:
            raise InvalidInputError(f"{text!r} is no time; write for instance 08:00, 90m or 8h") from None
    then = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)


def _interrupt(*_signal: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already, and a second one would only disturb that
    raise KeyboardInterrupt


def _print_summary(summary: CampaignSummary) -> None:
    from leti_opt.report.campaign_view import busy_lines, progress_line, progress_table

    rows = summary.outcome.rows
    _print_table(progress_table(rows), [progress_line(row) for row in rows])
    for line in busy_lines(summary.outcome.rows):
        typer.echo(line)
    for uri, error in summary.outcome.errors.items():
        typer.echo(f"{uri} was left out: {error}", err=True)
    if not summary.is_complete:
        typer.echo("not complete; everything measured is kept, the same command goes on")


def _print_status(found: CampaignStatus) -> None:
    from leti_opt.report.campaign_view import status_line, status_lines, status_table

    _print_table(status_table(found), [status_line(row) for row in found.rows])
    typer.echo("\n".join(status_lines(found)))


def _print_table(table: Any, lines: Sequence[str]) -> None:
    """Print a table, or lines where it does not fit the terminal."""
    from rich.console import Console

    from leti_opt.report.campaign_view import fits

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    if fits(table, console) or not sys.stdout.isatty():
        console.print(table)
    else:
        typer.echo("\n".join(lines))
