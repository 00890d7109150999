"""Ways to hand a cell to an optimizer: a parameter, and how a candidate becomes a cell, or None where it is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import nevergrad as ng
import numpy as np

from leti_opt.architecture import INPUT, OUTPUT, Architecture
from leti_opt.errors import InvalidArchitectureError
from leti_opt.search_space.definition import NAS_BENCH_101 as SPACE
from leti_opt.search_space.parametrization import ArchitectureSpace
from leti_opt.search_space.repair import decode_vertices

INNER = SPACE.max_vertices - 2
PENALTY = 10.0
"""Loss of what is no cell."""


class Representation(NamedTuple):
    """A way to hand cells to an optimizer."""

    about: str
    build: Callable[[], Any]
    decode: Callable[[Any], Architecture | None]


def _choices(deterministic: bool) -> Any:
    """What two ``Choice`` with repetitions hold; the arrays alone behave the same and are copied faster."""
    edges = ng.p.Choice([0, 1], repetitions=len(SPACE.edges), deterministic=deterministic)
    operations = ng.p.Choice(list(SPACE.operations), repetitions=INNER, deterministic=deterministic)
    return ng.p.Dict(edges=edges.indices, operations=operations.indices)


def _decode_choices(candidate: Any) -> Architecture:
    weights = candidate["edges"]._value
    return decode_vertices(SPACE, (weights[:, 1] - weights[:, 0]).tolist(), _names(candidate["operations"].value))


def _rejecting(candidate: Any) -> Architecture | None:
    chosen = candidate.value
    matrix = np.zeros((SPACE.max_vertices, SPACE.max_vertices), dtype=np.int8)
    for (source, target), present in zip(SPACE.edges, chosen["edges"], strict=True):
        matrix[source, target] = present
    try:
        cell = Architecture(matrix, [INPUT, *_names(chosen["operations"]), OUTPUT])
    except InvalidArchitectureError:
        return None
    return cell.pruned() if cell in SPACE else None


def _array() -> Any:
    return ng.p.Array(shape=(len(SPACE.edges) + INNER * len(SPACE.operations),))


def _decode_array(candidate: Any) -> Architecture:
    weights = candidate.value
    edges, operations = np.split(weights, [len(SPACE.edges)])
    return decode_vertices(SPACE, edges.tolist(), _names(operations.reshape(INNER, -1).argmax(axis=1)))


def _transitions() -> Any:
    return ng.p.Dict(
        edges=ng.p.TransitionChoice([0, 1], repetitions=len(SPACE.edges)),
        operations=ng.p.TransitionChoice(len(SPACE.operations), repetitions=INNER),
    )


def _decode_transitions(candidate: Any) -> Architecture:
    chosen = candidate.value
    return decode_vertices(SPACE, [1.0 if edge else -1.0 for edge in chosen["edges"]], _names(chosen["operations"]))


def _names(indices: Any) -> list[str]:
    return [SPACE.operations[int(index)] for index in indices]


REPRESENTATIONS = {
    "ArchitectureSpace": Representation(
        "ours: one weight an edge, starting from a chain; moves in the domain; repair",
        ArchitectureSpace,
        lambda candidate: candidate.value,
    ),
    "Choice, repair": Representation(
        "`Choice([0, 1])` and `Choice(operations)`, deterministic; the same repair",
        lambda: _choices(True),
        _decode_choices,
    ),
    "Array, repair": Representation("one `ng.p.Array`; the same repair", _array, _decode_array),
    "TransitionChoice, repair": Representation(
        "`TransitionChoice` for edges and operations; the same repair", _transitions, _decode_transitions
    ),
    "Choice, penalty": Representation(
        f"plain `Choice`; what is not a cell of the space is rejected with a loss of {PENALTY}",
        lambda: _choices(False),
        _rejecting,
    ),
}
