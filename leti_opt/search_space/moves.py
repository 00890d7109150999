"""Small steps from one cell of a definition to another: what mutation and recombination are made of.

A move takes a cell, its definition and a random state, and returns a valid cell that differs as the move's name says,
or None where there is no such cell. Cells with operations on vertices come pruned and leave pruned; cells with
operations on edges are lowered ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from leti_opt.architecture import INPUT, OUTPUT, Architecture
from leti_opt.errors import DisconnectedArchitectureError
from leti_opt.search_space.definition import SpaceDefinition
from leti_opt.search_space.repair import Edge, Margins, cell_from_edges, decode_edges, repaired_edges, useful_edges

Move = Callable[[Architecture, SpaceDefinition, np.random.RandomState], Architecture | None]
T = TypeVar("T")

_MOST_MOVES = 40


def moves_of(definition: SpaceDefinition) -> tuple[Move, ...]:
    """The moves for the definition's kind of cell."""
    if definition.operation_on == "edge":
        return add_operation, remove_operation, move_operation, replace_operation
    return add_edge, remove_edge, rewire_edge, relabel_vertex, insert_vertex, bypass_vertex


def mutated(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState, further: float = 0.2
) -> Architecture:
    """Another cell, one move away or a few.

    Args:
        cell: of the definition.
        definition: what is allowed.
        random_state: the only source of randomness.
        further: the chance of another move after each one.

    Returns:
        A different cell, or the same one where the definition allows no other.
    """
    moved = cell
    for _ in range(_MOST_MOVES):
        moved = _one_move(moved, definition, random_state)
        if random_state.rand() >= further and moved != cell:
            break
    return moved


def _one_move(cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState) -> Architecture:
    for move in _shuffled(moves_of(definition), random_state):
        moved = move(cell, definition, random_state)
        if moved is not None:
            return moved
    return cell


