"""``leti-opt space``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from leti_opt.cli.common import (
    JsonOption,
    SetOption,
    SpaceNetworkOption,
    network_config,
    print_json,
    reports_errors,
)
from leti_opt.cli.files import replacing
from leti_opt.cli.space_selection import (
    Filters,
    GpuOption,
    MaxEdgesOption,
    MaxFlopsOption,
    MaxMemoryOption,
    MaxParametersOption,
    MaxVerticesOption,
    MinFlopsOption,
    OperationsOption,
    Selection,
    SpaceOption,
    VerticesOption,
    definition_from_options,
    select,
)
from leti_opt.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from pandas import DataFrame

    from leti_opt.architecture import Architecture
    from leti_opt.network.config import NetworkConfig
    from leti_opt.search_space.definition import SpaceDefinition

app = typer.Typer(help="Cells and the spaces that they come from.", no_args_is_help=True)

_SORT_KEYS = ("order", "flops", "parameters", "memory")


@app.callback()
def space() -> None:
    """Cells and the spaces that they come from."""


@app.command("count")
@reports_errors
def count(
    space_name: SpaceOption = "nasbench101",
    max_vertices: MaxVerticesOption = None,
    max_edges: MaxEdgesOption = None,
    operations: OperationsOption = None,
    network: SpaceNetworkOption = None,
    changes: SetOption = None,
    vertices: VerticesOption = None,
    min_flops: MinFlopsOption = None,
    max_flops: MaxFlopsOption = None,
    max_parameters: MaxParametersOption = None,
    max_memory: MaxMemoryOption = None,
    gpu: GpuOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the unique cells of a space, all or those that meet limits.

    Example: leti-opt space count --max-flops 2G --gpu paper-2020
    """
    definition = definition_from_options(space_name, max_vertices, max_edges, operations)
    filters = Filters(vertices, min_flops, max_flops, max_parameters, max_memory, gpu)
    selection = select(definition, network_config(network or space_name, changes), filters)
    sizes, numbers = np.unique(selection.table.vertices, return_counts=True)
    by_vertices = {int(size): int(number) for size, number in zip(sizes, numbers, strict=True)}
    if as_json:
        print_json({"space": definition.name, "cells": len(selection.table), "by_vertices": by_vertices})
        return
    of_all = "" if filters.none else f" of {selection.total:,}"
    typer.echo(f"{definition.name}: {len(selection.table):,}{of_all} unique cells")
    for size, number in by_vertices.items():
        typer.echo(f"  {size} vertices  {number:>9,}")


@app.command("list")
@reports_errors
def list_cells(
    space_name: SpaceOption = "nasbench101",
    max_vertices: MaxVerticesOption = None,
    max_edges: MaxEdgesOption = None,
    operations: OperationsOption = None,
    network: SpaceNetworkOption = None,
    changes: SetOption = None,
    vertices: VerticesOption = None,
    min_flops: MinFlopsOption = None,
    max_flops: MaxFlopsOption = None,
    max_parameters: MaxParametersOption = None,
    max_memory: MaxMemoryOption = None,
    gpu: GpuOption = None,
    sort: Annotated[str, typer.Option(help=f"Order of the list: {', '.join(_SORT_KEYS)}.")] = "order",
    reverse: Annotated[bool, typer.Option("--reverse", help="The last first.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Cells to print; 0 for all.")] = 20,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all of them to a .parquet or .csv file instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List cells with the costs of their networks.

    Example: leti-opt space list --max-memory 1MiB --sort flops --reverse
    """
    if sort not in _SORT_KEYS:
        raise InvalidInputError(f"unknown order {sort!r}; {did_you_mean(sort, _SORT_KEYS)}")
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise InvalidInputError(f"cannot write {output}: name a .parquet or .csv file")
    definition = definition_from_options(space_name, max_vertices, max_edges, operations)
    filters = Filters(vertices, min_flops, max_flops, max_parameters, max_memory, gpu)
    selection = select(definition, network_config(network or space_name, changes), filters, costs=True)
    rows = _in_order(selection, sort, reverse)
    if output is not None:
        _write_frame(_frame(selection, rows), output)
        typer.echo(f"{output}: {len(rows):,} cells")
        return
    shown = rows if limit == 0 else rows[:limit]
    frame = _frame(selection, shown)
    if as_json:
        print_json(frame.to_dict("records"))
        return
    _print_frame(frame)
    if not len(rows):
        typer.echo(f"none of {selection.total:,} cells")
    elif len(shown) < len(rows):
        typer.echo(f"{len(shown)} of {len(rows):,} cells; --limit 0 prints all, -o FILE.parquet writes them")


def _in_order(selection: Selection, sort: str, reverse: bool) -> Any:
    """Rows in the order asked for; equal ones stay in the space's order."""
    if sort == "order":
        rows = np.arange(len(selection.table))
        return rows[::-1] if reverse else rows
    values = getattr(selection.cost, "peak_memory_bytes" if sort == "memory" else sort)
    return np.argsort(-values if reverse else values, kind="stable")


def _frame(selection: Selection, rows: Any) -> DataFrame:
    import pandas as pd

    table, cost = selection.table[rows], selection.cost
    assert cost is not None
    return pd.DataFrame(
        {
            "graph_hash": table.graph_hashes,
            "vertices": table.vertices,
            "edges": table.edge_counts,
            "flops": cost.flops[rows],
            "parameters": cost.parameters[rows],
            "peak_memory_bytes": cost.peak_memory_bytes[rows],
            "cell": [str(cell) for cell in table],
        }
    )


def _write_frame(frame: DataFrame, output: Path) -> None:
    with replacing(output) as temporary:
        if output.suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)


