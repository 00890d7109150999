"""``leti-opt store``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leti_opt.cli.common import (
    JsonOption,
    SetOption,
    StoreOption,
    existing_store,
    network_config,
    print_json,
    reports_errors,
)
from leti_opt.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.device.device import DeviceIdentity
    from leti_opt.store.latency_store import LatencyStore

app = typer.Typer(help="What was measured before.", no_args_is_help=True)

ORIGINS = ("measured", "simulated", "replayed", "imported", "any")


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


@app.command("merge")
@reports_errors
def merge(
    other: Annotated[str, typer.Argument(help="The store to take over; it is only read.")],
    into: Annotated[str, typer.Option("--into", help="The store that takes it over; made if absent.")] = "latency.db",
    as_json: JsonOption = False,
) -> None:
    """Take over what another store holds: as a whole or not at all, and nothing twice.

    Searches, the URIs of devices and panels stay behind.

    Example: leti-opt store merge colleague.db --into latency.db
    """
    from leti_opt.store.latency_store import LatencyStore

    existing_store(other).close()
    with LatencyStore(into) as opened:
        counts = opened.merge(other)
    if as_json:
        print_json(counts)
        return
    added = {name: count for name, count in vars(counts).items() if count and not name.startswith(("known", "differ"))}
    listed = ", ".join(f"{count} {name}" for name, count in added.items()) or "nothing new"
    typer.echo(f"{opened.url}: {listed}; {counts.known_measurements} measurements were there already")
    if counts.differing_scores:
        typer.echo(f"{counts.differing_scores} scores differ there; those of {opened.url} stand")


@app.command("import")
@reports_errors
def import_table(
    file: Annotated[Path, typer.Argument(help="A .parquet or .csv file: an export of a store, or another's table.")],
    path: StoreOption = "latency.db",
    unit: Annotated[str | None, typer.Option("--unit", help="Of columns whose name has none: ms, us, s or ns.")] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="What measured it; with a column 'device', which of its rows to take."),
    ] = None,
    latency: Annotated[str | None, typer.Option("--latency", help="The column that holds the latency.")] = None,
    origin: Annotated[
        str | None, typer.Option("--origin", help="Only rows of this origin; 'any' for all, kept apart.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", "-n", help="How the cells of the table were laid out: a preset or .toml.")
    ] = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over a table: what a store exported, or what others published, checked for its unit.

    A table of others needs a column for the network (model_key, cell, architecture, adjacency and operations, or
    graph_hash) and one for the latency, such as latency_ms.

    Example: leti-opt store import pixel3.csv --unit ms --device "Pixel 3" --network nasbench201
    """
    from leti_opt.store.latency_store import LatencyStore

    if changes and network is None:
        raise InvalidInputError("--set changes a network; give --network too")
    config = None if network is None else network_config(network, changes)
    with LatencyStore(path) as opened:
        counts = opened.import_data(file, unit=unit, device=device, latency=latency, origin=origin, network=config)
    if as_json:
        print_json(counts)
        return
    typer.echo(
        f"{path}: {counts.measurements} measurements and {counts.failures} failures of {counts.networks} networks from "
        f"{file.name}; {counts.known} rows were there already"
    )
    for name in counts.devices:
        typer.echo(f"  {name}")


@app.command("export")
@reports_errors
def export(
    out: Annotated[
        Path | None, typer.Argument(help="File to write, .parquet or .csv; may be left out for a card.")
    ] = None,
    path: StoreOption = "latency.db",
    device: Annotated[
        str | None, typer.Option("--device", help="Only this device: its name or id, or a part that no other has.")
    ] = None,
    origin: Annotated[str | None, typer.Option("--origin", help=f"Only figures that are {', '.join(ORIGINS)}.")] = None,
    include_unstable: Annotated[bool, typer.Option("--include-unstable", help="Also what broke the rule.")] = False,
    include_failures: Annotated[bool, typer.Option("--include-failures", help="Also what could not run.")] = False,
    card: Annotated[
        Path | None, typer.Option("--card", help="Write a data card (.card.zip) for 'leti-opt reproduce'.")
    ] = None,
    max_file_mb: Annotated[float, typer.Option("--max-file-mb", help="Largest model file in a card.")] = 100.0,
    as_json: JsonOption = False,
) -> None:
    """Write what was measured to a table or to a data card. Units, hosts and folders become pseudonyms.

    Example: leti-opt store export latency.parquet --origin measured --card host.card.zip
    """
    if out is None and card is None:
        raise InvalidInputError("name a file to write, such as latency.parquet, or --card host.card.zip")
    if origin is not None and origin not in ORIGINS:
        raise InvalidInputError(f"unknown origin {origin!r}; {did_you_mean(origin, ORIGINS)}")
    said: dict[str, Any] = {}
    with existing_store(path) as opened:
        identity = None if device is None else _device(opened, device)
        if out is not None:
            rows = opened.export(
                out,
                origin=origin,  # type: ignore[arg-type]
                identity=identity,
                include_unstable=include_unstable,
                include_failures=include_failures,
            )
            said["table"] = {"path": str(out), "rows": rows}
            if not as_json:
                typer.echo(f"{out}: {rows} rows")  # at once: it is there even if the card is refused
        if card is not None:
            from leti_opt.report.card_export import write_card

            summary = write_card(opened, card, identity=identity, origin=origin or "measured", max_file_mb=max_file_mb)
            said["card"] = summary
    if as_json:
        print_json(said)
        return
    if card is not None:
        typer.echo(
            f"{card}: {summary.measurements} figures of {summary.networks} networks; a panel of {summary.panel} can be "
            "measured again anywhere"
        )
        typer.echo(summary.statement)
        typer.echo(f"run there: leti-opt reproduce {card.name}")


def _device(opened: LatencyStore, wanted: str) -> DeviceIdentity:
    """The one device that a name, an id or a part of them stands for."""
    from leti_opt.store.exchange import place_of

    rows = opened.to_frame(origin="any", include_unstable=True, include_failures=True, epoch="any")
    rows = rows[rows["device_digest"].notna()].drop_duplicates("device_digest")
    known = {place_of(row)[0] for row in rows.to_dict("records")}
    exact = [one for one in known if wanted in (one.name, one.digest)]
    found = exact or [one for one in known if wanted in one.name or one.digest.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    names = sorted(f"{one.name} ({one.digest[:12]})" for one in found or known)
    if not found:
        raise InvalidInputError(f"the store has no figures of {wanted!r}; it has: {', '.join(names) or 'none'}")
    raise InvalidInputError(f"{wanted!r} stands for {len(found)} devices; choose one by its id: {', '.join(names)}")
