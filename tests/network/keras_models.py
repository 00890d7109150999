"""Small Keras models for the tests that cut them."""

from __future__ import annotations

from typing import Any

from leti_opt.network.blocks import LayerBlock, cut_layers
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import read_tflite


def layers() -> Any:
    import keras

    return keras.layers


def model_of(*chain: Any, shape: tuple[int | None, ...] = (8, 8, 3)) -> Any:
    import keras

    image = tensor = keras.Input(shape)
    for layer in chain:
        tensor = layer(tensor)
    return keras.Model(image, tensor)


def branched(filters: int = 4) -> Any:
    """Two branches that are added, then joined with the image."""
    import keras

    image = keras.Input((8, 8, 3))
    left = layers().Conv2D(filters, 3, padding="same", name="left")(image)
    right = layers().BatchNormalization(name="norm")(layers().Conv2D(filters, 1, name="right")(image))
    joined = layers().Concatenate(name="joined")([image, layers().Add(name="sum")([left, right])])
    return keras.Model(image, layers().GlobalAveragePooling2D(name="mean")(joined))


def operators(block: LayerBlock) -> list[str]:
    return [layer.operator for layer in read_tflite(convert_tflite(block.build())).layers if layer.operator]


def only(model: Any) -> LayerBlock:
    (block,) = cut_layers(model)
    return block
