"""Keras models that several tests convert, once a process."""

from __future__ import annotations

from functools import cache
from inspect import isfunction
from typing import Any

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.tflite_converter import convert_tflite

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
TRUNCATING = Architecture.parse(f"0-1,0-2,0-4,1-2,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}")
SLICED = build_layer_graph(TRUNCATING, NetworkConfig.small(filters=40, stacks=1, input_shape=(8, 8, 3)))
"""Wide enough that the converter finds weights worth quantizing."""


@cache
def converted(precision: str) -> bytes:
    """:data:`SLICED` by the converter."""
    return convert_tflite(build_keras_model(SLICED), precision)


@cache
def mobilenet_v2() -> tuple[Any, bytes]:
    """A narrow one for small images, without the softmax that makes random weights' results all alike."""
    import keras

    model = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=7, classifier_activation=None
    )
    return model, convert_tflite(model)


def application_names() -> list[str]:
    """Every network of keras.applications."""
    import keras

    return [name for name, maker in vars(keras.applications).items() if isfunction(maker)]


def application(name: str) -> Any:
    """One of them with random weights, for images of its own size, or of 224 where it has none."""
    import keras

    maker = getattr(keras.applications, name)
    model = maker(weights=None)
    return maker(weights=None, input_shape=(224, 224, 3)) if None in model.inputs[0].shape[1:] else model
