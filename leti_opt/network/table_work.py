"""Multiply-accumulates and parameters of many networks at once: sums over vertices, with no network laid out.

``assembly`` and ``cost`` are the reference; tests compare row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import EqualSized
from leti_opt.edge_bits import pack_edges
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.operations import WINDOWED, Operation
from leti_opt.network.table_assembly import WEIGHTED_WINDOWS, Image, first_with_feeders, halved, vertex_channels
from leti_opt.network.table_layers import Integers


@dataclass(frozen=True)
class CellPlace:
    """Where equal cells stand in a network.

    Args:
        depth: channels that a cell gets.
        filters: channels that it gives.
        image: height and width.
        cells: how many.
    """

    depth: int
    filters: int
    image: Image
    cells: int


def cell_places(config: NetworkConfig) -> Iterator[CellPlace]:
    """The places of cells in a network, in their order.

    >>> [(place.depth, place.filters, place.cells) for place in cell_places(NetworkConfig(stacks=2))]
    [(128, 128, 1), (128, 128, 2), (128, 256, 1), (256, 256, 2)]
    """
    height, width, depth = config.input_shape
    if config.scope == "cell":
        yield CellPlace(depth, config.filters, (height, width), 1)
        return
    image = height, width
    for stack in range(config.stacks):
        filters = config.filters * 2**stack
        pooled = stack > 0 and config.reduction == "max_pool"
        yield CellPlace(filters // 2 if pooled else filters, filters, image, 1)
        if config.cells_per_stack > 1:
            yield CellPlace(filters, filters, image, config.cells_per_stack - 1)
        image = halved(image)


def cells_work(cells: EqualSized, labels: Sequence[str], config: NetworkConfig) -> Integers:
    """Multiply-accumulates for one image and parameters of each row's network, ``(rows, 2)``.

    A vertex's work depends on the edges and its own operation only, so it is computed for every set of edges that
    occurs and every operation, and looked up for each row.
    """
    _, first, member = np.unique(pack_edges(cells.adjacency), axis=0, return_index=True, return_inverse=True)
    adjacency = cells.adjacency[first]
    projected = projected_vertices(adjacency, config)
    shared = np.zeros((len(first), 2), dtype=np.int64) + skeleton_work(config)
    by_label = np.zeros((*adjacency.shape[:2], len(labels), 2), dtype=np.int64)
    for place in cell_places(config):
        channels = channels_of_vertices(adjacency, config, place.filters)
        for number, label in enumerate(labels):
            if label in config.operation_table:
                operation = config.operation_table[label]
                by_label[:, :, number] += place.cells * operation_work(operation, channels, channels, place.image)
        if config.projection is not None:
            projection = config.operation_table[config.projection]
            per_edge = operation_work(projection, place.depth, channels, place.image)
            shared += place.cells * (per_edge * projected[:, :, np.newaxis]).sum(axis=1)
    work: Integers = shared[member]
    for vertex in range(1, cells.vertices - 1):
        work += by_label[member, vertex, cells.operations[:, vertex - 1]]
    return work


def skeleton_work(config: NetworkConfig) -> Integers:
    """Multiply-accumulates for one image and parameters of what surrounds the cells."""
    work = np.zeros(2, dtype=np.int64)
    if config.scope == "cell":
        return work
    table = config.operation_table
    height, width, depth = config.input_shape
    image, filters = (height, width), config.filters
    work += operation_work(table[config.stem], depth, filters, image)
    for _ in range(1, config.stacks):
        if config.reduction == "residual":
            half = halved(image)
            work += operation_work(table["nor_conv_3x3"], filters, 2 * filters, image, stride=2)
            work += operation_work(table["nor_conv_3x3"], 2 * filters, 2 * filters, half)
            work += operation_work(table["conv1x1"], filters, 2 * filters, half)
        image, filters = halved(image), 2 * filters
    if config.head is not None:
        work += operation_work(table[config.head], filters, filters, image)
    weights = filters * config.classes
    work += (weights, weights + config.classes)
    return work


def operation_work(
    operation: Operation, depth: int | Integers, channels: int | Integers, image: Image, stride: int = 1
) -> Integers:
    """Multiply-accumulates for one image and parameters of an operation; one pair for each of several channels."""
    wanted: Integers = np.asarray(channels, dtype=np.int64)
    reached: Integers = depth + 0 * wanted
    accumulates, parameters = np.zeros_like(wanted), np.zeros_like(wanted)
    for step in operation.steps:
        weights: Integers = np.zeros_like(wanted)
        if step.kind in WINDOWED and stride > 1:
            image, stride = halved(image), 1
        if step.kind is LayerKind.CONV:
            weights, reached = step.kernel_size**2 * reached * wanted, wanted
        elif step.kind is LayerKind.DEPTHWISE_CONV:
            weights = step.kernel_size**2 * reached
        accumulates = accumulates + image[0] * image[1] * weights
        parameters = parameters + weights
        if step.kind is LayerKind.BATCH_NORM:
            parameters = parameters + 2 * reached
        elif step.use_bias and step.kind in WEIGHTED_WINDOWS:
            parameters = parameters + reached
    return np.stack([accumulates, parameters], axis=-1)


def channels_of_vertices(adjacency: NDArray[np.int8], config: NetworkConfig, filters: int) -> Integers:
    """Channels of each vertex; the output has all."""
    if config.cell_output == "sum":
        return np.full(adjacency.shape[:2], filters, dtype=np.int64)
    channels = vertex_channels(adjacency, filters)
    channels[:, -1] = filters
    return channels


def projected_vertices(adjacency: NDArray[np.int8], config: NetworkConfig) -> NDArray[np.bool_]:
    """Vertices for which what the cell gets passes the projection, ``(rows, vertices)``."""
    from_input: NDArray[np.bool_] = adjacency[:, 0] > 0
    if config.projection is None:
        return np.zeros_like(from_input)
    if config.cell_output == "sum":
        # Vertices with the same feeders share one sum, and so one projection.
        from_input &= first_with_feeders(adjacency) == np.arange(adjacency.shape[1])
    return from_input
