"""``leti-opt devices``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from leti_opt.cli import devices_setup
from leti_opt.cli.common import JsonOption, print_json, reports_errors

if TYPE_CHECKING:
    from leti_opt.device.android.listing import PhoneRow

app = typer.Typer(help="What can measure.", no_args_is_help=True)
app.command("setup")(devices_setup.setup)


@app.callback()
def devices() -> None:
    """What can measure."""


@app.command("list")
@reports_errors
def list_command(as_json: JsonOption = False) -> None:
    """List the devices that can be named here, and the phones that adb knows with their state.

    Example: leti-opt devices list
    """
    from leti_opt.device.open_device import list_devices

    rows = list_devices()
    phones, no_adb = _phones()
    if as_json:
        if no_adb:
            typer.echo(f"phones cannot be listed: {no_adb}", err=True)
        print_json([*rows, *({"uri": _uri(phone), **asdict(phone)} for phone in phones)])
        return
    width = max(len(uri) for uri in (*(row.uri for row in rows), *map(_uri, phones)))
    for row in rows:
        note = f" ({row.note})" if row.note else ""
        typer.echo(f"{row.uri:{width}} {row.origin:10} {row.name}{note}")
    for phone in phones:
        typer.echo("\n".join(_phone_lines(phone, width)))
    if no_adb:
        typer.echo(f"phones cannot be listed: {no_adb}")
    elif not phones:
        typer.echo("no phone is connected; see docs/phones.md")


def _phones() -> tuple[list[PhoneRow], str | None]:
    """The phones that adb knows, or why there is no adb."""
    from leti_opt.device.android.listing import list_phones
    from leti_opt.errors import DeviceError

    try:
        return list_phones(), None
    except DeviceError as error:
        return [], str(error)


def _uri(phone: PhoneRow) -> str:
    return f"android:{phone.address}/cpu"


def _phone_lines(phone: PhoneRow, width: int) -> list[str]:
    battery = [
        None if phone.battery_percent is None else f"battery {phone.battery_percent} %",
        None if phone.battery_c is None else f"{phone.battery_c:g} °C",
    ]
    android = f"Android {phone.android_version}" if phone.android_version else None
    about = ", ".join(filter(None, [phone.soc, android, phone.abi, *battery, phone.state]))
    lines = [f"{_uri(phone):{width}} {'measured':10} {phone.model or 'unknown phone'} ({about})"]
    return [*lines, f"{'':{width}} {'':10} {phone.advice}"] if phone.advice else lines
