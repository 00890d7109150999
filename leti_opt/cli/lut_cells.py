"""``leti-opt lut cells``: a table of every layer or kernel that a space's cells consist of."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import (
    EXIT_INFEASIBLE,
    EXIT_UNSTABLE,
    JsonOption,
    MinRunsOption,
    NetworkOption,
    SetOption,
    StoreOption,
    network_config,
    print_json,
    reports_errors,
    space_definition,
)
from leti_opt.cli.files import check_file, replacing
from leti_opt.cli.lut_steps import OrderSeedOption, PlanOption, PrepareOption, RetryOption, StudyProgress
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, watch_aloud
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.campaign.block_study import BlockStudy
    from leti_opt.predictor.lut import LatencyTable


@reports_errors
def cells(
    space: Annotated[
        str | None, typer.Option("--space", help="nasbench101 or nasbench201: what all of its cells consist of.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--cells", help="In place of a space: a file of cells, as 'leti-opt space list' writes."),
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="URI of a device that runs files.")] = "host-cpu",
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    granularity: Annotated[
        str, typer.Option("--granularity", help="kernel (operators of the files) or layer (of the Keras models).")
    ] = "kernel",
    min_runs: MinRunsOption = None,
    seed: OrderSeedOption = 0,
    plan: PlanOption = False,
    prepare: PrepareOption = False,
    retry_unstable: RetryOption = False,
    table: Annotated[Path | None, typer.Option("--table", help="Keep the entries in this .parquet file.")] = None,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure each different layer or kernel of cells' networks once: a table that predicts all of these cells.

    Example: leti-opt lut cells --space nasbench101 --network small --device 'host-cpu?cores=0' --table small.parquet
    """
    if (space is None) == (file is None):
        raise InvalidInputError("name a --space or a file of --cells: one of the two")
    if table is None and not plan:
        raise InvalidInputError("name the .parquet file that the entries go to with --table, or ask for --plan")
    if table is not None:
        check_file("--table", table, ".parquet")
    config = network_config(network, changes)
    from leti_opt.campaign.block_study import BlockStudy
    from leti_opt.campaign.lut_service import study_protocol
    from leti_opt.device.open_device import open_device

    wanted, canary = _table_of(space, file), canary_of(pace, new_pace)
    with ExitStack() as stack:
        opened = stack.enter_context(open_device(device))
        protocol = study_protocol(opened, min_runs)
        study = stack.enter_context(
            BlockStudy(wanted, config, opened, store, granularity, protocol, canary=canary, seed=seed)  # type: ignore[arg-type]
        )
        if plan:
            _show_plan(study, as_json)
            return
        watch_aloud(study.service)
        with StudyProgress() as progress:
            if prepare:
                study.prepare(progress.step)
            found = study.run(progress.step, retry_unstable)
        assert table is not None, "asked for above"
        with replacing(table) as temporary:
            found.save(temporary)
        _report(study, found, table, as_json)


def _table_of(space: str | None, file: Path | None) -> ArchitectureTable:
    from leti_opt.cli.predictor_cells import read_cells
    from leti_opt.search_space.enumeration import enumerate_architectures

    if file is not None:
        return read_cells(file)
    assert space is not None, "one of the two was named"
    return enumerate_architectures(space_definition(space))


def _show_plan(study: BlockStudy, as_json: bool) -> None:
    found = study.plan()
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{study.service.device.uri}: the networks of {found.cells:,} cells consist of {found.pieces} different "
        f"{study.granularity}s; {found.stored} measured already, {found.to_measure} to measure"
    )
    for reason in found.refused:
        typer.echo(f"  {reason}")


def _report(study: BlockStudy, found: LatencyTable, path: Path, as_json: bool) -> None:
    entries = found.entries.values()
    failed = [entry for entry in entries if entry.latency_ms is None]
    unstable = [entry for entry in entries if entry.latency_ms is not None and not entry.stable]
    refused = study.plan().refused
    if as_json:
        counts = {"failed": len(failed), "unstable": len(unstable), "refused": len(refused)}
        print_json({"table": str(path), "granularity": found.granularity, "entries": len(found), **counts})
    else:
        typer.echo(
            f"{path}: {len(found)} {found.granularity} entries of {found.origin.device}, {len(unstable)} unstable"
        )
        for entry in failed:
            typer.echo(f"no figure: {entry.operation} {entry.description}: {entry.reason}")
        for reason in refused:
            typer.echo(f"no figure: {reason}")
    if failed or refused:
        raise typer.Exit(EXIT_INFEASIBLE)
    if unstable:
        raise typer.Exit(EXIT_UNSTABLE)
