"""Cells vertex by vertex: for each vertex or edge one contiguous row over all cells.

What is read off cells is many short steps along their few vertices. Over rows that are contiguous in the cells numpy
does them several times as quickly as over the short axes of :class:`~leti_opt.predictor.cells.CellRows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.predictor.cells import CellRows, lowered_edges

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]
Small = NDArray[np.uint8]

_WEIGHTED = (LayerKind.CONV, LayerKind.DEPTHWISE_CONV)


@dataclass(frozen=True)
class LabelFacts:
    """What matters of each label's operation.

    Args:
        working: it executes something.
        activated: it begins with a ReLU, which a runtime fuses into what it reads, if nothing else reads that.
        weighted: it has a convolution.
        heaviness: weights of its windows for one channel in and out, such as 9 for a 3x3 convolution.
    """

    working: Mask
    activated: Mask
    weighted: Mask
    heaviness: Numbers

    @classmethod
    def of(cls, labels: tuple[str, ...], config: NetworkConfig) -> LabelFacts:
        """Facts of a space's labels; one that the config does not know executes nothing, such as NAS-Bench-201's none.

        >>> facts = LabelFacts.of(("none", "skip_connect", "nor_conv_3x3"), NetworkConfig.nasbench201())
        >>> facts.working.tolist(), facts.heaviness.tolist()
        ([False, False, True], [0.0, 0.0, 9.0])
        """
        steps = [config.operation_table[label].steps if label in config.operation_table else () for label in labels]
        return cls(
            np.array([len(own) > 0 for own in steps]),
            np.array([len(own) > 0 and own[0].kind is LayerKind.RELU for own in steps]),
            np.array([any(step.kind in _WEIGHTED for step in own) for own in steps]),
            np.array([sum(step.kernel_size**2 for step in own if step.kind in _WEIGHTED) for own in steps], np.float32),
        )

    def at(self, values: NDArray[Any], operations: Small) -> NDArray[Any]:
        """A fact of each inner vertex; false or 0 where there is none."""
        every = np.zeros(256, dtype=values.dtype)
        every[: len(values)] = values
        found: NDArray[Any] = every.take(operations)
        return found


@dataclass(frozen=True)
class CellColumns:
    """Cells of equal size.

    Args:
        whole: 0 and 1 for each edge as it was handed in, ``(sources, targets, cells)``.
        operations: of the inner vertices, ``(vertices - 2, cells)``.
        labels: names of the operations.
    """

    whole: Small
    operations: Small
    labels: tuple[str, ...]

    @classmethod
    def of(cls, cells: CellRows) -> CellColumns:
        """The same cells."""
        whole = np.ascontiguousarray(cells.adjacency.view(np.uint8).transpose(1, 2, 0))
        return cls(whole, np.ascontiguousarray(cells.operations.T), cells.labels)

    @property
    def vertices(self) -> int:
        """Of each cell, with the input and the output."""
        return len(self.whole)

    @property
    def count(self) -> int:
        """Number of cells."""
        return int(self.whole.shape[2])

    @cached_property
    def reached(self) -> Small:
        """1 for vertices that the input reaches, ``(vertices, cells)``."""
        found = np.zeros(self.whole.shape[1:], dtype=np.uint8)
        found[0] = 1
        for vertex in range(1, self.vertices):
            found[vertex] = (found[:vertex] & self.whole[:vertex, vertex]).max(axis=0)
        return found

    @cached_property
    def leading(self) -> Small:
        """1 for vertices that lead to the output, ``(vertices, cells)``."""
        found = np.zeros(self.whole.shape[1:], dtype=np.uint8)
        found[-1] = 1
        for vertex in range(self.vertices - 2, -1, -1):
            found[vertex] = (found[vertex + 1 :] & self.whole[vertex, vertex + 1 :]).max(axis=0)
        return found

    @cached_property
    def live(self) -> Small:
        """1 for vertices on a path from input to output: what pruning leaves."""
        return self.reached & self.leading

    @cached_property
    def all_live(self) -> bool:
        """Whether nothing leads nowhere in any of the cells."""
        return bool(self.live.all())

    @cached_property
    def edges(self) -> Small:
        """The edges between live vertices."""
        if self.all_live:
            return self.whole
        return self.whole & self.live[:, np.newaxis] & self.live

    @cached_property
    def ends(self) -> tuple[Small, Small]:
        """For each inner vertex whether the input reaches it and whether it leads to the output.

        In a cell that was lowered from operations on edges, a vertex that stands for "no edge" has no edges itself; it
        is told by what its edge would join.
        """
        reached, leading = self.reached[1:-1].copy(), self.leading[1:-1].copy()
        inner = self.vertices - 2
        nodes = next((count for count in range(2, 30) if count * (count - 1) // 2 == inner), 0)
        if not nodes:
            return reached, leading
        edges = [(source, target) for target in range(1, nodes) for source in range(target)]
        present = self.operations != len(self.labels) - 1
        lowered = (lowered_edges(present, edges) == self.whole).all(axis=(0, 1))
        to_node, from_node = np.zeros((2, nodes, self.count), dtype=np.uint8)
        to_node[0], from_node[-1] = 1, 1
        for own, (source, target) in enumerate(edges):
            to_node[target] |= self.reached[own + 1] & present[own]
            from_node[source] |= self.leading[own + 1] & present[own]
        for own, (source, target) in enumerate(edges):
            absent = lowered & ~present[own]
            np.copyto(reached[own], to_node[source], where=absent)
            np.copyto(leading[own], from_node[target], where=absent)
        return reached, leading

    @cached_property
    def every(self) -> Small:
        """1 where an inner vertex has an operation, ``(vertices - 2, labels, cells)``."""
        numbers = np.arange(len(self.labels), dtype=np.uint8)[:, np.newaxis]
        found: Small = (self.operations[:, np.newaxis] == numbers).view(np.uint8)
        return found

    @cached_property
    def own(self) -> Small:
        """The same of live vertices alone."""
        return self.every if self.all_live else self.every & self.live[1:-1, np.newaxis]


def summed(columns: NDArray[Any]) -> NDArray[Any]:
    """Sums over the first axis, in the type of the columns: these count vertices, of which there are few."""
    total: NDArray[Any] = columns.sum(axis=0, dtype=columns.dtype)
    return total
