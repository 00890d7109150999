"""The network that NAS-Bench-201 trains (Dong and Yang, 2020), from the cell's own form: operations on edges."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference.network_listing import Listing, Shape


def stacked_network(
    operations: Sequence[str],
    *,
    filters: int = 16,
    stacks: int = 3,
    cells_per_stack: int = 5,
    classes: int = 10,
    input_shape: Shape = (32, 32, 3),
    chained_adds: bool = True,
    pruned: bool = True,
) -> Listing:
    """Stem, stacks of one cell with a residual block before each but the first, pooling and dense layer.

    Args:
        operations: on the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3, and on in this order for cells of more nodes.
        pruned: leave out edges that are on no path from node 0 to node 3, as we build it. The published networks keep
            them.
    """
    net = Listing(chained_adds)
    tensor = net.batch_norm(net.conv(net.input(input_shape), filters, 3))
    channels = filters
    for stack in range(stacks):
        if stack > 0:
            channels *= 2
            tensor = add_residual_block(net, tensor, channels)
        for _ in range(cells_per_stack):
            tensor = add_cell(net, tensor, operations, pruned)
    tensor = net.relu(net.batch_norm(tensor))
    net.dense(net.global_average_pool(tensor), classes)
    return net


def single_cell(
    operations: Sequence[str], *, input_shape: Shape, chained_adds: bool = True, pruned: bool = True
) -> Listing:
    """One cell alone, fed with the network's input; it keeps the number of channels."""
    net = Listing(chained_adds)
    add_cell(net, net.input(input_shape), operations, pruned)
    return net


def add_residual_block(net: Listing, source: int, channels: int) -> int:
    """Halve the image: two convolutions beside a pooled shortcut."""
    inner = net.relu_conv_bn(source, channels, 3, stride=2)
    inner = net.relu_conv_bn(inner, channels, 3)
    shortcut = net.conv(net.pool("average_pool", source, 2, 2), channels, 1)
    return net.sum([inner, shortcut])


def add_cell(net: Listing, source: int, operations: Sequence[str], pruned: bool) -> int:
    """Every node is the sum of what its edges bring."""
    edges = present_edges(operations, pruned)
    last = all_edges(operations)[-1][1]
    nodes = {0: source}
    for node in range(1, last + 1):
        terms = [
            add_operation(net, nodes[start], operation)
            for start, end, operation in edges
            if end == node and start in nodes
        ]
        if terms:
            nodes[node] = net.sum(terms)
    return nodes[last]


def present_edges(operations: Sequence[str], pruned: bool) -> list[tuple[int, int, str]]:
    """Edges that carry something; when pruned, only those between the first node and the last."""
    every = all_edges(operations)
    edges = [(start, end, op) for (start, end), op in zip(every, operations, strict=True) if op != "none"]
    if not pruned:
        return edges
    forward, backward = {0}, {every[-1][1]}
    for _ in every:
        forward |= {end for start, end, _ in edges if start in forward}
        backward |= {start for start, end, _ in edges if end in backward}
    return [(start, end, op) for start, end, op in edges if start in forward and end in backward]


def all_edges(operations: Sequence[str]) -> list[tuple[int, int]]:
    """The edges that operations are given for, by target, then source."""
    pairs = [(start, end) for end in range(1, len(operations) + 1) for start in range(end)]
    return pairs[: len(operations)]


def add_operation(net: Listing, source: int, operation: str) -> int:
    """One of NAS-Bench-201's operations that carry something."""
    channels = net.shape(source)[-1]
    if operation == "skip_connect":
        return source
    if operation == "nor_conv_1x1":
        return net.relu_conv_bn(source, channels, 1)
    if operation == "nor_conv_3x3":
        return net.relu_conv_bn(source, channels, 3)
    if operation == "avg_pool_3x3":
        return net.pool("average_pool", source, 3, 1)
    raise AssertionError(operation)