def _print_frame(frame: DataFrame) -> None:
    from rich.console import Console

    from leti_opt.report.tables import plain_table

    rows = (
        [
            row.graph_hash,
            f"{row.flops / 1e6:,.1f}",
            f"{row.parameters:,}",
            f"{row.peak_memory_bytes / 1024:,.1f}",
            row.cell,
        ]
        for row in frame.itertuples()
    )
    headings = ["hash", "MFLOPs", "parameters", "peak KiB", "cell"]
    if sys.stdout.isatty():
        Console(highlight=False).print(plain_table(headings, rows))
        return
    for row in [headings, *rows]:  # whole lines, for what reads them next
        typer.echo("\t".join(row))


@app.command("show")
@reports_errors
def show(
    cell: Annotated[str, typer.Argument(help="A hash of the space, a cell's text, or a native string.")],
    space_name: SpaceOption = "nasbench101",
    max_vertices: MaxVerticesOption = None,
    max_edges: MaxEdgesOption = None,
    operations: OperationsOption = None,
    network: SpaceNetworkOption = None,
    changes: SetOption = None,
    drawing: Annotated[Path | None, typer.Option("--drawing", help="Draw the cell into a .png, .svg or .pdf.")] = None,
    all_layers: Annotated[bool, typer.Option("--layers", help="List the layers of the whole network.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a cell: its drawing, the layers that it becomes, what its network costs, and whether a GPU may take it.

    Example: leti-opt space show 0-1,1-2:conv3x3-bn-relu --drawing cell.png
    """
    from leti_opt.network.assembly import build_layer_graph
    from leti_opt.network.cost import layer_costs, network_cost
    from leti_opt.network.gpu_rules import RULES
    from leti_opt.network.gpu_support import gpu_support

    definition = definition_from_options(space_name, max_vertices, max_edges, operations)
    network = network or space_name
    config = network_config(network, changes)
    canonical = _find(cell, definition).canonical()
    graph = build_layer_graph(canonical, config)
    cost = network_cost(graph)
    forecasts = {rules: gpu_support(graph, rules) for rules in RULES}
    facts = {
        "cell": str(canonical),
        "graph_hash": canonical.graph_hash,
        "space": definition.name,
        "vertices": len(canonical),
        "edges": len(canonical.edges),
        "network": network,
        "flops": cost.flops,
        "parameters": cost.parameters,
        "peak_memory_bytes": cost.peak_memory_bytes,
    }
    if drawing is not None:
        _draw(canonical, drawing)
    if as_json:
        print_json(
            {
                **facts,
                **canonical.to_dict(),
                "gpu_forecast": {rules: forecast.supported for rules, forecast in forecasts.items()},
                "layers": layer_costs(graph),
            }
        )
        return
    for key, value in facts.items():
        typer.echo(f"{key:21} {value:,}" if isinstance(value, int) else f"{key:21} {value}")
    for rules, forecast in forecasts.items():
        reasons = sorted({refusal.reason for refusal in forecast.refusals})
        typer.echo(f"GPU by {rules:15}{'fits' if forecast.supported else 'refused: ' + '; '.join(reasons)} (forecast)")
    for row, name in zip(canonical.adjacency.tolist(), canonical.operations, strict=True):
        typer.echo(f"  {' '.join(map(str, row))}  {name}")
    _print_layers(canonical, config, all_layers)
    if drawing is not None:
        typer.echo(f"drawn into {drawing}")


def _find(cell: str, definition: SpaceDefinition) -> Architecture:
    from leti_opt.architecture import Architecture
    from leti_opt.search_space.enumeration import enumerate_architectures

    if re.fullmatch(r"[0-9a-fA-F]{32}", cell):
        table = enumerate_architectures(definition)
        return table[table.find(cell.lower())]
    architecture = definition.parse_native(cell) if cell.startswith("|") else Architecture.parse(cell)
    definition.check(architecture)
    return architecture


def _print_layers(cell: Architecture, config: NetworkConfig, whole: bool) -> None:
    """The layers of the network, or of one cell of its first stack."""
    from rich.console import Console

    from leti_opt.network.assembly import build_layer_graph
    from leti_opt.network.cost import layer_costs
    from leti_opt.report.tables import plain_table

    title = "Layers:"
    if not whole and config.scope == "stacked":
        config = config.changed(scope="cell", input_shape=(*config.input_shape[:2], config.filters))
        title = "Layers of one cell of the first stack (--layers lists those of the whole network):"
    typer.echo(f"\n{title}")
    rows = [
        ["x".join(map(str, entry.shape)), f"{entry.flops / 1e6:,.2f}", f"{entry.parameters:,}", entry.name]
        for entry in layer_costs(build_layer_graph(cell, config))
    ]
    Console(highlight=False).print(plain_table(["shape", "MFLOPs", "parameters", "layer"], rows))


def _draw(cell: Architecture, output: Path) -> None:
    if output.suffix not in (".png", ".svg", ".pdf"):
        raise InvalidInputError(f"cannot draw {output}: name a .png, .svg or .pdf file")
    import matplotlib.figure

    from leti_opt.report.cell_drawing import draw_cell

    figure = matplotlib.figure.Figure(figsize=(4, 5), layout="constrained")
    draw_cell(figure.subplots(), cell, cell.graph_hash)
    with replacing(output) as temporary:
        figure.savefig(temporary, dpi=150)
