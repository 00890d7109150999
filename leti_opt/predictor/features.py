"""The inputs of the LETI paper's predictors (2020): FLOPs, peak memory, and the cell itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.predictor.cells import Cells, table_of

PAPER_VERTICES = 7
"""Of NAS-Bench-101's largest cells."""

INPUT_CODE, OUTPUT_CODE, NO_VERTEX_CODE = -1, -2, -3
"""Layers that are no operations; the first two as the graph hash has them."""

Floats = NDArray[np.float64]


def cost_features(architectures: Cells, network: NetworkConfig) -> tuple[Floats, tuple[str, ...]]:
    """FLOPs and peak activation memory in bytes of each pruned cell's network, ``(cells, 2)``, and their names."""
    return _costs(table_of(architectures), network), ("flops", "peak_memory_bytes")


def paper_features(
    architectures: Cells, network: NetworkConfig, vertices: int = PAPER_VERTICES
) -> tuple[Floats, tuple[str, ...]]:
    """FLOPs, peak memory in bytes, adjacency and layers of each pruned cell; 58 inputs for up to 7 vertices.

    A cell's output stands at its own last vertex, as in NAS-Bench-101's files; what lies beyond is empty. A layer is
    the position of its operation in the cell's labels; the input is -1, the output -2, no vertex -3.

    Args:
        architectures: the cells.
        network: how they become networks.
        vertices: how many the inputs have room for.

    Raises:
        InvalidInputError: a cell has more vertices.

    >>> from leti_opt.architecture import Architecture
    >>> values, names = paper_features(Architecture.parse("0-1,1-2:maxpool3x3"), NetworkConfig.small())
    >>> values.shape, names[:3], values[0, -7:].astype(int).tolist()
    ((1, 58), ('flops', 'peak_memory_bytes', 'edge_0_0'), [-1, 2, -2, -3, -3, -3, -3])
    """
    table = table_of(architectures)
    largest = int(table.vertices.max(initial=2))
    if largest > vertices:
        raise InvalidInputError(
            f"a cell has {largest} vertices, and the inputs have room for {vertices}; hand in smaller cells, or "
            "raise vertices and fit again"
        )
    adjacency = np.zeros((len(table), vertices, vertices))
    layers = np.full((len(table), vertices), float(NO_VERTEX_CODE))
    for group in table.by_vertices():
        size = group.vertices
        adjacency[group.rows, :size, :size] = group.adjacency
        layers[group.rows, 0] = INPUT_CODE
        layers[group.rows, 1 : size - 1] = group.operations
        layers[group.rows, size - 1] = OUTPUT_CODE
    names = ["flops", "peak_memory_bytes"]
    names += [f"edge_{source}_{target}" for source in range(vertices) for target in range(vertices)]
    names += [f"layer_{vertex}" for vertex in range(vertices)]
    return np.hstack([_costs(table, network), adjacency.reshape(len(table), -1), layers]), tuple(names)


def _costs(table: ArchitectureTable, network: NetworkConfig) -> Floats:
    costs = network_cost(table, network)
    return np.stack([costs.flops, costs.peak_memory_bytes], axis=1).astype(np.float64)
