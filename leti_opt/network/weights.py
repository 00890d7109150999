"""Weights of a network: their layout, where they come from, and how large random ones must be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind

if TYPE_CHECKING:
    import keras

NetworkWeights = Mapping[str, tuple[NDArray[np.float32], ...]]
"""Arrays by the layer's name, as Keras holds them: of a convolution the kernel (height, width, in, out), depthwise
(height, width, channels, 1), then its bias; of a dense layer the matrix (in, out), then its bias; of batch norm scale,
shift, moving mean and moving variance."""

BATCH_NORM_EPSILON = 1e-5
SMALL_SHIFT = 0.01
"""Random networks add this where a trained one would add something: the TF converter leaves additions of zeros out, and
the file would be another."""

_WEIGHTED = frozenset({LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE})


def weight_stds(graph: LayerGraph) -> dict[int, float]:
    """Standard deviation of the random weights of each convolution and dense layer, by position."""
    return scale_weights(graph)[0]


def activation_moments(graph: LayerGraph) -> list[tuple[float, float]]:
    """An estimate of the mean and variance of each layer's result, with random weights and standard normal input."""
    return scale_weights(graph)[1]


def scale_weights(
    graph: LayerGraph, available: Callable[[float], float] | None = None
) -> tuple[dict[int, float], list[tuple[float, float]]]:
    """Standard deviations of the random weights by layer, and each layer's estimated mean and variance with them.

    An estimate of what weights are multiplied with is carried along the layers: sums add mean and variance up (terms
    that stem from one layer grow together), ReLU turns variance into mean. Weights are scaled by it so that every
    convolution gives back about mean 0 and variance 1, whatever was summed before. One scale for all would explode or
    die out over the depth.

    Args:
        graph: the network.
        available: gives the standard deviation that there is for one that is wanted. What is off enters the estimate,
            so that the next layer makes up for it.
    """
    moments: list[tuple[float, float]] = []
    stds: dict[int, float] = {}
    origins: list[dict[int, int]] = []
    for position, layer in enumerate(graph.layers):
        kind = layer.kind
        origins.append(_origins(layer, position, origins))
        if kind is LayerKind.INPUT:
            moments.append((0.0, 1.0))
        elif kind in _WEIGHTED:
            source = layer.inputs[0]
            mean, variance = moments[source]
            fan_in = _fan_in(layer, graph.layers[source].shape[-1])
            wanted = 1 / math.sqrt(fan_in * max(mean * mean + variance, 1e-6))
            stds[position] = used = available(wanted) if available else wanted
            moments.append((0.0, (used / wanted) ** 2))
        elif kind is LayerKind.RELU:
            mean, variance = moments[layer.inputs[0]]
            square = mean * mean + variance
            moments.append((math.sqrt(square / (2 * math.pi)), square * (0.5 - 0.5 / math.pi)))
        elif kind is LayerKind.ADD:
            terms = [(times, *moments[origin]) for origin, times in origins[position].items()]
            mean = sum([times * mean for times, mean, _ in terms])
            moments.append((mean, sum([times * times * variance for times, _, variance in terms])))
        elif len(layer.inputs) == 1:
            moments.append(moments[layer.inputs[0]])
        else:
            moments.append(max([moments[source] for source in layer.inputs], key=_square, default=(0.0, 1.0)))
    return stds, moments


_KEEPING = frozenset({LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL, LayerKind.BATCH_NORM, LayerKind.SLICE_CHANNELS})


def _origins(layer: Layer, position: int, origins: list[dict[int, int]]) -> dict[int, int]:
    """The independent layers that a result is a sum of, and how often each enters."""
    if layer.kind in _KEEPING:
        return origins[layer.inputs[0]]
    if layer.kind is not LayerKind.ADD:
        return {position: 1}
    found: dict[int, int] = {}
    for source in layer.inputs:
        for origin, times in origins[source].items():
            found[origin] = found.get(origin, 0) + times
    return found


def _square(moments: tuple[float, float]) -> float:
    mean, variance = moments
    return mean**2 + variance


def _fan_in(layer: Layer, channels: int) -> int:
    """How many inputs each output sums."""
    if layer.kind is LayerKind.DENSE:
        return channels
    return layer.kernel_size**2 * (1 if layer.kind is LayerKind.DEPTHWISE_CONV else channels)


def keras_weights(model: keras.Model) -> dict[str, tuple[NDArray[np.float32], ...]]:
    """The weights of a model that :func:`~leti_opt.network.keras_model.build_keras_model` built, trained or not."""
    found = {
        layer.name: tuple(np.asarray(array, np.float32) for array in layer.get_weights()) for layer in model.layers
    }
    return {name: arrays for name, arrays in found.items() if arrays}


def weight_shapes(graph: LayerGraph, layer: Layer) -> tuple[tuple[int, ...], ...]:
    """Shapes of a layer's arrays in :data:`NetworkWeights`; empty for a layer without weights."""
    channels = layer.shape[-1]
    if layer.kind is LayerKind.BATCH_NORM:
        return ((channels,),) * 4
    if layer.kind not in _WEIGHTED:
        return ()
    channels_in = next(graph.input_shapes(layer))[-1]
    kernel: tuple[int, ...] = (channels_in, channels)
    if layer.kind is LayerKind.CONV:
        kernel = (layer.kernel_size, layer.kernel_size, channels_in, channels)
    elif layer.kind is LayerKind.DEPTHWISE_CONV:
        kernel = (layer.kernel_size, layer.kernel_size, channels_in, 1)
    return (kernel, (channels,)) if layer.use_bias else (kernel,)


def check_weights(graph: LayerGraph, weights: NetworkWeights) -> None:
    """Refuse weights that do not fit the graph, layer by layer.

    Raises:
        InvalidInputError: a layer's weights are missing, left over, of another shape, or not finite.
    """
    if not isinstance(weights, Mapping):
        raise InvalidInputError(
            f"weights are arrays by the layer's name, not a {type(weights).__name__}; "
            "a Keras model's are keras_weights(model)"
        )
    expected = {layer.name: shapes for layer in graph.layers if (shapes := weight_shapes(graph, layer))}
    if unknown := sorted(set(weights) - set(expected)):
        raise InvalidInputError(f"weights for layers that the graph does not have: {', '.join(unknown[:5])}")
    for name, shapes in expected.items():
        if name not in weights:
            raise InvalidInputError(f"no weights for layer {name!r}; it takes arrays of the shapes {shapes}")
        given: list[Any] = [np.asarray(array) for array in weights[name]]
        if tuple(array.shape for array in given) != shapes:
            raise InvalidInputError(
                f"weights of layer {name!r} have the shapes {tuple(array.shape for array in given)}, not {shapes}"
            )
        if not all(np.isfinite(array).all() for array in given):
            raise InvalidInputError(f"weights of layer {name!r} are not all finite")
