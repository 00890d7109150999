"""ArchitectureSpace: the cells of a definition as a nevergrad parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from typing import Any

import nevergrad as ng
import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidArchitectureError, InvalidDefinitionError, InvalidSearchError
from leti_opt.search_space.definition import NAS_BENCH_101, SpaceDefinition
from leti_opt.search_space.moves import graft, mutated
from leti_opt.search_space.repair import Edge, decode_edges, decode_vertices, finite

_LONGEST_NAME = 34
_EDGES, _OPERATIONS = "edges", "operations"
# Of a new space, in units of a standard mutation: small, so that the chain is a start and no prejudice.
_START_WEIGHT = 0.3
# Of a value that was set: large, so that small steps in the data leave it as it is.
_SET_WEIGHT = 1.0

Weights = NDArray[np.float64]


class ArchitectureSpace(ng.p.Dict):  # type: ignore[misc]
    """The cells of a definition, for any nevergrad optimizer.

    Its ``value`` is an :class:`~leti_opt.architecture.Architecture` that the definition allows, whatever the
    optimizer did to the data: what is not a cell becomes the nearest one, nothing is rejected. Cells with operations on
    vertices come pruned, cells with operations on edges come as :meth:`SpaceDefinition.lower` makes them.

    The data holds weights: one for each possible edge, which is there when its weight is above zero, and one for each
    operation that a vertex (or an edge of a NAS-Bench-201 cell) may have, of which the largest counts. ``mutate`` and
    ``recombine`` work on cells instead: they add, remove and rewire edges, relabel, insert and bypass vertices, and
    graft the end of one cell on another. A new space starts from a chain of the first operation; set ``value`` to start
    elsewhere.

    The space itself is deterministic. Whoever optimizes a measured latency declares the noise::

        space.function.deterministic = False

    All randomness comes from ``random_state``; ``space.random_state.seed(12)`` makes a search repeatable.

    Args:
        definition: what is allowed, NAS-Bench-101 by default.

    Raises:
        InvalidDefinitionError: ``definition`` is not a SpaceDefinition.
        InvalidArchitectureError: when a value is set that the definition does not allow.

    >>> space = ArchitectureSpace()
    >>> space.random_state.seed(1)
    >>> optimizer = ng.optimizers.DiscreteOnePlusOne(space, budget=30)
    >>> best = optimizer.minimize(lambda cell: abs(len(cell.edges) - 8))
    >>> len(best.value.edges)
    8
    """

    value: Architecture
    __len__ = None  # nevergrad draws from pareto fronts by numpy, which would take a sized object for a sequence

    def __init__(self, definition: SpaceDefinition = NAS_BENCH_101) -> None:
        if not isinstance(definition, SpaceDefinition):
            raise InvalidDefinitionError(
                f"definition must be a SpaceDefinition such as NAS_BENCH_101, not {definition!r}"
            )
        super().__init__(**_weight_arrays(definition))
        self.definition = definition
        self._decoded: tuple[bytes, Architecture] | None = None

    def mutate(self) -> None:
        """Move to another cell: one move in the domain, or a few."""
        self._check_frozen()
        self.value = mutated(self.value, self.definition, self.random_state)

    def recombine(self, *others: ArchitectureSpace) -> None:
        """Graft the end of another cell, drawn from ``others``, on this one."""
        if not others:
            return
        self._check_frozen()
        other = others[int(self.random_state.randint(len(others)))]
        self.value = graft(self.value, other.value, self.definition, self.random_state)

    def get_value_hash(self) -> Hashable:
        """The canonical pruned cell as text: equal for equal cells, however they are numbered."""
        return str(self.value.canonical())

    def _get_name(self) -> str:
        name = f"{type(self).__name__}({self.definition.name})"
        if len(name) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(repr(self.definition).encode()).hexdigest()[:8]
        return f"{name[: _LONGEST_NAME - len(digest) - 2]}~{digest})"

    def _layered_get_value(self) -> Architecture:
        weights = {name: _weights(part) for name, part in self.items()}
        key = b"".join(part.tobytes() for part in weights.values())
        if self._decoded is None or self._decoded[0] != key:
            self._decoded = key, _decode(self.definition, weights)
        return self._decoded[1]

    def _layered_set_value(self, value: Any) -> None:
        self._check_frozen()
        if not isinstance(value, Architecture):
            raise InvalidArchitectureError(f"the value of {self.name} must be an Architecture, not {value!r}")
        self.definition.check(value)
        for name, chosen in _encode(self.definition, value).items():
            self[name].value = chosen

    def _layered_sample(self) -> ArchitectureSpace:
        """A child whose weights are drawn afresh, so that it does not resemble this cell."""
        child: ArchitectureSpace = self.spawn_child()
        for part in child.values():
            fresh = self.random_state.normal(size=part.dimension)
            part.set_standardized_data(fresh - _weights(part).ravel())
        return child


class _Presence(ng.ops.Int):  # type: ignore[misc]
    """Reads weights as edges that are there (1) or not (0).

    Being an integer layer it tells optimizers that the data is discrete; without it NGOpt takes it for continuous.
    """

    def _layered_get_value(self) -> NDArray[np.int64]:
        present: NDArray[np.int64] = (super(ng.ops.Int, self)._layered_get_value() > 0).astype(np.int64)
        return present

    def _layered_set_value(self, value: NDArray[np.int64]) -> None:
        super()._layered_set_value(np.where(value > 0, _SET_WEIGHT, -_SET_WEIGHT))


def pareto_front(optimizer: Any, size: int | None = None) -> list[Any]:
    """The candidates on an optimizer's Pareto front, or ``size`` of them that are spread out.

    nevergrad's own ``optimizer.pareto_front(size=...)`` fails for a plain ``Instrumentation``, ``Dict`` or ``Tuple``,
    and may name one candidate twice. Here the first one is the best by the first loss, and each further one is
    the farthest from those already taken, every loss counted on the front's own range.

    Args:
        optimizer: a nevergrad optimizer that was told lists of losses.
        size: how many at most; None for all.

    Raises:
        InvalidSearchError: ``size`` is below 1.
    """
    if size is not None and size < 1:
        raise InvalidSearchError(f"a Pareto front of {size} candidates was asked for; ask for 1 or more")
    front = list(optimizer.pareto_front())
    if size is None or size >= len(front):
        return front
    losses = np.array([candidate.losses for candidate in front])
    spans = np.ptp(losses, axis=0)
    scaled = losses / np.where(spans > 0, spans, 1.0)
    taken = [int(np.lexsort(losses.T[::-1])[0])]
    while len(taken) < size:
        distances = np.linalg.norm(scaled[:, None] - scaled[taken], axis=2).min(axis=1)
        distances[taken] = -1.0
        taken.append(int(distances.argmax()))
    return [front[index] for index in taken]


def _weight_arrays(definition: SpaceDefinition) -> dict[str, Any]:
    """The parameters that hold the weights, leaning a little towards the cell that a search starts from."""
    labels, edges = list(definition.operations), len(definition.edges)
    chain = np.array([1.0 if edge in _chain(definition) else -1.0 for edge in definition.edges])
    if definition.operation_on == "edge":
        operations = _operation_weights(labels, edges)
        if definition.absent is not None:
            start = np.zeros((edges, len(labels)))
            start[:, labels.index(definition.absent)] = -_START_WEIGHT * chain
            operations.set_standardized_data(start.ravel())
        return {_OPERATIONS: operations}
    parts = {_EDGES: ng.p.Array(init=_START_WEIGHT * chain)}
    parts[_EDGES].add_layer(_Presence())
    if definition.max_vertices > 2 and len(labels) > 1:
        parts[_OPERATIONS] = _operation_weights(labels, definition.max_vertices - 2)
    return parts


def _operation_weights(labels: list[str], places: int) -> Any:
    """One weight for each operation at each place; the largest counts."""
    return ng.p.Choice(labels, repetitions=places, deterministic=True).indices


def _chain(definition: SpaceDefinition) -> list[Edge]:
    """The longest path that the definition allows."""
    length = min(definition.max_vertices - 1, definition.edge_limit)
    return [*((vertex, vertex + 1) for vertex in range(length - 1)), (length - 1, definition.max_vertices - 1)]


def _weights(part: Any) -> Weights:
    """The weights behind an array's integer value; operations in columns."""
    weights: Weights = part._value
    return weights


