"""What a network costs on paper: FLOPs, parameters and peak activation memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.peak_memory import peak_memory_bytes
from leti_opt.network.read_layers import check_sizes, read_multiply_accumulates, read_parameters
from leti_opt.network.table_cost import TableCost, table_cost


@dataclass(frozen=True)
class NetworkCost:
    """Costs of one network.

    Args:
        flops: 2 x multiply-accumulates of convolutions and dense layers, for one run (all images of the batch).
        parameters: trainable ones; batch norm's moving statistics do not count.
        peak_memory_bytes: the largest sum of live activation tensors in the order of execution of our writer's file,
            for all images of the batch, without what kernels need for themselves. The converter orders operators in its
            own way.
    """

    flops: int
    parameters: int
    peak_memory_bytes: int


@overload
def network_cost(network: LayerGraph | Architecture, config: NetworkConfig | None = None) -> NetworkCost: ...


@overload
def network_cost(network: ArchitectureTable, config: NetworkConfig | None = None) -> TableCost: ...


def network_cost(
    network: LayerGraph | Architecture | ArchitectureTable, config: NetworkConfig | None = None
) -> NetworkCost | TableCost:
    """FLOPs, parameters and peak memory of a layer graph, of an architecture, or of every row of a table.

    Of a graph that was read from a file, parameters are the weights and biases that the file holds for its convolutions
    and dense layers: batch norm is folded into them.

    Args:
        network: a layer graph stands for itself; cells are laid out with the config.
        config: how cells become networks.

    Raises:
        InvalidInputError: no config for an architecture or a table, one for a layer graph, or something else to cost.
        InvalidConfigError: the config does not fit a cell, or a table's costs may be beyond 64 bits.
        UnknownOperationError: the config knows no layers for an operation.

    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> network_cost(cell, NetworkConfig(scope="cell", filters=8, input_shape=(4, 4, 8)))
    NetworkCost(flops=20480, parameters=672, peak_memory_bytes=1536)
    >>> network_cost(ArchitectureTable.from_architectures([cell, cell]), NetworkConfig.small()).parameters
    array([51114, 51114])
    """
    if not isinstance(network, LayerGraph | Architecture | ArchitectureTable):
        raise InvalidInputError(
            "costs are those of a LayerGraph, an Architecture or an ArchitectureTable, "
            f"not of a {type(network).__name__}"
        )
    if isinstance(network, LayerGraph):
        if config is not None:
            raise InvalidInputError("a layer graph is laid out already; leave the config out, or hand in the cell")
    else:
        if not isinstance(config, NetworkConfig):
            raise InvalidInputError(f"the cost of an architecture needs a NetworkConfig, not {config!r}")
        if isinstance(network, ArchitectureTable):
            return table_cost(network, config)
        network = build_layer_graph(network, config)
    check_sizes(network)
    flops = sum(_multiply_accumulates(network, layer) for layer in network.layers)
    parameters = sum(_parameters(network, layer) for layer in network.layers)
    return NetworkCost(2 * flops, parameters, peak_memory_bytes(network))


@dataclass(frozen=True)
class LayerCost:
    """One layer's share of the costs.

    Args:
        name: the layer's.
        kind: what it computes.
        shape: of its output, without the batch.
        flops: 2 x its multiply-accumulates, for all images of the batch.
        parameters: its trainable ones.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    flops: int
    parameters: int


def layer_costs(graph: LayerGraph) -> tuple[LayerCost, ...]:
    """Every layer with its FLOPs and parameters; they add up to those of :func:`network_cost`."""
    return tuple(
        LayerCost(
            layer.name,
            layer.operator or layer.kind.value,
            layer.shape,
            2 * _multiply_accumulates(graph, layer),
            _parameters(graph, layer),
        )
        for layer in graph.layers
    )


def _multiply_accumulates(graph: LayerGraph, layer: Layer) -> int:
    """Of one layer, for the whole batch."""
    if layer.operator:
        return read_multiply_accumulates(graph, layer)
    if layer.kind not in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE):
        return 0
    positions = graph.batch_size * math.prod(layer.shape[:-1])
    return positions * _kernel_weights(graph, layer)


def _kernel_weights(graph: LayerGraph, layer: Layer) -> int:
    channels_in = next(graph.input_shapes(layer))[-1]
    if layer.kind is LayerKind.CONV:
        return layer.kernel_size**2 * channels_in * layer.shape[-1]
    if layer.kind is LayerKind.DEPTHWISE_CONV:
        return layer.kernel_size**2 * channels_in
    return channels_in * layer.shape[-1]


def _parameters(graph: LayerGraph, layer: Layer) -> int:
    if layer.operator:
        return read_parameters(graph, layer)
    if layer.kind is LayerKind.BATCH_NORM:
        return 2 * layer.shape[-1]
    if layer.kind not in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE):
        return 0
    bias = layer.shape[-1] if layer.use_bias else 0
    return _kernel_weights(graph, layer) + bias
