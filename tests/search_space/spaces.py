"""Definitions of both kinds, ordinary and extreme, that the search space's tests run over."""

from __future__ import annotations

import numpy as np

from leti_opt.architecture import Architecture
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.parametrization import ArchitectureSpace

OPERATIONS = ("conv", "pool", "skip")

ORDINARY = [
    NAS_BENCH_101,
    NAS_BENCH_201,
    SpaceDefinition("three-vertices", ("conv",), max_vertices=3),
    SpaceDefinition("one-operation", ("conv",), max_vertices=6, max_edges=7),
    SpaceDefinition("few-edges", OPERATIONS, max_vertices=7, max_edges=3),
    SpaceDefinition("two-edges", OPERATIONS, max_vertices=5, max_edges=2),
    SpaceDefinition("ten-vertices", OPERATIONS, max_vertices=10, max_edges=14),
    SpaceDefinition("no-limit", OPERATIONS, max_vertices=6),
    SpaceDefinition("always-there", OPERATIONS, max_vertices=3, operation_on="edge"),
    SpaceDefinition("there-or-not", ("none", "conv"), max_vertices=4, operation_on="edge", absent="none"),
    SpaceDefinition("absent-last", ("conv", "pool", "none"), max_vertices=3, operation_on="edge", absent="none"),
]

ONE_CELL = [
    SpaceDefinition("two-vertices", OPERATIONS, max_vertices=2),
    SpaceDefinition("one-edge", OPERATIONS, max_vertices=5, max_edges=1),
    SpaceDefinition("one-native", ("conv",), max_vertices=3, operation_on="edge"),
    SpaceDefinition("one-native-edge", ("none", "conv"), max_vertices=2, operation_on="edge", absent="none"),
]

ALL = ORDINARY + ONE_CELL
CELL = Architecture.parse("0-1,0-2,1-3,2-3,3-4:conv3x3-bn-relu,maxpool3x3,conv1x1-bn-relu")


def name_of(definition: SpaceDefinition) -> str:
    """A test's id."""
    return definition.name


def cells(definition: SpaceDefinition, count: int, seed: int = 0) -> list[Architecture]:
    """Random cells of a definition."""
    space = ArchitectureSpace(definition)
    space.random_state.seed(seed)
    return [space.sample().value for _ in range(count)]


def relabelled(cell: Architecture, random_state: np.random.RandomState) -> Architecture:
    """The same cell with its vertices in another topological order."""
    remaining, order = set(range(len(cell))), []
    while remaining:
        ready = sorted(v for v in remaining if not any(cell.adjacency[u, v] for u in remaining))
        if len(ready) > 1 and len(cell) - 1 in ready:
            ready.remove(len(cell) - 1)
        order.append(ready[random_state.randint(len(ready))])
        remaining.remove(order[-1])
    return Architecture(cell.adjacency[np.ix_(order, order)], [cell.operations[v] for v in order], cell.labels)


def space(definition: SpaceDefinition = NAS_BENCH_101, seed: int = 12) -> ArchitectureSpace:
    made = ArchitectureSpace(definition)
    made.random_state.seed(seed)
    return made
