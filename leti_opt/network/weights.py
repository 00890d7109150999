"""How large random weights must be for activations to keep an ordinary size through any depth."""

from __future__ import annotations

import math

from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind

_WEIGHTED = (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE)


def weight_stds(graph: LayerGraph) -> dict[int, float]:
    """Standard deviation of the random weights of each convolution and dense layer, by position.

    An estimate of each tensor's mean and variance is carried along the layers: sums add them up, ReLU turns variance
    into mean. Weights are scaled by it so that every convolution gives back about mean 0 and variance 1, whatever was
    summed before. One scale for all would explode or die out over the depth.
    """
    moments: list[tuple[float, float]] = []
    stds: dict[int, float] = {}
    for position, layer in enumerate(graph.layers):
        inputs = [moments[source] for source in layer.inputs]
        if layer.kind in _WEIGHTED:
            stds[position] = 1 / math.sqrt(_fan_in(graph, layer) * max(_square(inputs[0]), 1e-6))
            moments.append((0.0, 1.0))
        elif layer.kind is LayerKind.RELU:
            square = _square(inputs[0])
            moments.append((math.sqrt(square / (2 * math.pi)), square * (0.5 - 0.5 / math.pi)))
        elif layer.kind is LayerKind.ADD:
            moments.append((sum(mean for mean, _ in inputs), sum(var for _, var in inputs)))
        else:
            moments.append(max(inputs, key=_square, default=(0.0, 1.0)))
    return stds


def _square(moments: tuple[float, float]) -> float:
    mean, variance = moments
    return mean**2 + variance


def _fan_in(graph: LayerGraph, layer: Layer) -> int:
    channels = next(graph.input_shapes(layer))[-1]
    if layer.kind is LayerKind.DENSE:
        return channels
    return layer.kernel_size**2 * (1 if layer.kind is LayerKind.DEPTHWISE_CONV else channels)
