"""``leti-opt devices``."""

from __future__ import annotations

import typer

from leti_opt.cli import devices_setup
from leti_opt.cli.common import JsonOption, print_json, reports_errors

app = typer.Typer(help="What can measure.", no_args_is_help=True)
app.command("setup")(devices_setup.setup)


@app.callback()
def devices() -> None:
    """What can measure."""


@app.command("list")
@reports_errors
def list_command(as_json: JsonOption = False) -> None:
    """List the devices that can be named here.

    Example: leti-opt devices list
    """
    from leti_opt.device.open_device import list_devices

    rows = list_devices()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        note = f" ({row.note})" if row.note else ""
        typer.echo(f"{row.uri:22} {row.origin:10} {row.name}{note}")
