"""Real networks: what keras.applications converts to is read with TensorFlow's own FLOPs and Keras' parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest

from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import read_tflite
from tests.network.keras_files import application, mobilenet_v2
from tests.network.tensorflow_flops import profiled_flops

pytestmark = pytest.mark.needs("tensorflow")

FAMILIES = [
    "MobileNet",
    "MobileNetV3Large",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ResNet50V2",
    "DenseNet121",
    "NASNetMobile",
    "InceptionV3",
    "Xception",
    "VGG16",
    "ConvNeXtTiny",
]


def assert_read_exactly(model: Any, content: bytes) -> None:
    graph = read_tflite(content)
    cost = network_cost(graph)
    assert cost.flops == profiled_flops(model) > 0, model.name
    assert abs(cost.parameters - weights_after_folding(model)) <= biases(model), model.name
    assert graph.precision == "float32", model.name
    assert [layer.name for layer in graph.layers if not layer.operator] == [graph.layers[0].name], model.name


def weights_after_folding(model: Any) -> int:
    """Trainable parameters where each batch norm has become one bias.

    The file differs by biases at most: the converter leaves zeros out, and gives one to convolutions that have none.
    """
    kinds = [(type(layer).__name__, layer) for layer in model._flatten_layers()]
    norms = sum(math.prod(w.shape) for name, layer in kinds if "BatchNorm" in name for w in layer.trainable_weights)
    return sum(math.prod(weights.shape) for weights in model.trainable_weights) - norms // 2


def biases(model: Any) -> int:
    """The most that there can be; a separable convolution is two in the file."""
    kernels = [
        getattr(layer, name)
        for layer in model._flatten_layers()
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if hasattr(layer, name)
    ]
    return sum(max(kernel.shape[-2:]) for kernel in kernels)


def test_mobilenet_v2_is_read_exactly() -> None:
    assert_read_exactly(*mobilenet_v2())


def test_mobilenet_v3_is_read_exactly_with_what_no_kind_of_layer_says() -> None:
    import keras

    model = keras.applications.MobileNetV3Small(input_shape=(32, 32, 3), weights=None, classes=10)
    content = convert_tflite(model)
    assert_read_exactly(model, content)
    opaque = {layer.operator for layer in read_tflite(content).layers if layer.kind is LayerKind.OPAQUE}
    assert {"HARD_SWISH", "MUL", "SOFTMAX"} <= opaque


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_network_of_each_family_of_keras_applications_is_read_exactly(name: str) -> None:
    """All networks of a family take most of an hour more: benchmarks/keras_applications.py has them."""
    import keras

    keras.utils.clear_session()
    model = application(name)
    assert_read_exactly(model, convert_tflite(model))
