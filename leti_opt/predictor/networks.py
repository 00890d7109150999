"""Networks that no cell describes, as predictors see them: layer graphs, and ``.tflite`` files that were read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_reader import read_tflite

Network = LayerGraph | Path | str | bytes
"""A layer graph, or the path or content of a ``.tflite`` file."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NetworkPredictions:
    """What a predictor says of networks; a figure is not finite where the predictor knows none.

    Args:
        latency_ms: the predictions.
        lower_ms, upper_ms: ends of their intervals.
    """

    latency_ms: Floats
    lower_ms: Floats
    upper_ms: Floats

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.latency_ms)


def graphs_of(networks: Sequence[Network], precision: str) -> list[LayerGraph]:
    """Networks as layer graphs; files are read.

    Args:
        networks: one at least.
        precision: that a predictor learned; a network of another one would be predicted wrongly.

    Raises:
        InvalidInputError: there is none, it is no network, or of another precision.
        InvalidModelError: a file cannot be read.
    """
    if isinstance(networks, LayerGraph | Path | str | bytes) or not len(networks):
        raise InvalidInputError("hand in a list of one network at least, each a LayerGraph or a .tflite file")
    graphs = []
    for place, network in enumerate(networks):
        if not isinstance(network, LayerGraph | Path | str | bytes):
            raise InvalidInputError(
                f"network {place} is a {type(network).__name__}; hand in a LayerGraph, or the path or content of a "
                ".tflite file"
            )
        graph = network if isinstance(network, LayerGraph) else read_tflite(network)
        if graph.precision != precision:
            named = f" ({network})" if isinstance(network, Path | str) else ""
            raise InvalidInputError(
                f"network {place}{named} is {graph.precision}, and the predictor learned {precision} networks; "
                "convert it, or use a predictor of its precision"
            )
        graphs.append(graph)
    return graphs


def network_costs(networks: Sequence[Network], precision: str) -> Floats:
    """FLOPs and peak activation memory in bytes of each, ``(networks, 2)``, as ``cost_features`` has them of cells.

    Raises:
        as :func:`graphs_of`.
    """
    costs = [network_cost(graph) for graph in graphs_of(networks, precision)]
    return np.array([(cost.flops, cost.peak_memory_bytes) for cost in costs], dtype=np.float64)