def add_edge(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Join two vertices that were not joined."""
    missing = _missing_edges(cell)
    if not missing or len(cell.edges) >= definition.edge_limit:
        return None
    return _with_edges(cell, [*cell.edges, _drawn(missing, random_state)])


def remove_edge(
    cell: Architecture,
    definition: SpaceDefinition,  # noqa: ARG001 - every move takes the same arguments
    random_state: np.random.RandomState,
) -> Architecture | None:
    """Take out an edge, and the vertices that are then on no path."""
    for edge in _shuffled(cell.edges, random_state):
        kept = useful_edges([other for other in cell.edges if other != edge], len(cell))
        if kept:
            return _with_edges(cell, kept)
    return None


def rewire_edge(
    cell: Architecture,
    definition: SpaceDefinition,  # noqa: ARG001
    random_state: np.random.RandomState,
) -> Architecture | None:
    """Move one end of an edge to another vertex; vertices that are then on no path go."""
    options = [(old, new) for old in cell.edges for new in _missing_edges(cell) if old[0] == new[0] or old[1] == new[1]]
    for old, new in _shuffled(options, random_state):
        kept = useful_edges([new, *(edge for edge in cell.edges if edge != old)], len(cell))
        if new in kept:
            return _with_edges(cell, kept)
    return None


def relabel_vertex(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Give one vertex another operation."""
    if len(cell) == 2 or len(definition.operations) == 1:
        return None
    vertex = random_state.randint(1, len(cell) - 1)
    names = list(cell.operations)
    names[vertex] = _drawn([name for name in definition.operations if name != names[vertex]], random_state)
    return Architecture(cell.adjacency, names, cell.labels)


def insert_vertex(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Put a new vertex in the middle of an edge."""
    if len(cell) >= definition.max_vertices or len(cell.edges) >= definition.edge_limit:
        return None
    source, target = _drawn(cell.edges, random_state)
    edges = [(x + (x >= target), y + (y >= target)) for x, y in cell.edges if (x, y) != (source, target)]
    edges += [(source, target), (target, target + 1)]
    names = [*cell.operations[:target], _drawn(definition.operations, random_state), *cell.operations[target:]]
    return cell_from_edges(edges, names, cell.labels)


def bypass_vertex(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Take out a vertex and join each vertex that fed it to each that it fed."""
    for vertex in _shuffled(range(1, len(cell) - 1), random_state):
        sources = [x for x, y in cell.edges if y == vertex]
        targets = [y for x, y in cell.edges if x == vertex]
        edges = {edge for edge in cell.edges if vertex not in edge} | {(x, y) for x in sources for y in targets}
        if len(edges) <= definition.edge_limit:
            return _with_edges(cell, sorted(edges))
    return None


def add_operation(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Put an operation on an edge that has none."""
    names = definition.native_operations(cell)
    places = [place for place, name in enumerate(names) if name == definition.absent]
    if not places:
        return None
    return _with_operation(definition, names, _drawn(places, random_state), _drawn(_real(definition), random_state))


def remove_operation(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Take the operation off an edge; some path from the first node to the last stays."""
    if definition.absent is None:
        return None
    names = definition.native_operations(cell)
    places = [place for place, name in enumerate(names) if name != definition.absent]
    for place in _shuffled(places, random_state):
        moved = _with_operation(definition, names, place, definition.absent)
        if moved is not None:
            return moved
    return None


def move_operation(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Move an operation to an edge that has none and shares a node with the old one."""
    names = definition.native_operations(cell)
    options = [
        (old, new)
        for old, name in enumerate(names)
        for new, other in enumerate(names)
        if name != definition.absent == other and set(definition.edges[old]) & set(definition.edges[new])
    ]
    for old, new in _shuffled(options, random_state):
        swapped = list(names)
        swapped[old], swapped[new] = swapped[new], swapped[old]
        moved = _lowered(definition, swapped)
        if moved is not None:
            return moved
    return None


def replace_operation(
    cell: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture | None:
    """Put another operation on an edge that has one."""
    names = definition.native_operations(cell)
    places = [place for place, name in enumerate(names) if name != definition.absent]
    place = _drawn(places, random_state)
    others = [name for name in _real(definition) if name != names[place]]
    if not others:
        return None
    return _with_operation(definition, names, place, _drawn(others, random_state))


def graft(
    first: Architecture, second: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture:
    """The beginning of one cell with the end of another.

    Up to a drawn vertex (or edge, where those hold the operations) the operations and the edges that lead there are the
    first cell's, from there on the second's. What does not fit together is repaired; edges that both cells have are
    the last to go.
    """
    if definition.operation_on == "edge":
        return _graft_edges(first, second, definition, random_state)
    vertices = max(len(first), len(second))
    if vertices == 2:
        return first
    cut = int(random_state.randint(2, vertices))
    heads, tails = _edges_in(first, vertices), _edges_in(second, vertices)
    margins: Margins = {(x, y): -1.0 for y in range(1, vertices) for x in range(y)}
    for edge in (edge for edge in margins if edge in (heads if edge[1] < cut else tails)):
        margins[edge] = 2.0 if edge in heads and edge in tails else 1.0
    edges = repaired_edges(margins, vertices, definition.edge_limit)
    names = [INPUT, *(_name_at(vertex, cut, first, second) for vertex in range(1, vertices - 1)), OUTPUT]
    return cell_from_edges(edges, names, first.labels)


def _graft_edges(
    first: Architecture, second: Architecture, definition: SpaceDefinition, random_state: np.random.RandomState
) -> Architecture:
    heads, tails = definition.native_operations(first), definition.native_operations(second)
    cut = int(random_state.randint(1, len(heads))) if len(heads) > 1 else 1
    spare = _real(definition)[0]
    margins, names = [], []
    for own, other in zip([*heads[:cut], *tails[cut:]], [*tails[:cut], *heads[cut:]], strict=True):
        margins.append(1.0 if own != definition.absent else -0.5 if other != definition.absent else -1.0)
        names.append(next(name for name in (own, other, spare) if name != definition.absent))
    return decode_edges(definition, margins, names)


def _name_at(vertex: int, cut: int, first: Architecture, second: Architecture) -> str:
    """The operation of an inner vertex; of the other cell if the one whose turn it is has no such vertex."""
    chosen, other = (first, second) if vertex < cut else (second, first)
    return chosen.operations[vertex] if vertex < len(chosen) - 1 else other.operations[vertex]


def _edges_in(cell: Architecture, vertices: int) -> set[Edge]:
    """The cell's edges when its output is the last of so many vertices."""
    output = len(cell) - 1
    return {(x, vertices - 1 if y == output else y) for x, y in cell.edges}


def _missing_edges(cell: Architecture) -> list[Edge]:
    return [(x, y) for y in range(1, len(cell)) for x in range(y) if not cell.adjacency[x, y]]


def _with_edges(cell: Architecture, edges: Sequence[Edge]) -> Architecture:
    return cell_from_edges(edges, cell.operations, cell.labels)


def _real(definition: SpaceDefinition) -> list[str]:
    return [name for name in definition.operations if name != definition.absent]


def _with_operation(definition: SpaceDefinition, names: Sequence[str], place: int, name: str) -> Architecture | None:
    return _lowered(definition, [*names[:place], name, *names[place + 1 :]])


def _lowered(definition: SpaceDefinition, names: Sequence[str]) -> Architecture | None:
    try:
        return definition.lower(names)
    except DisconnectedArchitectureError:
        return None


def _drawn(options: Sequence[T], random_state: np.random.RandomState) -> T:
    return options[int(random_state.randint(len(options)))]


def _shuffled(options: Sequence[T], random_state: np.random.RandomState) -> list[T]:
    return [options[int(index)] for index in random_state.permutation(len(options))]
