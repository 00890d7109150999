"""Which cells of a space a command is about: the options that choose them, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.network.config import NetworkConfig
    from leti_opt.network.limits import Limits
    from leti_opt.network.table_cost import TableCost
    from leti_opt.search_space.definition import SpaceDefinition

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

    def limits(self) -> Limits:
        """The same in numbers.

        Raises:
            InvalidInputError: a quantity is none.
        """
        from leti_opt.network.limits import Limits, quantity

        def number(text: str | None) -> float | None:
            return None if text is None else quantity(text)

        return Limits(
            vertices=self.vertices,
            min_flops=number(self.min_flops),
            max_flops=number(self.max_flops),
            max_parameters=number(self.max_parameters),
            max_memory_bytes=number(self.max_memory),
            gpu=self.gpu,
        )

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
        InvalidInputError: there is no such space.
        InvalidDefinitionError: no cell could satisfy them.
    """
    from leti_opt.search_space.named import named_space

    return named_space(name, max_vertices, max_edges, None if operations is None else operations.split(","))


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
    from leti_opt.network.limits import within_limits
    from leti_opt.search_space.enumeration import enumerate_architectures

    limits = filters.limits()
    table = enumerate_architectures(definition)
    rows, cost = within_limits(table, config, limits, costs)
    return Selection(table if len(rows) == len(table) else table[rows], cost, len(table))
