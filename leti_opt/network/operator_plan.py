"""LayerGraph -> the operators of its TFLite file, in their order of execution.

Batch norm is folded into the convolution before it, ReLU is fused into what it follows, and layers that compute again
what an earlier one has are left out, as the TF converter does. The writer, peak memory and forecasts all read this
plan; no other place knows what is fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind

_WEIGHTED = frozenset({LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.BATCH_NORM, LayerKind.DENSE})
_SIMPLE_OPERATORS: Mapping[LayerKind, str] = {
    LayerKind.RELU: "RELU",
    LayerKind.CONCATENATE: "CONCATENATION",
    LayerKind.SLICE_CHANNELS: "SLICE",
    LayerKind.GLOBAL_AVERAGE_POOL: "MEAN",
    LayerKind.DENSE: "FULLY_CONNECTED",
}
_FUSING_OPERATORS: Mapping[LayerKind, str] = {
    LayerKind.CONV: "CONV_2D",
    LayerKind.DEPTHWISE_CONV: "DEPTHWISE_CONV_2D",
    LayerKind.MAX_POOL: "MAX_POOL_2D",
    LayerKind.AVERAGE_POOL: "AVERAGE_POOL_2D",
    LayerKind.ADD: "ADD",
}


@dataclass(frozen=True, slots=True)
class PlannedOperator:
    """One operator of the file.

    Args:
        name: TFLite's name of it.
        layer: position of the layer that it computes first; kernel, stride and weights are that layer's.
        batch_norms: positions of the batch norms that are folded into its weights, in order.
        relu: whether a ReLU is fused into it.
        inputs: the activation tensors that it reads, in order.
        output: the tensor that it writes.
    """

    name: str
    layer: int
    batch_norms: tuple[int, ...]
    relu: bool
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, slots=True)
class OperatorPlan:
    """Operators over numbered activation tensors.

    Args:
        graph: what was planned.
        operators: in their order of execution.
        shapes: of every tensor, for one image.
        names: of every tensor: that of the layer whose result it is.
        inputs: the tensors that hold the network's inputs; networks that we build have one, tensor 0.
        output: the tensor that holds the network's output.
    """

    graph: LayerGraph
    operators: tuple[PlannedOperator, ...]
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    inputs: tuple[int, ...]
    output: int


def plan_operators(graph: LayerGraph) -> OperatorPlan:
    """Say which operators a layer graph becomes.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> cell = Architecture.parse("0-1,1-2:maxpool3x3")
    >>> plan = plan_operators(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))
    >>> [(operator.name, operator.relu) for operator in plan.operators]
    [('CONV_2D', True), ('MAX_POOL_2D', False)]
    """
    return _Planner(graph).plan()


def first_of_repeats(graph: LayerGraph) -> list[int]:
    """For each layer the position of the first that computes the same; its own where it is the first.

    Of several ReLUs, pools, slices or sums of the same tensors one is enough. Layers with weights never repeat one
    another, and the last layer stays.
    """
    first: list[int] = []
    positions: dict[tuple[Any, ...], int] = {}
    last = len(graph.layers) - 1
    for position, layer in enumerate(graph.layers):
        if layer.operator or layer.kind in _WEIGHTED or layer.kind is LayerKind.INPUT or position == last:
            first.append(position)
            continue
        sources = tuple([first[source] for source in layer.inputs])
        key = (layer.kind, sources, layer.shape, layer.kernel_size, layer.stride)
        first.append(positions.setdefault(key, position))
    return first


class _Planner:
    """Goes through the layers once; ``tensor_of`` maps a layer to the tensor that holds its result."""

    def __init__(self, graph: LayerGraph) -> None:
        self.graph = graph
        self.first = first_of_repeats(graph)
        self.follower = _only_followers(graph, self.first)
        self.tensor_of: dict[int, int] = {}
        self.shapes: list[tuple[int, ...]] = []
        self.names: list[str] = []
        self.operators: list[PlannedOperator] = []

    def plan(self) -> OperatorPlan:
        last = 0
        inputs: list[int] = []
        for position, layer in enumerate(self.graph.layers):
            if self.first[position] != position:
                self.tensor_of[position] = self.tensor_of[self.first[position]]
            elif layer.kind is LayerKind.INPUT:
                self.tensor_of[position] = self.tensor(layer)
                inputs.append(self.tensor_of[position])
            elif position not in self.tensor_of:
                self.operator(position, layer)
            last = self.tensor_of[position]
        tensors = tuple(self.shapes), tuple(self.names)
        return OperatorPlan(self.graph, tuple(self.operators), *tensors, tuple(inputs), last)

    def operator(self, position: int, layer: Layer) -> None:
        if layer.operator:
            self.append(layer.operator, position, position)
        elif layer.kind in _SIMPLE_OPERATORS:
            self.append(_SIMPLE_OPERATORS[layer.kind], position, position)
        elif layer.kind is LayerKind.BATCH_NORM:
            self.batch_norm(position, layer)
        elif layer.kind is LayerKind.ADD and len(layer.inputs) > 2:
            self.append("ADD_N", position, position)
        else:
            folded = self.batch_norms_after(position) if layer.kind in _WEIGHTED else ()
            last, relu = self.fused_relu(folded[-1] if folded else position)
            self.append(_FUSING_OPERATORS[layer.kind], position, last, folded, relu)

    def batch_norm(self, position: int, layer: Layer) -> None:
        """A batch norm with no convolution to fold it into: a multiplication and an addition."""
        scaled = self.tensor(layer)
        self.operators.append(PlannedOperator("MUL", position, (), False, self.sources(layer), scaled))
        last, relu = self.fused_relu(position)
        self.finish(position, last)
        self.operators.append(PlannedOperator("ADD", position, (), relu, (scaled,), self.tensor_of[last]))

    def batch_norms_after(self, position: int) -> tuple[int, ...]:
        """Batch norms that follow a convolution and nothing else does."""
        found: list[int] = []
        while self.follows(position, LayerKind.BATCH_NORM):
            position = self.follower[position]
            found.append(position)
        return tuple(found)

    def fused_relu(self, position: int) -> tuple[int, bool]:
        """The layer whose result the operator gives, and whether a ReLU is fused into it."""
        if self.follows(position, LayerKind.RELU):
            return self.follower[position], True
        return position, False

    def follows(self, position: int, kind: LayerKind) -> bool:
        follower = self.follower.get(position)
        return follower is not None and self.graph.layers[follower].kind is kind

    def append(self, name: str, position: int, last: int, folded: tuple[int, ...] = (), relu: bool = False) -> None:
        self.finish(position, last)
        sources = self.sources(self.graph.layers[position])
        self.operators.append(PlannedOperator(name, position, folded, relu, sources, self.tensor_of[last]))

    def finish(self, position: int, last: int) -> None:
        """Everything from ``position`` to ``last`` is one operator; only the last result exists."""
        tensor = self.tensor(self.graph.layers[last])
        while position != last:
            self.tensor_of[position] = tensor
            position = self.follower[position]
        self.tensor_of[last] = tensor

    def sources(self, layer: Layer) -> tuple[int, ...]:
        return tuple([self.tensor_of[source] for source in layer.inputs])

    def tensor(self, layer: Layer) -> int:
        self.shapes.append(layer.shape)
        self.names.append(layer.name)
        return len(self.shapes) - 1


def _only_followers(graph: LayerGraph, first: list[int]) -> dict[int, int]:
    """The layer that alone reads a result, once; repeats do not read, and what was read from a file is not fused."""
    readers: dict[int, int] = {}
    for position, layer in enumerate(graph.layers):
        if first[position] == position:
            for source in layer.inputs:
                read = first[source]
                readers[read] = -1 if read in readers else position
    return {source: reader for source, reader in readers.items() if reader >= 0 and not graph.layers[reader].operator}
