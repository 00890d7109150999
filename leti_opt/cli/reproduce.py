"""``leti-opt reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import DeviceOption, JsonOption, StoreOption, print_json, reports_errors
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, watch_aloud

if TYPE_CHECKING:
    from leti_opt.report.reproduction import Reproduction


@reports_errors
def reproduce(
    card: Annotated[Path, typer.Argument(help="Data card, as 'leti-opt store export --card' writes it.")],
    device: DeviceOption = "host-cpu",
    store: StoreOption = "reproduce.db",
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only so many networks, spread over the card's latencies.")
    ] = None,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the networks of a data card here, by the card's protocol, and compare.

    Stop it at any time; the same command goes on.

    Example: leti-opt reproduce phone.card.zip --device host-cpu
    """
    from leti_opt.device.open_device import open_device
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.report.card import read_card
    from leti_opt.report.reproduction import rebuild
    from leti_opt.report.reproduction import reproduce as measure_card
    from leti_opt.store.latency_store import LatencyStore

    found = read_card(card)
    canary = canary_of(pace, new_pace)
    with open_device(device) as opened:
        networks = rebuild(found, limit)
        if not as_json:
            typer.echo(found.statement)
            typer.echo(f"measuring {len(networks)} networks of the card on {opened.identity.name}")
        with LatencyStore(store) as results:
            service = MeasuringService(opened, results, found.protocol, canary=canary)
            watch_aloud(service)
            outcome = measure_card(found, networks, service, lambda line: typer.echo(line, err=True))
    if as_json:
        print_json({**vars(outcome), "verdict": outcome.comparison.verdict()})
    else:
        _print(outcome)


def _print(outcome: Reproduction) -> None:
    from leti_opt.report.comparison_text import comparison_lines

    typer.echo(f"\n{'card, ms':>10} {'here, ms':>10}  network")
    for network in outcome.networks:
        here = "-" if network.here_ms is None else f"{network.here_ms:.3f}"
        note = f"  ({network.note})" if network.note else ""
        typer.echo(f"{network.there_ms:10.3f} {here:>10}  {network.name}{note}")
    typer.echo("")
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    for line in comparison_lines(outcome.comparison):
        typer.echo(line)
    typer.echo(f"\n{outcome.comparison.verdict('the card', 'this device')}")