def _decode(definition: SpaceDefinition, weights: dict[str, Weights]) -> Architecture:
    """The cell that the weights stand for."""
    if definition.operation_on == "edge":
        return decode_edges(definition, *_edge_preferences(definition, finite(weights[_OPERATIONS])))
    names = [definition.operations[0]] * (definition.max_vertices - 2)
    if _OPERATIONS in weights:
        names = [definition.operations[index] for index in finite(weights[_OPERATIONS]).argmax(axis=1)]
    return decode_vertices(definition, finite(weights[_EDGES]).tolist(), names)


def _edge_preferences(definition: SpaceDefinition, weights: Weights) -> tuple[list[float], list[str]]:
    """For each edge how much it is to hold an operation, and which one."""
    real = [index for index, name in enumerate(definition.operations) if name != definition.absent]
    best = weights[:, real].argmax(axis=1)
    names = [definition.operations[real[index]] for index in best]
    if definition.absent is None:
        return [1.0] * len(names), names
    absent = weights[:, definition.operations.index(definition.absent)]
    return (weights[:, real].max(axis=1) - absent).tolist(), names


def _encode(definition: SpaceDefinition, cell: Architecture) -> dict[str, NDArray[np.int64]]:
    """The options to choose for the cell, by the parameter's name."""
    positions = {name: index for index, name in enumerate(definition.operations)}
    if definition.operation_on == "edge":
        names = definition.native_operations(cell)
        return {_OPERATIONS: _indices(positions[name] for name in names)} if len(positions) > 1 else {}
    pruned = cell.pruned()
    output = len(pruned) - 1
    present = {(x, definition.max_vertices - 1 if y == output else y) for x, y in pruned.edges}
    parts = {_EDGES: _indices(int(edge in present) for edge in definition.edges)}
    if definition.max_vertices > 2 and len(positions) > 1:
        spare = definition.max_vertices - len(pruned)
        names = (*pruned.operations[1:-1], *definition.operations[:1] * spare)
        parts[_OPERATIONS] = _indices(positions[name] for name in names)
    return parts


def _indices(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
