"""What a runtime sees in a cell, for many cells at once: sums, shared activations, paths, neighbourhoods.

Vertices that only pass their input on (a skip connection) execute nothing. Everything here looks through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.table_assembly import first_with_feeders
from leti_opt.predictor.cells import CellRows

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

INPUT_KIND, SUM_KIND, WEIGHTED_KIND, OTHER_KIND = range(4)
"""What a value is the result of."""
VALUE_KINDS = ("input", "sum", "weighted", "unweighted")

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

    def at(self, values: NDArray[Any], operations: NDArray[np.uint8]) -> NDArray[Any]:
        """A fact of each inner vertex; false or 0 where there is none."""
        found: NDArray[Any] = np.append(values, values.dtype.type(0))[np.minimum(operations, len(values))]
        return found


def looked_through(adjacency: NDArray[np.int8], passing: Mask) -> Numbers:
    """How many ways lead from vertex to vertex over passing ones alone; these end up without edges.

    Args:
        adjacency: of live vertices, ``(cells, vertices, vertices)``.
        passing: vertices that execute nothing, ``(cells, vertices)``.
    """
    ways = adjacency.astype(np.float32)
    for vertex in range(1, adjacency.shape[1] - 1):
        here = passing[:, vertex]
        if here.any():
            into = ways[:, :vertex, vertex] * here[:, np.newaxis]
            ways[:, :vertex, vertex + 1 :] += into[:, :, np.newaxis] * ways[:, np.newaxis, vertex, vertex + 1 :]
            kept = ~here[:, np.newaxis]
            ways[:, :, vertex] *= kept
            ways[:, vertex] *= kept
    return ways


def longest_paths(adjacency: NDArray[np.int8], weights: Numbers) -> Numbers:
    """For each vertex the heaviest way from the input to it, its own weight included, by several weights at once.

    Args:
        adjacency: of live vertices, ``(cells, vertices, vertices)``.
        weights: of each vertex, not negative, ``(weights, vertices, cells)``; so are the lengths.
    """
    lengths = weights.copy()
    edges = np.ascontiguousarray(adjacency.transpose(1, 2, 0)).astype(np.float32)
    for vertex in range(1, weights.shape[1]):
        before = lengths[:, 0] * edges[0, vertex]
        for source in range(1, vertex):
            np.maximum(before, lengths[:, source] * edges[source, vertex], out=before)
        lengths[:, vertex] += before
    return lengths


def feeder_counts(adjacency: NDArray[np.int8]) -> NDArray[np.int16]:
    """How many vertices feed each; plain additions are quicker than a sum over a short axis."""
    counts = np.zeros(adjacency.shape[::2], dtype=np.int16)
    for source in range(adjacency.shape[1]):
        counts += adjacency[:, source]
    return counts


@dataclass(frozen=True)
class Sums:
    """Which sums a cell computes.

    Args:
        first: for each vertex the vertex whose sum it reads; itself where nobody did before.
        terms: how many values are added up for a vertex that is the first to read them; 0 for others.
    """

    first: NDArray[np.int64]
    terms: NDArray[np.int16]

    @classmethod
    def of(cls, adjacency: NDArray[np.int8], config: NetworkConfig) -> Sums:
        """Vertices with the same feeders share a sum where cells sum; where they concatenate, each has its own."""
        vertices = adjacency.shape[1]
        first = np.tile(np.arange(vertices), (len(adjacency), 1))
        if config.cell_output == "sum":
            first = first_with_feeders(adjacency)
        terms = feeder_counts(adjacency) * (first == np.arange(vertices))
        if config.cell_output == "concatenate":
            # The output's vertices are laid side by side; what is added to them comes from the input.
            terms[:, -1] = adjacency[:, 0, -1] + (adjacency[:, 1:-1, -1].any(axis=1))
        return cls(first, terms)

    def counts(self) -> Numbers:
        """Additions, sums of two, and sums of more; ``(cells, 3)``."""
        columns = [np.maximum(self.terms - 1, 0), self.terms == 2, self.terms > 2]
        return np.stack([column.sum(axis=1) for column in columns], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Values:
    """The tensors of a cell and who reads them: the input, results of vertices, then the sums.

    Args:
        kinds: what each is the result of; ``(cells, 2 x vertices)``.
        activations: how many operations that begin with a ReLU read it.
        readers: how many read it in all.
    """

    kinds: NDArray[np.int8]
    activations: NDArray[np.int16]
    readers: NDArray[np.int16]

    @classmethod
    def of(cls, cells: CellRows, facts: LabelFacts, sums: Sums) -> Values:
        """Follow each vertex's input back to the value that it is."""
        adjacency, vertices = cells.pruned_adjacency, cells.adjacency.shape[1]
        count, everywhere = len(cells), np.arange(len(cells))
        live = cells.live[:, 1:-1]
        working = facts.at(facts.working, cells.operations) & live
        activated = facts.at(facts.activated, cells.operations) & live
        weighted = facts.at(facts.weighted, cells.operations)
        feeders = feeder_counts(adjacency)
        kinds = np.full((count, 2 * vertices), SUM_KIND, dtype=np.int8)
        kinds[:, 0] = INPUT_KIND
        kinds[:, 1 : vertices - 1] = np.where(weighted, WEIGHTED_KIND, OTHER_KIND)
        activations = np.zeros((count, 2 * vertices), dtype=np.int16)
        readers = np.zeros_like(activations)
        results = np.zeros((count, vertices), dtype=np.int64)
        for vertex in range(1, vertices):
            only = results[everywhere, adjacency[:, :vertex, vertex].argmax(axis=1)]
            source = np.where(feeders[:, vertex] > 1, vertices + sums.first[:, vertex], only)
            if vertex < vertices - 1:
                results[:, vertex] = np.where(working[:, vertex - 1], vertex, source)
                activations[everywhere, source] += activated[:, vertex - 1]
                readers[everywhere, source] += working[:, vertex - 1]
            else:
                readers[everywhere, source] += feeders[:, vertex] == 1
            added = (sums.terms[:, vertex] > 1) & (feeders[:, vertex] > 1)
            for term in range(vertex):
                readers[everywhere, results[:, term]] += added & (adjacency[:, term, vertex] > 0)
        return cls(kinds, activations, readers)

    def counts(self) -> tuple[Numbers, list[str]]:
        """Activations that fuse and that do not, by what they read, and how often values are read again."""
        alone = (self.activations == 1) & (self.readers == 1)
        apart = (self.activations > 0) & (self.readers > 1)
        columns = [(self.activations * apart).sum(axis=1), apart.sum(axis=1)]
        names = ["relus_apart", "values_with_relu_apart"]
        for kind, name in enumerate(VALUE_KINDS):
            here = self.kinds == kind
            columns += [(alone & here).sum(axis=1), (apart & here).sum(axis=1)]
            names += [f"relus_fused_into_{name}", f"relus_apart_from_{name}"]
        columns.append(np.maximum(self.readers - 1, 0).sum(axis=1))
        return np.stack(columns, axis=1).astype(np.float32), [*names, "repeated_reads"]


