"""The ``leti-opt`` command. Each command loads what it needs when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import io
import sys

import typer

from leti_opt.cli import (
    accuracy,
    build,
    campaign,
    compare,
    devices,
    lut,
    measure,
    predictor,
    reproduce,
    search,
    space,
    store,
)
from leti_opt.cli.common import EXIT_CODES, quieten_tensorflow

app = typer.Typer(
    name="leti-opt",
    help="Measured latency of neural networks, and searches for fast and accurate ones.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("measure")(measure.measure)
app.command("compare")(compare.compare)
app.command("reproduce")(reproduce.reproduce)
app.command("search")(search.search)
app.command("build")(build.build)
app.command("convert")(build.convert)
app.add_typer(accuracy.app, name="accuracy")
app.add_typer(campaign.app, name="campaign")
app.add_typer(devices.app, name="devices")
app.add_typer(lut.app, name="lut")
app.add_typer(predictor.app, name="predictor")
app.add_typer(space.app, name="space")
app.add_typer(store.app, name="store")


def main() -> None:
    """Entry point of the console script."""
    quieten_tensorflow()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ° or ± shall not end a campaign
    app()


if __name__ == "__main__":
    main()
