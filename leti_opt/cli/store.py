"""``leti-opt store``."""

from __future__ import annotations

from typing import Annotated

import typer

from leti_opt.cli.common import JsonOption, existing_store, print_json, reports_errors

app = typer.Typer(help="What was measured before.", no_args_is_help=True)


@app.callback()
def store() -> None:
    """What was measured before."""


@app.command("info")
@reports_errors
def info(
    path: Annotated[str, typer.Argument(help="The store's file.")] = "latency.db",
    as_json: JsonOption = False,
) -> None:
    """Say what a store holds.

    Example: leti-opt store info latency.db
    """
    with existing_store(path) as opened:
        facts = opened.info()
    if as_json:
        print_json(facts)
        return
    typer.echo(f"{facts.url}: schema {facts.schema_version}, {facts.size_bytes / 1024:.0f} KiB")
    typer.echo(
        f"{facts.measurements} measurements ({facts.unstable} unstable) of {facts.models} networks, "
        f"{facts.failures} failures, {facts.scores} scores, {facts.searches} searches with {facts.evaluations} answers"
    )
    for device in facts.devices:
        typer.echo(
            f"  {device.name}: {device.measurements} {device.origin}, {device.epochs} epoch(s), id {device.digest[:12]}"
        )
