"""How many cells a search space has, counted without making them."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, factorial

from leti_opt.edge_bits import words_for
from leti_opt.errors import SpaceTooLargeError
from leti_opt.search_space.definition import SpaceDefinition

_MOST_VERTICES_TO_COUNT = 64
_BYTES_ANYWAY = 1 << 20


@dataclass(frozen=True)
class SizeEstimate:
    """How many cells a space has and what enumerating them takes.

    Args:
        labelled_cells: pruned cells, each in every order of its vertices that the space allows; exact.
        cells_at_least: a bound on the unique ones.
        cells_at_most: likewise.
        bytes_at_least: a bound on the memory that the enumeration takes at its peak, in bytes, without hashes.
        bytes_at_most: likewise.
    """

    labelled_cells: int
    cells_at_least: int
    cells_at_most: int
    bytes_at_least: int
    bytes_at_most: int


def estimate_size(definition: SpaceDefinition) -> SizeEstimate:
    """Count the labelled cells of a space, and bound the unique ones and the memory for them.

    Raises:
        SpaceTooLargeError: the cells have so many vertices that even counting takes too long.

    >>> from leti_opt.search_space.definition import NAS_BENCH_101
    >>> size = estimate_size(NAS_BENCH_101)
    >>> size.labelled_cells, size.cells_at_least <= 423624 <= size.cells_at_most
    (1293208, True)
    """
    nodes = largest_size(definition)
    if nodes > _MOST_VERTICES_TO_COUNT:
        raise SpaceTooLargeError(
            f"the cells of {definition.name} have up to {nodes} vertices, too many to count; {remedy(definition)}"
        )
    parts = _vertex_kind(definition, nodes) if definition.operation_on == "vertex" else _edge_kind(definition)
    at_least = sum(part.at_least for part in parts)
    at_most = sum(part.labelled for part in parts)
    vertices = max(part.vertices for part in parts)
    a_row = 1 + 4 * words_for(vertices) + vertices - 2
    bytes_at_least = max(at_least * a_row, *(part.bytes_at_least for part in parts))
    bytes_at_most = _BYTES_ANYWAY + max(part.bytes_at_most for part in parts) + 2 * at_most * a_row
    return SizeEstimate(at_most, at_least, at_most, bytes_at_least, bytes_at_most)


def largest_size(definition: SpaceDefinition) -> int:
    """The most vertices that a pruned cell has; with operations on edges, of the native cell.

    >>> largest_size(SpaceDefinition("few edges", ("conv",), max_vertices=7, max_edges=3))
    4
    """
    # Every vertex but the input has an edge into it.
    return min(definition.max_vertices, definition.edge_limit + 1)


def real_operations(definition: SpaceDefinition) -> int:
    """How many operations a vertex of a pruned cell can have."""
    return len(definition.operations) - (definition.absent is not None)


@dataclass(frozen=True)
class _Part:
    """The cells of one size.

    Args:
        nodes: vertices of the graphs that are enumerated; with operations on edges, of the native cell.
        vertices: vertices of the cells.
        masks: how many structures, in all orders of the nodes.
        labelled: how many cells, likewise.
        codes: labelings of one structure.
        alike: how many labelled cells may be the same cell.
    """

    nodes: int
    vertices: int
    masks: int
    labelled: int
    codes: int
    alike: int

    @property
    def at_least(self) -> int:
        return -(-self.labelled // self.alike)

    @property
    def bytes_at_least(self) -> int:
        """The masks, their swaps and the codes themselves."""
        return self.masks * 8 * max(1, self.nodes - 2) + self.codes * 8

    @property
    def bytes_at_most(self) -> int:
        """With what numpy and Python need in between, as seen over many definitions."""
        a_structure = 60 + 16 * self.nodes + self.vertices**2
        return self.masks * a_structure + self.codes * (40 + 9 * self.vertices)


def _vertex_kind(definition: SpaceDefinition, largest: int) -> list[_Part]:
    parts = []
    for vertices in range(2, largest + 1):
        masks = _pruned_graphs(vertices, definition.edge_limit)
        codes = len(definition.operations) ** (vertices - 2)
        parts.append(_Part(vertices, vertices, masks, masks * codes, codes, factorial(vertices - 2)))
    return parts


def _edge_kind(definition: SpaceDefinition) -> list[_Part]:
    nodes, choices = definition.max_vertices, real_operations(definition)
    if definition.absent is None:
        edges = len(definition.edges)
        # With all edges the nodes have one order only, so no two labelings are the same cell.
        return [_Part(nodes, edges + 2, 1, choices**edges, choices**edges, 1)]
    parts = []
    for used in range(2, nodes + 1):
        edges = used * (used - 1) // 2
        places = comb(nodes - 2, used - 2)
        labelled = places * _pruned_graphs(used, edges, choices)
        # Equal cells differ in which nodes are used and in their order.
        masks = _pruned_graphs(used, edges)
        parts.append(_Part(used, edges + 2, masks, labelled, choices**edges, places * factorial(used - 2)))
    return parts


def _pruned_graphs(vertices: int, edge_limit: int, weight: int = 1) -> int:
    """Number of pruned structures with at most so many edges; each counts ``weight`` to the power of its edges.

    Filled column by column. What is to come depends on the number of vertices without an edge out of them alone, and on
    the edges so far. A count by edges is a polynomial, kept as one number with a field of bits for each power.
    """
    all_edges = vertices * (vertices - 1) // 2
    limited = edge_limit < all_edges
    field_bits = sum(comb(all_edges, edges) for edges in range(edge_limit + 1)).bit_length() if limited else 0
    mask = (1 << field_bits * (edge_limit + 1)) - 1
    edge = weight << field_bits

    def shortened(counts: int) -> int:
        return counts & mask if limited else counts

    by_pending = {1: 1}
    for column in range(1, vertices):
        longer: dict[int, int] = {}
        for pending, counts in by_pending.items():
            others = shortened(counts * (1 + edge) ** (column - pending))
            if column == vertices - 1:
                longer[0] = longer.get(0, 0) + shortened(others * edge**pending)
                continue
            for taken in range(pending + 1):
                # A column takes at least one edge.
                filled = (others - counts if taken == 0 else others) * comb(pending, taken) * edge**taken
                left = pending - taken + 1
                longer[left] = longer.get(left, 0) + shortened(filled)
        by_pending = longer
    (counts,) = by_pending.values()
    field = (1 << field_bits) - 1
    return sum(counts >> field_bits * edges & field for edges in range(edge_limit + 1)) if limited else counts


def remedy(definition: SpaceDefinition) -> str:
    """What to change in a definition that is too large."""
    if definition.operation_on == "vertex":
        return "lower max_edges or max_vertices, take fewer operations, or draw samples with ArchitectureSpace"
    return "lower max_vertices, take fewer operations, or draw samples with ArchitectureSpace"
