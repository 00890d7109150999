"""What a network costs on paper: FLOPs, parameters and peak activation memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operator_plan import plan_operators


@dataclass(frozen=True)
class NetworkCost:
    """Costs of one network.

    Args:
        flops: 2 x multiply-accumulates of convolutions and dense layers, for one run (all images of the batch).
        parameters: trainable ones; batch norm's moving statistics do not count.
        peak_memory_bytes: the largest sum of live activation tensors in the file's order of execution, for all images
            of the batch, without what kernels need for themselves.
    """

    flops: int
    parameters: int
    peak_memory_bytes: int


def network_cost(network: LayerGraph | Architecture, config: NetworkConfig | None = None) -> NetworkCost:
    """FLOPs, parameters and peak memory of a layer graph, or of an architecture with its config.

    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> network_cost(cell, NetworkConfig(scope="cell", filters=8, input_shape=(4, 4, 8)))
    NetworkCost(flops=20480, parameters=672, peak_memory_bytes=1536)
    """
    if isinstance(network, Architecture):
        if config is None:
            raise InvalidInputError("the cost of an architecture needs a NetworkConfig")
        network = build_layer_graph(network, config)
    flops = sum(_multiply_accumulates(network, layer) for layer in network.layers)
    parameters = sum(_parameters(network, layer) for layer in network.layers)
    return NetworkCost(2 * flops * network.batch_size, parameters, _peak_memory_bytes(network))


def _multiply_accumulates(graph: LayerGraph, layer: Layer) -> int:
    if layer.kind not in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE):
        return 0
    positions = math.prod(layer.shape[:-1])
    return positions * _kernel_weights(graph, layer)


def _kernel_weights(graph: LayerGraph, layer: Layer) -> int:
    channels_in = next(graph.input_shapes(layer))[-1]
    if layer.kind is LayerKind.CONV:
        return layer.kernel_size**2 * channels_in * layer.shape[-1]
    if layer.kind is LayerKind.DEPTHWISE_CONV:
        return layer.kernel_size**2 * channels_in
    return channels_in * layer.shape[-1]


def _parameters(graph: LayerGraph, layer: Layer) -> int:
    if layer.kind is LayerKind.BATCH_NORM:
        return 2 * layer.shape[-1]
    if layer.kind not in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE):
        return 0
    bias = layer.shape[-1] if layer.use_bias else 0
    return _kernel_weights(graph, layer) + bias


def _peak_memory_bytes(graph: LayerGraph) -> int:
    """Largest sum of activation tensors that are alive at once, operator by operator of the file.

    A tensor lives from the operator that writes it to the last that reads it. The network's input lives to the end,
    since the runtime leaves it as it is, and so does the output.
    """
    plan = plan_operators(graph)
    size = [math.prod(shape) * graph.batch_size * bytes_per_activation(graph.precision) for shape in plan.shapes]
    readers = [tensor for operator in plan.operators for tensor in operator.inputs]
    unread = Counter([*readers, plan.output, *plan.inputs])
    live = sum(size[tensor] for tensor in plan.inputs)
    peak = live
    for operator in plan.operators:
        live += size[operator.output]
        peak = max(peak, live)
        unread.subtract(operator.inputs)
        live -= sum(size[tensor] for tensor in {*operator.inputs, operator.output} if not unread[tensor])
    return peak


def bytes_per_activation(precision: str) -> int:
    """Size of one element of an activation tensor in a file of this precision."""
    return 1 if precision == "int8" else 4
