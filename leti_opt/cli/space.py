"""``leti-opt space``."""

from __future__ import annotations

from typing import Annotated

import typer

from leti_opt.cli.common import (
    JsonOption,
    SetOption,
    SpaceNetworkOption,
    network_config,
    print_json,
    reports_errors,
    space_definition,
)

app = typer.Typer(help="Cells and the spaces that they come from.", no_args_is_help=True)


@app.callback()
def space() -> None:
    """Cells and the spaces that they come from."""


@app.command("show")
@reports_errors
def show(
    cell: Annotated[str, typer.Argument(help="A cell's text, or a native string of NAS-Bench-201.")],
    space_name: Annotated[str, typer.Option("--space", help="nasbench101 or nasbench201.")] = "nasbench101",
    network: SpaceNetworkOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a cell: canonical form, hash, edges, and what its network costs.

    Example: leti-opt space show 0-1,1-2:conv3x3-bn-relu
    """
    from leti_opt.architecture import Architecture
    from leti_opt.network.cost import network_cost

    definition = space_definition(space_name)
    network = network or space_name
    config = network_config(network, changes)
    architecture = definition.parse_native(cell) if cell.startswith("|") else Architecture.parse(cell)
    definition.check(architecture)
    canonical = architecture.canonical()
    cost = network_cost(canonical, config)
    facts = {
        "cell": str(canonical),
        "graph_hash": canonical.graph_hash,
        "space": definition.name,
        "vertices": len(canonical),
        "edges": len(canonical.edges),
        "network": network,
        "flops": cost.flops,
        "parameters": cost.parameters,
    }
    if as_json:
        print_json({**facts, **canonical.to_dict()})
        return
    for key, value in facts.items():
        typer.echo(f"{key:12} {value:,}" if isinstance(value, int) else f"{key:12} {value}")
    for row, name in zip(canonical.adjacency.tolist(), canonical.operations, strict=True):
        typer.echo(f"  {' '.join(map(str, row))}  {name}")
