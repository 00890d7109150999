"""Cells + NetworkConfig -> :class:`LayerColumns`: what ``assembly`` does for one cell, for many at once.

``assembly`` is the reference: every method here has its namesake there, and tests compare the two row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import EqualSized
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.operations import WINDOWED, Operation
from leti_opt.network.table_layers import ABSENT, Codes, Integers, LayerColumns, Mask, Term

Image = tuple[int, int]
"""Height and width."""

WEIGHTED_WINDOWS = frozenset({LayerKind.CONV, LayerKind.DEPTHWISE_CONV})


def vertex_channels(adjacency: NDArray[np.int8], output_channels: int) -> Integers:
    """Channels of each vertex of concatenating cells: :func:`leti_opt.network.assembly.vertex_channels` for many."""
    output = adjacency.shape[1] - 1
    feeds = adjacency[:, :, output].astype(np.int64)
    feeds[:, 0] = 0
    share, remainder = np.divmod(output_channels, np.maximum(feeds.sum(axis=1, keepdims=True), 1))
    channels: Integers = feeds * (share + (np.cumsum(feeds, axis=1) <= remainder))
    for vertex in range(output - 1, 0, -1):
        widest = (channels * adjacency[:, vertex]).max(axis=1)
        channels[:, vertex] = np.where(feeds[:, vertex], channels[:, vertex], widest)
    return channels


def first_with_feeders(adjacency: NDArray[np.int8]) -> NDArray[np.int64]:
    """For each vertex the first that the same vertices feed; summing cells add these up once."""
    vertices = adjacency.shape[1]
    first = np.tile(np.arange(vertices), (len(adjacency), 1))
    for vertex in range(vertices - 1, 0, -1):
        for earlier in range(vertex - 1, 0, -1):
            same = (adjacency[:, :, vertex] == adjacency[:, :, earlier]).all(axis=1)
            first[same, vertex] = earlier
    return first


def steps_without_weights(label: str, config: NetworkConfig) -> tuple[tuple[LayerKind, int], ...]:
    """What is left of an operation's steps: their kinds, and the windows of pools. An unknown label has none."""
    steps = config.operation_table.get(label, Operation(label)).steps
    return tuple((step.kind, 0 if step.kind in WEIGHTED_WINDOWS else step.kernel_size) for step in steps)


