"""The network that NAS-Bench-101 trains (Ying et al., 2019), layer by layer, from its published description."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference.graph_hash import Matrix
from tests.reference.network_listing import Listing, Shape


def stacked_network(
    matrix: Matrix,
    operations: Sequence[str],
    *,
    filters: int = 128,
    stacks: int = 3,
    cells_per_stack: int = 3,
    classes: int = 10,
    input_shape: Shape = (32, 32, 3),
    chained_adds: bool = True,
) -> Listing:
    """Stem, stacks of one cell repeated, pooling and dense layer. The cell must be pruned, in the order to build."""
    net = Listing(chained_adds)
    tensor = net.conv_bn_relu(net.input(input_shape), filters, 3)
    channels = filters
    for stack in range(stacks):
        if stack > 0:
            tensor = net.pool("max_pool", tensor, 2, 2)
            channels *= 2
        for _ in range(cells_per_stack):
            tensor = add_cell(net, tensor, matrix, operations, channels)
    net.dense(net.global_average_pool(tensor), classes)
    return net


def single_cell(
    matrix: Matrix,
    operations: Sequence[str],
    *,
    filters: int,
    input_shape: Shape,
    chained_adds: bool = True,
) -> Listing:
    """One cell alone, fed with the network's input."""
    net = Listing(chained_adds)
    add_cell(net, net.input(input_shape), matrix, operations, filters)
    return net


def add_cell(net: Listing, source: int, matrix: Matrix, operations: Sequence[str], channels: int) -> int:
    """Add one cell that turns ``source`` into a tensor with that many channels."""
    output = len(matrix) - 1
    width = vertex_channels(matrix, channels)
    tensors: dict[int, int] = {}
    for vertex in range(1, output):
        terms = []
        if matrix[0][vertex]:
            terms.append(net.conv_bn_relu(source, width[vertex], 1))
        for earlier in range(1, vertex):
            if matrix[earlier][vertex]:
                terms.append(net.cut(tensors[earlier], width[vertex]))
        tensors[vertex] = add_operation(net, net.sum(terms), operations[vertex], width[vertex])
    branches = [tensors[vertex] for vertex in range(1, output) if matrix[vertex][output]]
    if not branches:
        return net.conv_bn_relu(source, channels, 1)
    result = net.concatenate(branches)
    if matrix[0][output]:
        result = net.sum([result, net.conv_bn_relu(source, channels, 1)])
    return result


def vertex_channels(matrix: Matrix, channels: int) -> dict[int, int]:
    """Channels of each inner vertex: a share of the output's, or as many as the widest vertex that it feeds."""
    output = len(matrix) - 1
    sharing = [vertex for vertex in range(1, output) if matrix[vertex][output]]
    width: dict[int, int] = {}
    for place, vertex in enumerate(sharing):
        width[vertex] = channels // len(sharing) + (1 if place < channels % len(sharing) else 0)
    for vertex in reversed(range(1, output)):
        if vertex not in width:
            width[vertex] = max(width[later] for later in range(vertex + 1, output) if matrix[vertex][later])
    return width


def add_operation(net: Listing, source: int, operation: str, channels: int) -> int:
    """One of NAS-Bench-101's three operations."""
    if operation == "conv3x3-bn-relu":
        return net.conv_bn_relu(source, channels, 3)
    if operation == "conv1x1-bn-relu":
        return net.conv_bn_relu(source, channels, 1)
    if operation == "maxpool3x3":
        return net.pool("max_pool", source, 3, 1)
    raise AssertionError(operation)
