"""What a search space allows: how many vertices and edges, which operations, and where they sit.

Two kinds of cell exist. *Operation on vertex* (NAS-Bench-101) is what :class:`~leti_opt.architecture.Architecture`
holds. *Operation on edge* (NAS-Bench-201; Dong and Yang, 2020) is lowered to it: every edge of the native cell becomes
a vertex, so that one description serves everything behind the search space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from leti_opt.architecture import (
    INPUT,
    NAS_BENCH_101_LABELS,
    OUTPUT,
    Architecture,
    checked_labels,
)
from leti_opt.cell_graph import Adjacency
from leti_opt.errors import (
    DisconnectedArchitectureError,
    InvalidArchitectureError,
    InvalidDefinitionError,
    did_you_mean,
)


@dataclass(frozen=True)
class SpaceDefinition:
    """The cells that a search may visit.

    Args:
        name: what reports call it.
        operations: the operations, in the order that hashes and encodings use.
        max_vertices: with operations on vertices, the largest number of vertices, input and output included. With
            operations on edges, the number of nodes of the native cell; each pair of nodes has an edge.
        max_edges: the largest number of edges of a pruned cell; None for no limit. Only with operations on vertices.
        operation_on: where the operations sit.
        absent: with operations on edges, the operation that stands for "no edge".

    Raises:
        InvalidDefinitionError: no cell could satisfy it.

    >>> tiny = SpaceDefinition("tiny", ("conv3x3-bn-relu", "maxpool3x3"), max_vertices=4, max_edges=5)
    >>> tiny.labels
    ('conv3x3-bn-relu', 'maxpool3x3')
    >>> cell = NAS_BENCH_201.parse_native("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> str(cell.pruned()).split(":")[1]
    'nor_conv_3x3,skip_connect,avg_pool_3x3'
    """

    name: str
    operations: tuple[str, ...]
    max_vertices: int
    max_edges: int | None = None
    operation_on: Literal["vertex", "edge"] = "vertex"
    absent: str | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "operations", checked_labels(self.operations))
        except InvalidArchitectureError as error:
            raise InvalidDefinitionError(f"operations of {self.name!r}: {error}") from error
        if not isinstance(self.max_vertices, int) or self.max_vertices < 2:
            raise InvalidDefinitionError(
                f"max_vertices must be a whole number, 2 or more, not {self.max_vertices!r}; input and output make two"
            )
        if self.operation_on == "edge":
            self._check_edge_kind()
        elif self.operation_on == "vertex":
            self._check_vertex_kind()
        else:
            raise InvalidDefinitionError(f"operation_on must be 'vertex' or 'edge', not {self.operation_on!r}")

    def _check_vertex_kind(self) -> None:
        if self.absent is not None:
            raise InvalidDefinitionError(
                "absent is only for operations on edges; leave it out or set operation_on='edge'"
            )
        if self.max_edges is not None and (not isinstance(self.max_edges, int) or self.max_edges < 1):
            raise InvalidDefinitionError(f"max_edges must be a whole number, 1 or more, not {self.max_edges!r}")

    def _check_edge_kind(self) -> None:
        if self.max_edges is not None:
            raise InvalidDefinitionError("max_edges is only for operations on vertices")
        if self.absent is not None and self.absent not in self.operations:
            raise InvalidDefinitionError(
                f"absent operation {self.absent!r} is unknown; {did_you_mean(self.absent, self.operations)}"
            )
        if self.operations == (self.absent,):
            raise InvalidDefinitionError("a space needs an operation besides the absent one")

    @property
    def labels(self) -> tuple[str, ...]:
        """What :class:`~leti_opt.architecture.Architecture` calls ``labels``: the operations of a lowered cell."""
        return tuple(name for name in self.operations if name != self.absent) + ((self.absent,) if self.absent else ())

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Every possible edge ``(from, to)``, ordered by target, then source."""
        return tuple((x, y) for y in range(1, self.max_vertices) for x in range(y))

    @property
    def edge_limit(self) -> int:
        """The largest number of edges, also where none was set."""
        return len(self.edges) if self.max_edges is None else self.max_edges

    def check(self, architecture: Architecture) -> None:
        """Refuse a cell that is not of this space.

        Raises:
            InvalidArchitectureError: the message says which limit it breaks.
        """
        pruned = architecture.pruned()
        for name in pruned.operations[1:-1]:
            if name not in self.operations:
                raise InvalidArchitectureError(
                    f"operation {name!r} is not in {self.name}; {did_you_mean(name, self.operations)}"
                )
        if architecture.labels != self.labels:
            raise InvalidArchitectureError(
                f"the cell's labels {architecture.labels} are not those of {self.name}, {self.labels}; "
                "pass labels=definition.labels"
            )
        if self.operation_on == "edge":
            self.native_operations(architecture)
            return
        if len(pruned) > self.max_vertices:
            raise InvalidArchitectureError(f"{len(pruned)} vertices; {self.name} allows {self.max_vertices}")
        if len(pruned.edges) > self.edge_limit:
            raise InvalidArchitectureError(f"{len(pruned.edges)} edges; {self.name} allows {self.edge_limit}")

    def __contains__(self, architecture: object) -> bool:
        if not isinstance(architecture, Architecture):
            return False
        try:
            self.check(architecture)
        except InvalidArchitectureError:
            return False
        return True

    def lower(self, operations: Sequence[str]) -> Architecture:
        """Turn one operation per edge into a cell with operations on vertices.

        The cell has a vertex for each of :attr:`edges`, in that order, between input and output. A vertex whose
        operation is the absent one has no edges, so pruning removes it, and the native form can still be read back.

        Raises:
            DisconnectedArchitectureError: nothing leads from the first node to the last; the message has the native
                string.
        """
        self._require_edge_kind()
        names = self._checked_native(operations)
        try:
            return Architecture(self._lowered_adjacency(names), [INPUT, *names, OUTPUT], self.labels)
        except DisconnectedArchitectureError as error:
            raise DisconnectedArchitectureError(
                f"{self._native_text(names)} is disconnected: no operation leads from node 0 "
                f"to node {self.max_vertices - 1}"
            ) from error

    def native_operations(self, architecture: Architecture) -> tuple[str, ...]:
        """One operation per edge for a lowered cell.

        A cell as :meth:`lower` made it gives exactly what was lowered; any other (pruned, canonical) gives the first
        native cell that prunes to it.

        Raises:
            InvalidArchitectureError: no cell of this space prunes to it.
        """
        self._require_edge_kind()
        direct = architecture.operations[1:-1]
        if len(direct) == len(self.edges) and self._is_lowering(architecture, direct):
            return direct
        pruned = architecture.pruned()
        for names in self._embeddings(pruned):
            return names
        raise InvalidArchitectureError(
            f"{pruned} is not a cell of {self.name}: its vertices do not fit the edges of {self.max_vertices} nodes"
        )

    def parse_native(self, text: str) -> Architecture:
        """Read a cell as NAS-Bench-201 writes it: ``|op~0|+|op~0|op~1|+…``."""
        self._require_edge_kind()
        names = []
        # An operation's name may hold a plus sign too.
        groups = re.split(r"(?<=\|)\+(?=\|)", text.strip())
        for target, group in enumerate(groups, start=1):
            found = re.findall(r"\|([^|~]+)~(\d+)(?=\|)", group)
            if [int(source) for _, source in found] != list(range(target)) or not re.fullmatch(
                r"(\|[^|~]+~\d+)+\|", group
            ):
                raise InvalidArchitectureError(
                    f"{group!r} in {text!r} does not list the edges into node {target} as "
                    f"{self._native_text(self.operations[:1] * len(self.edges))} does"
                )
            names += [name for name, _ in found]
        return self.lower(names)

    def format_native(self, architecture: Architecture) -> str:
        """Write a lowered cell as NAS-Bench-201 does; :meth:`parse_native` reads it."""
        return self._native_text(self.native_operations(architecture))

    def native_index(self, architecture: Architecture) -> int:
        """The native cell as a number: one digit per edge, the last edge first, to the base of the operations."""
        base = len(self.operations)
        digits = [self.operations.index(name) for name in self.native_operations(architecture)]
        return sum(digit * base**place for place, digit in enumerate(digits))

    def from_native_index(self, index: int) -> Architecture:
        """The cell that :meth:`native_index` gives this number."""
        self._require_edge_kind()
        base, places = len(self.operations), len(self.edges)
        if not 0 <= index < base**places:
            raise InvalidArchitectureError(f"index {index} is outside 0 … {base**places - 1} of {self.name}")
        return self.lower([self.operations[index // base**place % base] for place in range(places)])

    def _require_edge_kind(self) -> None:
        if self.operation_on != "edge":
            raise InvalidDefinitionError(
                f"{self.name} has its operations on vertices; native strings are for spaces with operation_on='edge'"
            )

    def _checked_native(self, operations: Sequence[str]) -> tuple[str, ...]:
        names = tuple(operations)
        if len(names) != len(self.edges):
            raise InvalidArchitectureError(f"{len(names)} operations for the {len(self.edges)} edges of {self.name}")
        for (source, target), name in zip(self.edges, names, strict=True):
            if name not in self.operations:
                raise InvalidArchitectureError(
                    f"edge {source} -> {target} has the unknown operation {name!r}; "
                    f"{did_you_mean(str(name), self.operations)}"
                )
        return names

    def _native_text(self, names: Sequence[str]) -> str:
        groups: list[str] = [""] * (self.max_vertices - 1)
        for (source, target), name in zip(self.edges, names, strict=True):
            groups[target - 1] += f"|{name}~{source}"
        return "+".join(f"{group}|" for group in groups)

    def _lowered_adjacency(self, names: Sequence[str]) -> Adjacency:
        output = len(self.edges) + 1
        matrix = np.zeros((output + 1, output + 1), dtype=np.int8)
        present = [
            (vertex, source, target)
            for vertex, ((source, target), name) in enumerate(zip(self.edges, names, strict=True), start=1)
            if name != self.absent
        ]
        for vertex, source, target in present:
            matrix[0, vertex] |= source == 0
            matrix[vertex, output] |= target == self.max_vertices - 1
            for follower, start, _ in present:
                matrix[vertex, follower] |= start == target
        return matrix

    def _is_lowering(self, architecture: Architecture, names: Sequence[str]) -> bool:
        return set(names) <= set(self.operations) and np.array_equal(
            self._lowered_adjacency(names), architecture.adjacency
        )

    def _embeddings(self, pruned: Architecture) -> Iterator[tuple[str, ...]]:
        """Native cells that prune to the given one, in a fixed order."""
        interior = pruned.operations[1:-1]
        if not set(interior) <= set(self.operations) or self.absent in interior:
            return
        if len(interior) < len(self.edges) and self.absent is None:
            return
        complete = self._lowered_adjacency(self.labels[:1] * len(self.edges))
        for vertices in _induced(complete, pruned.adjacency):
            names = [self.absent or ""] * len(self.edges)
            for vertex, name in zip(vertices, interior, strict=True):
                names[vertex - 1] = name
            yield tuple(names)


def _induced(host: Adjacency, pattern: Adjacency) -> Iterator[list[int]]:
    """Inner vertices of ``host`` that between its ends have just the edges of ``pattern``, smallest first."""
    last = len(host) - 1

    def fits(chosen: list[int]) -> bool:
        here = [0, *chosen, last]
        there = [*range(len(chosen) + 1), len(pattern) - 1]
        return np.array_equal(host[np.ix_(here, here)], pattern[np.ix_(there, there)])

    def extend(chosen: list[int]) -> Iterator[list[int]]:
        if not fits(chosen):
            return
        if len(chosen) == len(pattern) - 2:
            yield chosen
            return
        for vertex in range(1, last):
            if vertex not in chosen:
                yield from extend([*chosen, vertex])

    return extend([])


NAS_BENCH_101 = SpaceDefinition("nasbench101", NAS_BENCH_101_LABELS, max_vertices=7, max_edges=9)
"""423,624 cells: up to 7 vertices and 9 edges (Ying et al., 2019)."""

NAS_BENCH_201 = SpaceDefinition(
    "nasbench201",
    ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
    max_vertices=4,
    operation_on="edge",
    absent="none",
)
"""15,625 labelled cells: an operation on each edge between four nodes (Dong and Yang, 2020)."""
