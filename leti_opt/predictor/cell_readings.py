"""What a runtime sees in a cell, for many cells at once: sums, shared activations, paths, neighbourhoods.

Vertices that only pass their input on (a skip connection) execute nothing. Everything here looks through them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cell_columns import CellColumns, LabelFacts, Numbers, Small, summed

VALUE_KINDS = ("input", "sum", "weighted", "unweighted")
"""What a value is the result of."""

Ways = NDArray[np.uint32]


def looked_through(edges: Small, passing: Small) -> Ways:
    """How many ways lead from vertex to vertex over passing ones alone; these end up without edges.

    Args:
        edges: of live vertices, ``(sources, targets, cells)``.
        passing: 1 for vertices that execute nothing, ``(vertices, cells)``.
    """
    ways = edges.astype(np.uint32)
    for vertex in range(1, len(edges) - 1):
        here = passing[vertex]
        if here.any():
            into = ways[:vertex, vertex] * here
            onwards = ways[vertex, vertex + 1 :]
            for source in range(vertex):
                ways[source, vertex + 1 :] += into[source] * onwards
            kept = 1 - here
            ways[:vertex, vertex] *= kept
            onwards *= kept
    return ways


def longest_paths(edges: Small, weights: Numbers) -> Numbers:
    """For each vertex the heaviest way from the input to it, its own weight included, by several weights at once.

    Args:
        edges: of live vertices, ``(sources, targets, cells)``.
        weights: of each vertex, not negative, ``(weights, vertices, cells)``; so are the lengths.
    """
    lengths = weights.copy()
    passable = edges.astype(np.float32)
    for vertex in range(1, weights.shape[1]):
        before = lengths[:, 0] * passable[0, vertex]
        for source in range(1, vertex):
            np.maximum(before, lengths[:, source] * passable[source, vertex], out=before)
        lengths[:, vertex] += before
    return lengths


@dataclass(frozen=True)
class Sums:
    """Which sums a cell computes.

    Args:
        feeders: how many vertices feed each, ``(vertices, cells)``.
        first: for each vertex the vertex whose sum it reads; itself where nobody did before.
        terms: how many values are added up for a vertex that is the first to read them; 0 for others.
    """

    feeders: Small
    first: Small
    terms: Small

    @classmethod
    def of(cls, edges: Small, config: NetworkConfig) -> Sums:
        """Vertices with the same feeders share a sum where cells sum; where they concatenate, each has its own."""
        vertices = np.arange(len(edges), dtype=np.uint8)[:, np.newaxis]
        first = np.repeat(vertices, edges.shape[2], axis=1)
        if config.cell_output == "sum":
            for vertex in range(len(edges) - 1, 0, -1):
                for earlier in range(vertex - 1, 0, -1):
                    same = (edges[:vertex, vertex] == edges[:vertex, earlier]).all(axis=0)
                    np.copyto(first[vertex], np.uint8(earlier), where=same)
        feeders = summed(edges)
        terms = feeders * (first == vertices)
        if config.cell_output == "concatenate":
            # The output's vertices are laid side by side; what is added to them comes from the input.
            terms[-1] = edges[0, -1] + edges[1:-1, -1].max(axis=0, initial=0)
        return cls(feeders, first, terms)

    def counts(self) -> list[Small]:
        """Additions, sums of two, and sums of more."""
        of_two, of_more = self.terms == 2, self.terms > 2
        return [summed(np.maximum(self.terms, 1) - 1), summed(of_two.view(np.uint8)), summed(of_more.view(np.uint8))]


@dataclass(frozen=True)
class Values:
    """The tensors of a cell and who reads them: the input, results of inner vertices, nothing, then the sums.

    Args:
        activations: how many operations that begin with a ReLU read each; ``(2 x vertices, cells)``.
        readers: how many read it in all.
        weighted: of the inner vertices, whether they have weights.
    """

    activations: Small
    readers: Small
    weighted: Small

    @classmethod
    def of(cls, cells: CellColumns, facts: LabelFacts, sums: Sums) -> Values:
        """Follow each vertex's input back to the value that it is."""
        edges, vertices, live = cells.edges, cells.vertices, cells.live[1:-1]
        working, activated = (facts.at(fact, cells.operations) & live for fact in (facts.working, facts.activated))
        places = np.arange(2 * vertices, dtype=np.uint8)[:, np.newaxis]
        activations = np.zeros((2 * vertices, cells.count), dtype=np.uint8)
        readers = np.zeros_like(activations)
        results = np.zeros((vertices, cells.count), dtype=np.uint8)
        added = (sums.terms > 1) & (sums.feeders > 1)
        for vertex in range(1, vertices):
            # Where there is one feeder, the sum over all is its result.
            only = summed(results[:vertex] * edges[:vertex, vertex])
            source = np.where(sums.feeders[vertex] > 1, vertices + sums.first[vertex], only)
            read = (places == source).view(np.uint8)
            if vertex < vertices - 1:
                results[vertex] = np.where(working[vertex - 1], np.uint8(vertex), source)
                activations += read & activated[vertex - 1]
                readers += read & working[vertex - 1]
            else:
                readers += read & (sums.feeders[vertex] == 1)
        for term in range(vertices - 1):
            times = summed(edges[term] & added)
            readers += (places == results[term]) * times
        return cls(activations, readers, facts.at(facts.weighted, cells.operations).view(np.uint8))

    def counts(self) -> tuple[list[Small], list[str]]:
        """Activations that fuse and that do not, by what they read, and how often values are read again."""
        alone = ((self.activations == 1) & (self.readers == 1)).view(np.uint8)
        apart = ((self.activations > 0) & (self.readers > 1)).view(np.uint8)
        columns = [summed(self.activations * apart), summed(apart)]
        names = ["relus_apart", "values_with_relu_apart"]
        for kind in VALUE_KINDS:
            columns += [self._of_kind(alone, kind), self._of_kind(apart, kind)]
            names += [f"relus_fused_into_{kind}", f"relus_apart_from_{kind}"]
        columns.append(summed(np.maximum(self.readers, 1) - 1))
        return columns, [*names, "repeated_reads"]

    def _of_kind(self, marks: Small, kind: str) -> Small:
        """How many values of a kind are marked."""
        inner = len(self.weighted)
        found: Small
        if kind == "input":
            found = marks[0]
        elif kind == "sum":
            found = summed(marks[inner + 1 :])
        elif kind == "weighted":
            found = summed(marks[1 : inner + 1] & self.weighted)
        else:
            found = summed(marks[1 : inner + 1] & (1 - self.weighted))
        return found
