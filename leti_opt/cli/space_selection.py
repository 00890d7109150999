"""Which cells of a space a command is about: the options that choose them, and what they cost."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from leti_opt.cli.common import space_definition
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.network.config import NetworkConfig
    from leti_opt.network.table_cost import TableCost
    from leti_opt.search_space.definition import SpaceDefinition

_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

SpaceOption = Annotated[str, typer.Option("--space", help="nasbench101 or nasbench201.")]
MaxVerticesOption = Annotated[int | None, typer.Option(help="Make the space smaller or larger: its vertices.")]
MaxEdgesOption = Annotated[int | None, typer.Option(help="Make the space smaller or larger: its edges.")]
OperationsOption = Annotated[str | None, typer.Option(help="Operations of the space, joined by commas.")]
VerticesOption = Annotated[int | None, typer.Option(help="Only cells with this many vertices.")]
MinFlopsOption = Annotated[str | None, typer.Option(help="Only networks of at least so many FLOPs, such as 500M.")]
MaxFlopsOption = Annotated[str | None, typer.Option(help="Only networks of at most so many FLOPs, such as 2G.")]
MaxParametersOption = Annotated[str | None, typer.Option(help="Only networks of at most so many, such as 5M.")]
MaxMemoryOption = Annotated[
    str | None, typer.Option(help="Only networks whose activations peak at no more bytes, such as 2MiB.")
]
GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", help="Only networks that these rules forecast to fit a GPU: paper-2020, tflite-current."),
]


@dataclass(frozen=True)
class Filters:
    """What a network must keep to; None does not matter. Quantities are texts such as ``500M`` or ``2MiB``."""

    vertices: int | None = None
    min_flops: str | None = None
    max_flops: str | None = None
    max_parameters: str | None = None
    max_memory: str | None = None
    gpu: str | None = None

    @property
    def about_costs(self) -> bool:
        """Whether costs must be known to choose."""
        return any((self.min_flops, self.max_flops, self.max_parameters, self.max_memory))

    @property
    def none(self) -> bool:
        """Whether everything is chosen."""
        return self == Filters()


@dataclass(frozen=True)
class Selection:
    """The cells that were chosen.

    Args:
        table: the cells, in the space's order.
        cost: what their networks cost; None where nobody asked.
        total: cells in the space.
    """

    table: ArchitectureTable
    cost: TableCost | None
    total: int


def definition_from_options(
    name: str, max_vertices: int | None, max_edges: int | None, operations: str | None
) -> SpaceDefinition:
    """A preset space, perhaps with other limits or operations.

    Raises:
        InvalidDefinitionError: no cell could satisfy them.
    """
    definition = space_definition(name)
    changes: dict[str, Any] = {}
    if max_vertices is not None:
        changes["max_vertices"] = max_vertices
    if max_edges is not None:
        changes["max_edges"] = max_edges
    if operations is not None:
        changes["operations"] = tuple(operations.split(","))
    return replace(definition, **changes) if changes else definition


def select(definition: SpaceDefinition, config: NetworkConfig, filters: Filters, costs: bool = False) -> Selection:
    """Enumerate a space and choose from it.

    Args:
        definition: the space.
        config: how its cells become networks.
        filters: what the networks must keep to.
        costs: whether costs are wanted though no filter needs them.

    Raises:
        InvalidInputError: a quantity is none, or there are no such rules.
    """
    from leti_opt.network.cost import network_cost
    from leti_opt.search_space.enumeration import enumerate_architectures

    limits = _limits(filters)
    table = enumerate_architectures(definition)
    total = len(table)
    if filters.vertices is not None:
        table = table[table.vertices == filters.vertices]
    if filters.gpu is not None:
        from leti_opt.network.table_gpu_support import gpu_support_mask

        table = table[gpu_support_mask(table, config, filters.gpu)]
    if not (costs or filters.about_costs):
        return Selection(table, None, total)
    cost = network_cost(table, config)
    keep = np.ones(len(table), dtype=bool)
    for name, lowest, highest in limits:
        values = getattr(cost, name)
        keep &= (values >= lowest) & (values <= highest)
    return Selection(table[keep], cost[keep], total)


def _limits(filters: Filters) -> list[tuple[str, float, float]]:
    def bound(text: str | None, default: float) -> float:
        return default if text is None else quantity(text)

    return [
        ("flops", bound(filters.min_flops, 0), bound(filters.max_flops, np.inf)),
        ("parameters", 0, bound(filters.max_parameters, np.inf)),
        ("peak_memory_bytes", 0, bound(filters.max_memory, np.inf)),
    ]


def quantity(text: str) -> float:
    """A number with a unit prefix.

    Raises:
        InvalidInputError: it is none.

    >>> quantity("1.5M"), quantity("2MiB"), quantity("3e9")
    (1500000.0, 2097152.0, 3000000000.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2] not in _FACTORS:
        raise InvalidInputError(f"{text!r} is no quantity; write for instance 500M, 2G or 2MiB")
    return float(match[1]) * _FACTORS[match[2]]