def hashed_neighbourhoods(ways: Numbers, kinds: NDArray[np.int64], places: int) -> Numbers:
    """How often each kind of vertex with its neighbours occurs, hashed to so many columns with a sign.

    One round of Weisfeiler and Lehman's relabelling: a vertex's kind, those of what feeds it and of what it feeds.

    Args:
        ways: :func:`looked_through`.
        kinds: a number for each vertex, 0 for those without edges, ``(cells, vertices)``.
        places: columns, a power of two.
    """
    own = _mixed(kinds.astype(np.uint64) + np.uint64(1))
    counts = ways.astype(np.uint64)
    fed = (counts * own[:, :, np.newaxis]).sum(axis=1, dtype=np.uint64)
    feeding = (counts * _mixed(own)[:, np.newaxis]).sum(axis=2, dtype=np.uint64)
    code = _mixed(own * np.uint64(3) + _mixed(fed) * np.uint64(5) + _mixed(feeding + np.uint64(1)) * np.uint64(7))
    place = (code >> np.uint64(20)) % np.uint64(places)
    sign = np.where(code >> np.uint64(45) & np.uint64(1), 1.0, -1.0) * (kinds > 0)
    flat = (np.arange(len(ways))[:, np.newaxis] * places + place.astype(np.int64)).reshape(-1)
    found = np.bincount(flat, weights=sign.reshape(-1), minlength=len(ways) * places)
    hashed: Numbers = found.reshape(len(ways), places).astype(np.float32)
    return hashed


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al., 2014), which spreads every bit over all."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return scrambled