def halved(image: Image) -> Image:
    """Height and width after a step with stride 2."""
    return -(-image[0] // 2), -(-image[1] // 2)


def assemble(
    cells: EqualSized, labels: Sequence[str], config: NetworkConfig, with_repeats: bool = False
) -> LayerColumns:
    """Lay many cells out as networks; every cell must fit the config.

    Args:
        cells: what to lay out.
        labels: of their operations.
        config: how cells become networks.
        with_repeats: keep layers that compute again what an earlier one has, too.
    """
    network = _TableAssembler(cells, labels, config, with_repeats)
    if config.scope == "cell":
        network.cell(network.layers.input, config.input_shape[2], config.filters, config.input_shape[:2])
    else:
        network.stacked()
    return network.layers


class _TableAssembler:
    """Appends slot by slot; every method returns the values of its result."""

    def __init__(self, cells: EqualSized, labels: Sequence[str], config: NetworkConfig, with_repeats: bool) -> None:
        self.config = config
        self.table = config.operation_table
        self.edges: NDArray[np.bool_] = cells.adjacency.astype(np.bool_)
        self.adjacency = cells.adjacency
        self.operations = cells.operations
        self.output = cells.vertices - 1
        height, width, depth = config.input_shape
        self.layers = LayerColumns(len(cells.rows), height * width * depth, with_repeats)
        self.step_codes = self.codes_of_steps(labels)
        self.first_sum = first_with_feeders(cells.adjacency)

    def codes_of_steps(self, labels: Sequence[str]) -> Codes:
        """A row for each label: the codes of its steps, then ABSENT. Labels that no cell has may be unknown."""
        steps = [self.table.get(label, Operation(label)).steps for label in labels]
        codes = np.full((len(steps), max(map(len, steps))), ABSENT, dtype=np.int16)
        for row, own in zip(codes, steps, strict=True):
            row[: len(own)] = [self.layers.code(step.kind, step.kernel_size, 1, step.use_bias) for step in own]
        return codes

    def stacked(self) -> None:
        config = self.config
        image, depth, filters = config.input_shape[:2], config.input_shape[2], config.filters
        source = self.operation(self.table[config.stem], self.layers.input, depth, filters, image)
        depth = filters
        for stack in range(1, config.stacks + 1):
            if stack > 1:
                filters *= 2
                source, depth = self.reduction(source, depth, filters, image)
                image = halved(image)
            for _ in range(config.cells_per_stack):
                source = self.cell(source, depth, filters, image)
                depth = filters
        self.layers.new_segment()
        if config.head is not None:
            source = self.operation(self.table[config.head], source, filters, filters, image)
        source = self.layers.step(self.layers.code(LayerKind.GLOBAL_AVERAGE_POOL), self.all(source), filters)
        self.layers.step(self.layers.code(LayerKind.DENSE, use_bias=True), self.all(source), config.classes)

    def reduction(self, source: Integers, depth: int, filters: int, image: Image) -> tuple[Integers, int]:
        """The result, and its channels."""
        self.layers.new_segment()
        if self.config.reduction == "max_pool":
            return self.operation(self.table["maxpool2x2"], source, depth, depth, image, stride=2), depth
        convolution, half = self.table["nor_conv_3x3"], halved(image)
        inner = self.operation(convolution, source, depth, filters, image, stride=2)
        inner = self.operation(convolution, inner, filters, filters, half)
        shortcut = self.operation(self.table["avgpool2x2"], source, depth, depth, image, stride=2)
        shortcut = self.operation(self.table["conv1x1"], shortcut, depth, filters, half)
        return self.sum([self.all(inner), self.all(shortcut)], half[0] * half[1] * filters), filters

    def cell(self, source: Integers, depth: int, filters: int, image: Image) -> Integers:
        self.layers.new_segment()
        if self.config.cell_output == "concatenate":
            return self.concatenating_cell(source, depth, filters, image)
        return self.summing_cell(source, depth, filters, image)

    def concatenating_cell(self, source: Integers, depth: int, filters: int, image: Image) -> Integers:
        area = image[0] * image[1]
        channels = vertex_channels(self.adjacency, filters)
        results: dict[int, Integers] = {}
        for vertex in range(1, self.output):
            wanted = channels[:, vertex]
            terms = []
            for u in range(1, vertex):
                rows = self.edges[:, u, vertex]
                terms.append(Term(rows, self.first_channels(Term(rows, results[u]), channels[:, u], wanted, area)))
            rows = self.edges[:, 0, vertex]
            terms.append(Term(rows, self.from_input(Term(rows, source), depth, wanted, image)))
            results[vertex] = self.vertex_operation(vertex, self.sum(terms, area * wanted), area * wanted)
        parts = [Term(self.edges[:, v, self.output], results[v]) for v in range(1, self.output)]
        terms = []
        if parts:
            joined = self.layers.concatenate(parts, area * filters)
            terms.append(Term(np.any([part.rows for part in parts], axis=0), joined))
        rows = self.edges[:, 0, self.output]
        terms.append(Term(rows, self.from_input(Term(rows, source), depth, filters, image)))
        return self.sum(terms, area * filters)

    def summing_cell(self, source: Integers, depth: int, filters: int, image: Image) -> Integers:
        size = image[0] * image[1] * filters
        results: dict[int, Integers] = {}
        sums: dict[int, Integers] = {}
        for vertex in range(1, self.output + 1):
            first = self.first_sum[:, vertex]
            new = first == vertex
            terms = []
            for u in range(vertex):
                rows = self.edges[:, u, vertex] & new
                values = results[u] if u else self.from_input(Term(rows, source), depth, filters, image)
                terms.append(Term(rows, values))
            total = self.sum(terms, size)
            for earlier, known in sums.items():
                total = np.where(first == earlier, known, total)
            sums[vertex] = results[vertex] = total
            if vertex < self.output:
                results[vertex] = self.vertex_operation(vertex, total, size)
        return results[self.output]

    def from_input(self, source: Term, depth: int, channels: Integers | int, image: Image) -> Integers:
        if self.config.projection is None:
            return source.values
        operation = self.table[self.config.projection]
        return self.operation(operation, source.values, depth, channels, image, rows=source.rows)

    def vertex_operation(self, vertex: int, source: Integers, size: Integers | int) -> Integers:
        """The operation of each row's vertex, which keeps the channels of what it reads."""
        for codes in self.step_codes[self.operations[:, vertex - 1]].T:
            source = self.layers.step(codes, self.all(source), size)
        return source

    def operation(
        self,
        operation: Operation,
        source: Integers,
        depth: int,
        channels: Integers | int,
        image: Image,
        stride: int = 1,
        rows: Mask | None = None,
    ) -> Integers:
        """The same operation in all rows, or in some."""
        rows = self.layers.everywhere if rows is None else rows
        reached: Integers | int = depth
        for step in operation.steps:
            if step.kind is LayerKind.CONV:
                reached = channels
            own_stride = stride if step.kind in WINDOWED else 1
            if own_stride > 1:
                image, stride = halved(image), 1
            code = self.layers.code(step.kind, step.kernel_size, own_stride, step.use_bias)
            source = self.layers.step(code, Term(rows, source), image[0] * image[1] * reached)
        return source

    def first_channels(self, source: Term, depth: Integers, channels: Integers, area: int) -> Integers:
        cut = Term(source.rows & (depth > channels), source.values)
        return self.layers.step(self.layers.code(LayerKind.SLICE_CHANNELS), cut, area * channels)

    def sum(self, terms: Sequence[Term], size: Integers | int) -> Integers:
        terms = [term for term in terms if term.rows.any()] or [*terms[:1]]
        if self.config.chained_adds:
            return self.layers.chained_sum(terms, size)
        return self.layers.sum(terms, size)

    def all(self, values: Integers) -> Term:
        return Term(self.layers.everywhere, values)
