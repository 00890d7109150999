"""Weights of a network: their layout, where they come from, and how large random ones must be."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
