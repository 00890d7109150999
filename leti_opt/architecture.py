"""One neural cell: an adjacency matrix and an operation for every vertex.

The format is NAS-Bench-101's (Ying et al., 2019): vertex 0 is the input, the last vertex the
output, and every edge leads from a lower to a higher vertex. Nothing here knows of channels or layers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import (
    DisconnectedArchitectureError,
    InvalidArchitectureError,
    did_you_mean,
)

INPUT = "input"
OUTPUT = "output"
NAS_BENCH_101_LABELS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")

Adjacency = NDArray[np.int8]
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
        if not _reaches_output(matrix):
            raise DisconnectedArchitectureError(
                f"no path leads from the input to the output (vertex {len(matrix) - 1}); add the missing edges"
            )
        matrix.setflags(write=False)
        # Straight into the instance's dict, since __setattr__ refuses.
        vars(self).update(adjacency=matrix, operations=names, labels=allowed)

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
        kept = sorted(_on_a_path(self.adjacency))
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
        order = _canonical_order(pruned.adjacency, pruned._label_indices())
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
        return _graph_hash(pruned.adjacency, pruned._label_indices())

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
    cycle = _find_cycle(matrix)
    if cycle:
        return f"adjacency has a cycle: {' -> '.join(map(str, cycle))}; a cell must be acyclic"
    source, target = (int(v) for v in np.argwhere(np.tril(matrix))[0])
    return (
        f"adjacency is not upper triangular: edge {source} -> {target} leads backwards; "
        "renumber the vertices so that every edge leads to a higher one"
    )


def _find_cycle(matrix: Adjacency) -> list[int]:
    """A cycle as a list of vertices whose first and last agree; empty if there is none."""
    finished: set[int] = set()
    for start in range(len(matrix)):
        path: list[int] = []
        pending: list[Iterator[int]] = [iter([start])]
        while pending:
            vertex = next(pending[-1], None)
            if vertex is None:
                pending.pop()
                if path:
                    finished.add(path.pop())
            elif vertex in path:
                return [*path[path.index(vertex) :], vertex]
            elif vertex not in finished:
                path.append(vertex)
                pending.append(iter(np.flatnonzero(matrix[vertex]).tolist()))
    return []


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


def _closure(matrix: Adjacency, start: int) -> set[int]:
    rows = matrix.tolist()
    seen = {start}
    pending = [start]
    while pending:
        for vertex, edge in enumerate(rows[pending.pop()]):
            if edge and vertex not in seen:
                seen.add(vertex)
                pending.append(vertex)
    return seen


def _on_a_path(matrix: Adjacency) -> set[int]:
    return _closure(matrix, 0) & _closure(matrix.T, len(matrix) - 1)


def _reaches_output(matrix: Adjacency) -> bool:
    return len(matrix) - 1 in _closure(matrix, 0)


def _graph_hash(matrix: Adjacency, labels: Sequence[int]) -> str:
    """Iterated hash of degrees, labels and neighbours (NAS-Bench-101, ``hash_module``)."""
    out_degrees = matrix.sum(axis=1, dtype=int).tolist()
    in_degrees = matrix.sum(axis=0, dtype=int).tolist()
    sources = [np.flatnonzero(column).tolist() for column in matrix.T]
    targets = [np.flatnonzero(row).tolist() for row in matrix]
    hashes = [_md5(str(triple)) for triple in zip(out_degrees, in_degrees, labels, strict=True)]
    for _ in labels:
        hashes = [
            _md5(
                "".join(sorted(hashes[u] for u in sources[v]))
                + "|"
                + "".join(sorted(hashes[w] for w in targets[v]))
                + "|"
                + hashes[v]
            )
            for v in range(len(labels))
        ]
    return _md5(str(sorted(hashes)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def _canonical_order(matrix: Adjacency, labels: Sequence[int]) -> list[int]:
    """The topological order whose (edge bits, labels) are smallest, for a pruned cell.

    Positions are filled from the output backwards, since the edges into the output are the most significant bits. The
    most promising vertex goes first, and a beginning is given up when even its :func:`_lower_bound` is behind the best
    order known. Swapping twins (same neighbours) changes no bit, so of these only the one with the largest label is
    tried.
    """
    last = len(matrix) - 1
    rows: list[list[int]] = matrix.tolist()
    targets = [sum(edge << w for w, edge in enumerate(row)) for row in rows]
    twins = [(targets[v], matrix[:, v].tobytes()) for v in range(len(matrix))]
    by_label = sorted(range(last), key=lambda v: (labels[v], v))
    known: dict[tuple[int, int], tuple[int, ...]] = {}
    best: tuple[list[tuple[int, ...]], list[int], list[int]] | None = None

    def visit(bits: list[tuple[int, ...]], placed: list[int], rest: int) -> None:
        nonlocal best
        if not rest:
            order = placed[::-1]
            key = (bits, [labels[v] for v in order])
            if best is None or key < best[:2]:
                best = (*key, order)
            return
        free = {twins[v]: v for v in by_label if rest >> v & 1 and not targets[v] & rest}
        longer = [([*placed, v], rest & ~(1 << v)) for v in free.values()]
        bounds = [_lower_bound(rows, targets, *beginning, known) for beginning in longer]
        for bound, beginning in sorted(zip(bounds, longer, strict=True), key=itemgetter(0)):
            if best is None or bound <= best[0][: len(bound)]:
                visit(bound, *beginning)

    visit([], [last], (1 << last) - 1)
    assert best is not None
    return best[2]


def _lower_bound(
    rows: Sequence[Sequence[int]],
    targets: Sequence[int],
    placed: Sequence[int],
    rest: int,
    known: dict[tuple[int, int], tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """Edge bits into each placed vertex, the most significant first; ``rest`` comes in the best order for each column.

    Sets of vertices are bit masks. ``known`` keeps what was found for a set and a column.
    """

    def smallest(rest: int, column: int) -> tuple[int, ...]:
        if not rest:
            return ()
        if (rest, column) not in known:
            free = [v for v in range(rest.bit_length()) if rest >> v & 1 and not targets[v] & rest]
            # A zero that can come now loses nothing by coming now.
            zeros = [v for v in free if not rows[v][column]]
            following = (smallest(rest & ~(1 << v), column) for v in zeros[:1] or free)
            known[rest, column] = (0 if zeros else 1, *min(following))
        return known[rest, column]

    return [
        (*(rows[v][target] for v in placed[position:]), *smallest(rest, target))
        for position, target in enumerate(placed, start=1)
    ]
