"""One neural cell: an adjacency matrix and an operation for every vertex.

The format is NAS-Bench-101's (Ying et al., 2019): vertex 0 is the input, the last vertex the
output, and every edge leads from a lower to a higher vertex. Nothing here knows of channels or layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from leti_opt.cell_graph import (
    Adjacency,
    canonical_order,
    find_cycle,
    graph_hash,
    on_a_path,
    reaches_output,
)
from leti_opt.errors import (
    DisconnectedArchitectureError,
    InvalidArchitectureError,
    did_you_mean,
)

INPUT = "input"
OUTPUT = "output"
NAS_BENCH_101_LABELS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")

_NAME = re.compile(r"[A-Za-z0-9_.+-]+")


class Architecture:
    """An immutable, hashable cell.

    Two architectures are equal when their canonical pruned cells and their labels are.

    Args:
        adjacency: square, strictly upper triangular matrix of 0 and 1; ``adjacency[x, y] == 1`` is
            an edge from vertex ``x`` to vertex ``y``.
        operations: a name for every vertex, the first ``"input"`` and the last ``"output"``.
        labels: the names that a vertex between them may have. Their positions enter
            :attr:`graph_hash`; the default makes it NAS-Bench-101's.

    Raises:
        InvalidArchitectureError: the message names the fault.
        DisconnectedArchitectureError: no path leads from input to output.

    >>> cell = Architecture([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", "maxpool3x3", "output"])
    >>> str(cell)
    '0-1,0-2,1-2:maxpool3x3'
    >>> Architecture.parse("0-1,0-2,1-2:maxpool3x3") == cell
    True
    >>> cell.graph_hash
    '6f6257bc3b12d87b8736e81cd4b7ed8b'
    """

    adjacency: Adjacency
    operations: tuple[str, ...]
    labels: tuple[str, ...]

    def __init__(
        self,
        adjacency: ArrayLike,
        operations: Sequence[str],
        labels: Sequence[str] = NAS_BENCH_101_LABELS,
    ) -> None:
        matrix = _checked_adjacency(adjacency)
        allowed = checked_labels(labels)
        names = _checked_operations(operations, len(matrix), allowed)
        if not reaches_output(matrix):
            raise DisconnectedArchitectureError(
                f"no path leads from the input to the output (vertex {len(matrix) - 1}); add the missing edges"
            )
        matrix.setflags(write=False)
        # Straight into the instance's dict, since __setattr__ refuses.
        vars(self).update(adjacency=matrix, operations=names, labels=allowed)

    @classmethod
    def known_canonical(
        cls, adjacency: Adjacency, operations: tuple[str, ...], labels: tuple[str, ...], graph_hash: str | None = None
    ) -> Architecture:
        """For this package: a cell that is known to be valid, pruned and canonical; nothing is checked or searched.

        Args:
            adjacency: as in the constructor, of type int8; it is kept, and made read-only.
            operations: see there.
            labels: see there.
            graph_hash: the hash, where it is known.
        """
        cell = object.__new__(cls)
        adjacency.setflags(write=False)
        vars(cell).update(adjacency=adjacency, operations=operations, labels=labels, _canonical=cell)
        if graph_hash is not None:
            vars(cell)["graph_hash"] = graph_hash
        return cell

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Architecture is immutable; make a new one instead of setting {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an Architecture is immutable; {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[type[Architecture], tuple[Adjacency, tuple[str, ...], tuple[str, ...]]]:
        # Through the constructor: a pickled array comes back writable.
        return type(self), (self.adjacency, self.operations, self.labels)

    def __len__(self) -> int:
        """Number of vertices, input and output included."""
        return len(self.operations)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Every edge ``(from, to)``, ordered by source, then target."""
        return tuple((int(x), int(y)) for x, y in np.argwhere(self.adjacency))

    def pruned(self) -> Architecture:
        """The cell without the vertices that are on no path from input to output."""
        kept = sorted(on_a_path(self.adjacency))
        if len(kept) == len(self):
            return self
        return self._rearranged(kept)

    def canonical(self) -> Architecture:
        """The pruned cell in canonical order.

        Among all upper-triangular relabelings it is the smallest by (edge bits, then labels), where the edge
        ``x -> y`` is bit ``x + y (y - 1) / 2``: the one that NAS-Bench-101's generator meets first.
        """
        return self._canonical

    @cached_property
    def _canonical(self) -> Architecture:
        pruned = self.pruned()
        order = canonical_order(pruned.adjacency, pruned._label_indices())
        in_order = order == list(range(len(pruned)))
        canonical = pruned if in_order else pruned._rearranged(order)
        # It is its own canonical cell: a second search, for its hash, would find the same.
        vars(canonical)["_canonical"] = canonical
        return canonical

    @cached_property
    def graph_hash(self) -> str:
        """NAS-Bench-101's hash of the pruned cell: 32 hexadecimal digits.

        It is invariant under relabeling. It is not perfect beyond NAS-Bench-101 (some cells of ten vertices
        collide), so equality compares canonical cells instead.
        """
        pruned = self.pruned()
        return graph_hash(pruned.adjacency, pruned._label_indices())

    def _label_indices(self) -> list[int]:
        """Label of each vertex: position in :attr:`labels`, input -1, output -2."""
        return [-1, *(self.labels.index(name) for name in self.operations[1:-1]), -2]

    def _rearranged(self, order: Sequence[int]) -> Architecture:
        matrix = self.adjacency[np.ix_(order, order)]
        return Architecture(matrix, [self.operations[v] for v in order], self.labels)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        canonical = self.canonical()
        return canonical.adjacency.tobytes(), canonical.operations, self.labels

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Architecture):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        """Edges, operations between input and output, and labels where they are not the default."""
        edges = ",".join(f"{x}-{y}" for x, y in self.edges)
        parts = [edges, ",".join(self.operations[1:-1])]
        if self.labels != NAS_BENCH_101_LABELS:
            parts.append(",".join(self.labels))
        return ":".join(parts)

    def __repr__(self) -> str:
        return f"Architecture.parse({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Read what ``str`` wrote.

        Args:
            text: ``edges:operations`` or ``edges:operations:labels``, for instance ``0-1,1-2:maxpool3x3``.

        Raises:
            InvalidArchitectureError: the text is malformed or the cell is invalid.
        """
        parts = text.strip().split(":")
        if len(parts) not in (2, 3):
            raise InvalidArchitectureError(
                f"{text!r} is not a cell; write edges:operations, for instance '0-1,1-2:maxpool3x3'"
            )
        operations = [INPUT, *(parts[1].split(",") if parts[1] else []), OUTPUT]
        matrix = np.zeros((len(operations), len(operations)), dtype=np.int8)
        for source, target in _parse_edges(parts[0], len(operations)):
            matrix[source, target] = 1
        labels = parts[2].split(",") if len(parts) == 3 else NAS_BENCH_101_LABELS
        return cls(matrix, operations, labels)

    def to_dict(self) -> dict[str, list[Any]]:
        """Plain lists, ready for JSON; :meth:`from_dict` reads them."""
        return {
            "adjacency": self.adjacency.tolist(),
            "operations": list(self.operations),
            "labels": list(self.labels),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """Read what :meth:`to_dict` wrote; ``labels`` may be absent."""
        if not isinstance(data, Mapping):
            raise InvalidArchitectureError(f"a cell's dict has the keys adjacency and operations, not {data!r}")
        unknown = set(data) - {"adjacency", "operations", "labels"}
        missing = {"adjacency", "operations"} - set(data)
        if unknown or missing:
            raise InvalidArchitectureError(
                f"a cell's dict has the keys adjacency, operations and perhaps labels; "
                f"unknown: {sorted(unknown)}, missing: {sorted(missing)}"
            )
        return cls(data["adjacency"], data["operations"], data.get("labels", NAS_BENCH_101_LABELS))


def checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Refuse label lists that are empty, repeat a name or hold one that the text form cannot carry."""
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InvalidArchitectureError(f"labels must be a list of names, not {labels!r}")
    names = tuple(labels)
    if not names:
        raise InvalidArchitectureError("labels must name at least one operation")
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArchitectureError(
                f"operation name {name!r} must consist of letters, digits and the signs _ . + -"
            )
        if name in (INPUT, OUTPUT):
            raise InvalidArchitectureError(f"{name!r} is reserved and cannot be a label")
    if len(set(names)) != len(names):
        raise InvalidArchitectureError(f"labels repeat a name: {', '.join(names)}")
    return names


def _checked_adjacency(adjacency: ArrayLike) -> Adjacency:
    try:
        given = np.asarray(adjacency)
    except ValueError as error:
        raise InvalidArchitectureError("adjacency is not square: its rows differ in length") from error
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise InvalidArchitectureError(f"adjacency is not square: its shape is {given.shape}")
    if len(given) < 2:
        raise InvalidArchitectureError(f"adjacency has {len(given)} vertices; input and output make two")
    if given.dtype.kind not in "biuf":
        raise InvalidArchitectureError(f"adjacency must hold 0 and 1, not {given.dtype} values")
    wrong = given[(given != 0) & (given != 1)]
    if wrong.size:
        raise InvalidArchitectureError(f"adjacency must hold 0 and 1, found {wrong.flat[0]}")
    matrix = np.array(given, dtype=np.int8, order="C")
    if np.tril(matrix).any():
        raise InvalidArchitectureError(_not_upper_triangular(matrix))
    return matrix


def _not_upper_triangular(matrix: Adjacency) -> str:
    cycle = find_cycle(matrix)
    if cycle:
        return f"adjacency has a cycle: {' -> '.join(map(str, cycle))}; a cell must be acyclic"
    source, target = (int(v) for v in np.argwhere(np.tril(matrix))[0])
    return (
        f"adjacency is not upper triangular: edge {source} -> {target} leads backwards; "
        "renumber the vertices so that every edge leads to a higher one"
    )


def _checked_operations(operations: Sequence[str], vertices: int, labels: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(operations, str) or not isinstance(operations, Iterable):
        raise InvalidArchitectureError(f"operations must be a list of names, not {operations!r}")
    names = tuple(operations)
    if len(names) != vertices:
        raise InvalidArchitectureError(
            f"{len(names)} operations for {vertices} vertices; give one for each, 'input' and 'output' included"
        )
    if names[0] != INPUT or names[-1] != OUTPUT:
        raise InvalidArchitectureError(
            f"operations must begin with 'input' and end with 'output', found {names[0]!r} and {names[-1]!r}"
        )
    for vertex, name in enumerate(names[1:-1], start=1):
        if name not in labels:
            raise InvalidArchitectureError(
                f"vertex {vertex} has the unknown operation {name!r}; {did_you_mean(str(name), labels)}"
            )
    return names


def _parse_edges(text: str, vertices: int) -> Iterator[tuple[int, int]]:
    for edge in text.split(",") if text else ():
        match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", edge)
        if not match:
            raise InvalidArchitectureError(f"{edge!r} is not an edge; write it as 0-2")
        source, target = int(match[1]), int(match[2])
        if max(source, target) >= vertices:
            raise InvalidArchitectureError(
                f"edge {edge} leaves the cell: with {vertices - 2} operations its vertices are 0 to {vertices - 1}"
            )
        yield source, target
