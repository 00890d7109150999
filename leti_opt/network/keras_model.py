"""LayerGraph -> keras.Model, with seeded random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind, check_built
from leti_opt.network.weights import BATCH_NORM_EPSILON, SMALL_SHIFT, weight_stds

if TYPE_CHECKING:
    import keras

_Build = Callable[[Layer, list[Any], Any], Any]


def build_keras_model(graph: LayerGraph, seed: int = 0) -> keras.Model:
    """Build a functional Keras model, layer for layer.

    Args:
        graph: what to build.
        seed: of the random weights; each layer has its own. Activations keep an ordinary size through the depth.

    Returns:
        a model with a static batch dimension, without softmax, built on Keras's TensorFlow backend.

    Raises:
        InvalidInputError: the graph was read from a file.
    """
    check_built(graph)
    import keras

    build, stds = _builders(), weight_stds(graph)
    tensors = [keras.Input(graph.input_shape, batch_size=graph.batch_size, name="input")]
    for position, layer in enumerate(graph.layers[1:], start=1):
        inputs = [tensors[source] for source in layer.inputs]
        weights = _random_normal(stds.get(position), seed * 1_000_003 + position)
        tensors.append(build[layer.kind](layer, inputs, weights))
    return keras.Model(tensors[0], tensors[-1])


def _builders() -> Mapping[LayerKind, _Build]:
    """How each kind of layer is made: ``(layer, inputs, initializer) -> tensor``."""
    return {
        LayerKind.CONV: _conv,
        LayerKind.DEPTHWISE_CONV: _depthwise_conv,
        LayerKind.BATCH_NORM: _batch_norm,
        LayerKind.RELU: lambda layer, inputs, _: _layers().ReLU(name=layer.name)(*inputs),
        LayerKind.MAX_POOL: lambda layer, inputs, _: _pool(_layers().MaxPooling2D, layer, inputs),
        LayerKind.AVERAGE_POOL: lambda layer, inputs, _: _pool(_layers().AveragePooling2D, layer, inputs),
        LayerKind.ADD: _add,
        LayerKind.CONCATENATE: lambda layer, inputs, _: _layers().Concatenate(name=layer.name)(inputs),
        LayerKind.SLICE_CHANNELS: _slice_channels,
        LayerKind.GLOBAL_AVERAGE_POOL: lambda layer, inputs, _: _layers().GlobalAveragePooling2D(name=layer.name)(
            *inputs
        ),
        LayerKind.DENSE: _dense,
    }


def _layers() -> Any:
    import keras

    return keras.layers


def _random_normal(std: float | None, seed: int) -> Any:
    """An initializer, for the layers that have weights to draw."""
    import keras

    return None if std is None else keras.initializers.RandomNormal(0.0, std, seed=seed)


def _small_shift() -> Any:
    import keras

    return keras.initializers.Constant(SMALL_SHIFT)


def _conv(layer: Layer, inputs: list[Any], weights: Any) -> Any:
    return _layers().Conv2D(
        layer.shape[-1],
        layer.kernel_size,
        strides=layer.stride,
        padding="same",
        use_bias=layer.use_bias,
        kernel_initializer=weights,
        name=layer.name,
    )(*inputs)


def _depthwise_conv(layer: Layer, inputs: list[Any], weights: Any) -> Any:
    return _layers().DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.stride,
        padding="same",
        use_bias=layer.use_bias,
        depthwise_initializer=weights,
        name=layer.name,
    )(*inputs)


def _batch_norm(layer: Layer, inputs: list[Any], _: Any) -> Any:
    return _layers().BatchNormalization(
        epsilon=BATCH_NORM_EPSILON, momentum=0.997, beta_initializer=_small_shift(), name=layer.name
    )(*inputs)


def _pool(kind: Callable[..., Any], layer: Layer, inputs: list[Any]) -> Any:
    return kind(layer.kernel_size, strides=layer.stride, padding="same", name=layer.name)(*inputs)


def _add(layer: Layer, inputs: list[Any], _: Any) -> Any:
    if len(inputs) == 2:
        return _layers().Add(name=layer.name)(inputs)
    from leti_opt.network.keras_layers import AddN

    return AddN(name=layer.name)(inputs)


def _slice_channels(layer: Layer, inputs: list[Any], _: Any) -> Any:
    from leti_opt.network.keras_layers import SliceChannels

    return SliceChannels(layer.shape[-1], name=layer.name)(*inputs)


def _dense(layer: Layer, inputs: list[Any], weights: Any) -> Any:
    return _layers().Dense(
        layer.shape[-1],
        use_bias=layer.use_bias,
        kernel_initializer=weights,
        bias_initializer=_small_shift(),
        name=layer.name,
    )(*inputs)
