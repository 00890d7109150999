"""Reading a TFLite file back as a layer graph: layers, details, costs, and files that are damaged."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidInputError, InvalidModelError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operator_plan import plan_operators
from leti_opt.network.tflite_converter import PRECISIONS, convert_tflite
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.network.weights_outside import place_weights
from tests.device.tiny_tflite import model_that_hangs, model_with_custom_operator
from tests.network.keras_files import SLICED, converted
from tests.network.schema_files import SchemaFile, unpacked, with_weights_outside
from tests.network.tensorflow_flops import profiled_flops
from tests.network.tiny_file import TINY
from tests.reference.strategies import cells

needs_tensorflow = pytest.mark.needs("tensorflow")


def operators(graph: LayerGraph) -> list[str]:
    return [layer.operator for layer in graph.layers if layer.operator]


def details(layer: Layer) -> dict[str, Any]:
    return dict(layer.details)


def assert_read_as_planned(graph: LayerGraph, found: LayerGraph) -> None:
    plan = plan_operators(graph)
    assert operators(found) == [operator.name for operator in plan.operators]
    assert [layer.inputs for layer in found.layers[1:]] == [operator.inputs for operator in plan.operators]
    assert [layer.shape for layer in found.layers] == list(plan.shapes)
    kinds = [graph.layers[operator.layer].kind for operator in plan.operators]
    assert [layer.kind for layer in found.layers[1:]] == kinds
    assert (found.batch_size, found.precision) == (graph.batch_size, graph.precision)


@given(cells(), st.booleans(), st.sampled_from([1, 3]), st.sampled_from([6, 13]))
@settings(deadline=None, max_examples=40)
def test_a_written_network_is_read_as_it_was_planned(cell: Architecture, chained: bool, batch: int, width: int) -> None:
    config = NetworkConfig.small(filters=width, stacks=2, input_shape=(7, 6, 3), chained_adds=chained, batch_size=batch)
    graph = build_layer_graph(cell, config)
    found = read_tflite(write_tflite(graph))
    assert_read_as_planned(graph, found)
    built, read = network_cost(graph), network_cost(found)
    assert (read.flops, read.peak_memory_bytes) == (built.flops, built.peak_memory_bytes)
    scales = sum(layer.shape[-1] for layer in graph.layers if layer.kind is LayerKind.BATCH_NORM)
    assert read.parameters == built.parameters - scales


@needs_tensorflow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_converted_networks_cost_the_same_in_every_precision(precision: str) -> None:
    found = read_tflite(converted(precision))
    assert found.precision == precision
    built = network_cost(SLICED)
    assert network_cost(found).flops == built.flops
    assert network_cost(found).peak_memory_bytes * (4 if precision == "int8" else 1) == built.peak_memory_bytes
    assert "DEQUANTIZE" not in operators(found)
    assert Counter(operators(found)) == Counter(operator.name for operator in plan_operators(SLICED).operators)


@needs_tensorflow
def test_parameters_do_not_depend_on_how_weights_are_stored() -> None:
    assert len({network_cost(read_tflite(converted(precision))).parameters for precision in PRECISIONS}) == 1


def keras_case(shape: tuple[int, ...], batch: int, *layers: Any) -> Any:
    import keras

    image = tensor = keras.Input(shape, batch_size=batch)
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(image, tensor)


def one_layer(kind: str, *sizes: Any, **settings: Any) -> Any:
    """A Keras layer with a bias that the converter does not leave out."""
    import keras

    return getattr(keras.layers, kind)(*sizes, bias_initializer="ones", **settings)


KERAS_CASES = {
    "valid, not square, strided": lambda: keras_case((9, 8, 3), 1, one_layer("Conv2D", 5, (3, 2), strides=2)),
    "strides not square": lambda: keras_case(
        (9, 8, 3), 2, one_layer("Conv2D", 5, (3, 2), strides=(2, 1), padding="same")
    ),
    "dilated": lambda: keras_case((12, 12, 3), 1, one_layer("Conv2D", 4, 3, dilation_rate=2)),
    "depth multiplier": lambda: keras_case((8, 8, 6), 1, one_layer("DepthwiseConv2D", 3, depth_multiplier=3)),
    "of one dimension": lambda: keras_case((16, 3), 2, one_layer("Conv1D", 5, 3)),
    "dense, two of them": lambda: keras_case((8,), 4, one_layer("Dense", 5), one_layer("Dense", 2)),
    "dense along the last of three": lambda: keras_case((7, 3, 8), 2, one_layer("Dense", 5)),
}


@needs_tensorflow
@pytest.mark.parametrize("name", KERAS_CASES)
def test_flops_are_those_of_tensorflows_profiler_and_parameters_those_of_keras(name: str) -> None:
    model = KERAS_CASES[name]()
    cost = network_cost(read_tflite(convert_tflite(model)))
    assert cost.flops == profiled_flops(model) > 0
    assert cost.parameters == model.count_params()


@needs_tensorflow
def test_convolutions_that_the_profiler_does_not_know_are_counted_by_their_definition() -> None:
    grouped = keras_case((8, 8, 6), 1, one_layer("Conv2D", 4, 3, groups=2))
    transposed = keras_case((4, 5, 3), 2, one_layer("Conv2DTranspose", 5, 3, strides=2))
    volume = keras_case((6, 6, 6, 2), 1, one_layer("Conv3D", 4, 3, use_bias=False))
    costs = [network_cost(read_tflite(convert_tflite(model))) for model in (grouped, transposed, volume)]
    assert [cost.flops for cost in costs] == [
        2 * 6 * 6 * 4 * (3 * 3 * 6 // 2),
        2 * 2 * 4 * 5 * 3 * (3 * 3 * 5),
        2 * 4 * 4 * 4 * 4 * (3 * 3 * 3 * 2),
    ]
    assert [cost.parameters for cost in costs] == [model.count_params() for model in (grouped, transposed, volume)]


def test_details_hold_what_the_fields_do_not_say() -> None:
    file = SchemaFile()
    image, result = file.tensor((2, 9, 8, 6)), file.tensor((2, 4, 7, 4))
    file.operator(
        "CONV_2D", [image, file.weights(4, 3, 2, 3), -1], [result], "Conv2D", padding=1, strideH=2, strideW=1,
        fusedActivationFunction=3, dilationHFactor=1, dilationWFactor=1,
    )  # fmt: skip
    (convolution,) = read_tflite(file.packed([image], [result])).layers[1:]
    assert (convolution.kind, convolution.kernel_size, convolution.stride) == (LayerKind.CONV, 3, 2)
    assert not convolution.use_bias
    found = details(convolution)
    assert (found["padding"], found["stride_w"], found["fused_activation_function"]) == ("VALID", 1, "RELU6")
    assert found["operands"] == (0, ("FLOAT32", (4, 3, 2, 3), None), None)
    assert convolution.details == tuple(sorted(convolution.details))


def test_unknown_operators_stay_as_opaque_layers_with_shape_and_options() -> None:
    file = SchemaFile()
    image, resized, custom = file.tensor((1, 4, 4, 3)), file.tensor((1, 8, 8, 3)), file.tensor((1, 8, 8, 3))
    size = file.constant(np.array([8, 8], np.int32))
    file.operator("RESIZE_BILINEAR", [image, size], [resized], "ResizeBilinear", halfPixelCenters=True)
    file.operator("CUSTOM", [resized], [custom], custom="MyOwn")
    file.graph.operators[-1].customOptions = [1, 2, 3]
    graph = read_tflite(file.packed([image], [custom]))
    assert [layer.kind for layer in graph.layers] == [LayerKind.INPUT, LayerKind.OPAQUE, LayerKind.OPAQUE]
    assert [(layer.operator, layer.shape) for layer in graph.layers[1:]] == [
        ("RESIZE_BILINEAR", (8, 8, 3)),
        ("MyOwn", (8, 8, 3)),
    ]
    assert details(graph.layers[1])["operands"] == (0, ("INT32", (2,), (8, 8)))
    assert details(graph.layers[1])["half_pixel_centers"] is True
    assert len(details(graph.layers[2])["custom_options_sha256"]) == 64
    assert network_cost(graph).flops == network_cost(graph).parameters == 0


@pytest.mark.parametrize(
    ("begin", "kind"), [((0, 0, 0, 0), LayerKind.SLICE_CHANNELS), ((0, 0, 0, 1), LayerKind.OPAQUE)]
)
def test_only_a_slice_of_the_first_channels_is_one_of_ours(begin: tuple[int, ...], kind: LayerKind) -> None:
    file = SchemaFile()
    image, result = file.tensor((1, 4, 4, 3)), file.tensor((1, 4, 4, 2))
    cut = [file.constant(np.array(values, np.int32)) for values in (begin, (1, 4, 4, 2))]
    file.operator("SLICE", [image, *cut], [result])
    assert read_tflite(file.packed([image], [result])).layers[1].kind is kind


@pytest.mark.parametrize(
    ("axes", "keep", "kind"),
    [
        ((1, 2), False, LayerKind.GLOBAL_AVERAGE_POOL),
        ((-2, -3), True, LayerKind.GLOBAL_AVERAGE_POOL),
        ((1,), False, LayerKind.OPAQUE),
        ((1, 2, 3), False, LayerKind.OPAQUE),
    ],
)
def test_only_a_mean_over_the_image_is_a_global_pool(axes: tuple[int, ...], keep: bool, kind: LayerKind) -> None:
    file = SchemaFile()
    image = file.tensor((1, 4, 4, 3))
    result = file.tensor((1, 1, 1, 3) if keep else (1, 3))
    file.operator("MEAN", [image, file.constant(np.array(axes, np.int32))], [result], "Reducer", keepDims=keep)
    layer = read_tflite(file.packed([image], [result])).layers[1]
    assert layer.kind is kind
    assert details(layer)["keep_dims"] is keep


def test_a_sum_with_a_constant_or_of_unlike_shapes_is_no_sum_of_layers() -> None:
    file = SchemaFile()
    image, vector = file.tensor((1, 4, 4, 3)), file.tensor((1, 1, 1, 3))
    results = [file.tensor((1, 4, 4, 3)) for _ in range(3)]
    file.operator("ADD", [image, file.weights(3)], [results[0]], "Add")
    file.operator("ADD", [results[0], vector], [results[1]], "Add")
    file.operator("ADD", [results[1], image], [results[2]], "Add")
    graph = read_tflite(file.packed([image, vector], [results[2]]))
    assert [layer.kind for layer in graph.layers[2:]] == [LayerKind.OPAQUE, LayerKind.OPAQUE, LayerKind.ADD]


def test_a_product_counts_as_dense_when_one_side_is_weights() -> None:
    def cost(weights: bool) -> tuple[int, int]:
        file = SchemaFile()
        image, result = file.tensor((2, 5, 8)), file.tensor((2, 5, 4))
        other = file.weights(8, 4) if weights else file.tensor((2, 8, 4))
        file.operator("BATCH_MATMUL", [image, other], [result], "BatchMatMul")
        found = network_cost(read_tflite(file.packed([image] if weights else [image, other], [result])))
        return found.flops, found.parameters

    assert cost(weights=True) == (2 * 2 * 5 * 8 * 4, 8 * 4)
    assert cost(weights=False) == (0, 0)


def two_ended() -> bytes:
    """Two inputs; a SPLIT with two results, one of them an output; the last operator's result is not."""
    file = SchemaFile()
    first, second = file.tensor((2, 6), name="same"), file.tensor((2, 3), name="same")
    left, right, total, dead = (file.tensor((2, 3)) for _ in range(4))
    file.operator("SPLIT", [file.constant(np.array([1], np.int32)), first], [left, right], "Split", numSplits=2)
    file.operator("ADD", [left, second], [total], "Add")
    file.operator("RELU", [left], [dead])
    return file.packed([first, second], [right, total])


def test_several_inputs_and_outputs_are_told_apart() -> None:
    graph = read_tflite(two_ended())
    assert [layer.kind for layer in graph.layers[:2]] == [LayerKind.INPUT] * 2
    assert graph.batch_size == 2
    assert [layer.inputs for layer in graph.layers] == [(), (), (0,), (0,), (2, 1), (2,)]
    assert [details(layer).get("output") for layer in graph.layers[2:4]] == [None, 1]
    assert [details(layer).get("graph_output") for layer in graph.layers] == [None, None, None, 0, 1, None]
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)


def test_outputs_of_the_graph_live_to_its_end() -> None:
    inputs, halves, total, dead = 2 * (6 + 3), 2 * 6, 2 * 3, 2 * 3
    assert network_cost(read_tflite(two_ended())).peak_memory_bytes == 4 * (inputs + halves + total + dead)


def test_sizes_that_do_not_begin_with_the_batch_are_kept_whole() -> None:
    file = SchemaFile()
    image, shape, rows = file.tensor((3, 4, 5)), file.tensor((3,), "INT32"), file.tensor((12, 7))
    file.operator("SHAPE", [image], [shape], "Shape")
    file.operator("FULLY_CONNECTED", [image, file.weights(7, 5), -1], [rows], "FullyConnected")
    graph = read_tflite(file.packed([image], [rows]))
    assert details(graph.layers[1])["type"] == "INT32"
    assert (graph.layers[2].shape, details(graph.layers[2])["tensor_shape"]) == ((12, 7), (12, 7))
    cost = network_cost(graph)
    assert cost.flops == 2 * 12 * 7 * 5
    assert cost.peak_memory_bytes == 4 * (3 * 4 * 5 + 12 * 7)


def test_open_sizes_are_noted_and_those_of_the_file_taken() -> None:
    file = SchemaFile()
    image = file.tensor((1, 4, 4, 3), shapeSignature=[-1, 4, 4, 3])
    result = file.tensor((1, 4, 4, 3), shapeSignature=[-1, 4, 4, 3])
    file.operator("RELU", [image], [result])
    graph = read_tflite(file.packed([image], [result]))
    assert graph.input_shape == (4, 4, 3)
    assert details(graph.layers[0])["shape_signature"] == (-1, 4, 4, 3)


@needs_tensorflow
def test_sizes_behind_an_open_batch_are_worked_out() -> None:
    free = KERAS_CASES["dense along the last of three"]()
    import keras

    model = keras.models.clone_model(free, input_tensors=keras.Input((7, 3, 8)))
    graph = read_tflite(convert_tflite(model))
    assert "RESHAPE" in operators(graph)
    assert [-1 in dict(layer.details).get("shape_signature", ()) for layer in graph.layers[:1]] == [True]
    assert network_cost(graph).flops == profiled_flops(model) == 2 * 7 * 3 * 8 * 5


def open_reshape(signature: list[int]) -> bytes:
    """(1, 4, 6) to rows of 6, of which the file says that there is one; then a dense layer."""
    file = SchemaFile()
    image = file.tensor((1, 4, 6), shapeSignature=[-1, 4, 6])
    rows = file.tensor([1] * (len(signature) - 1) + [6], shapeSignature=signature)
    shape, result = file.tensor((len(signature),), "INT32"), file.tensor((1, 2), shapeSignature=[-1, 2])
    file.operator("SHAPE", [image], [shape], "Shape")
    file.operator("RESHAPE", [image, shape], [rows], "Reshape")
    file.operator("FULLY_CONNECTED", [rows, file.weights(2, 6), -1], [result], "FullyConnected")
    return file.packed([image], [result])


def test_one_open_size_follows_from_the_number_of_elements_and_two_are_refused() -> None:
    told = read_tflite(open_reshape([-1, 6]))
    assert [dict(layer.details).get("tensor_shape") for layer in told.layers[2:]] == [(4, 6), (4, 2)]
    assert network_cost(told).flops == 2 * 4 * 6 * 2
    untold = read_tflite(open_reshape([-1, -1, 6]))
    with pytest.raises(InvalidModelError, match=r"\(RESHAPE\) is open in the file.*with a fixed batch and image size"):
        network_cost(untold)


def test_control_flow_is_an_opaque_layer_that_names_its_graphs() -> None:
    (loop,) = read_tflite(model_that_hangs()).layers[1:]
    assert loop.operator == "WHILE"
    assert (details(loop)["cond_subgraph_index"], details(loop)["body_subgraph_index"]) == (1, 2)


def test_operators_without_a_result_and_state_are_read() -> None:
    file = SchemaFile()
    image, state, result = file.tensor((1, 4)), file.tensor((1, 4), isVariable=True), file.tensor((1, 4))
    file.operator("ADD", [image, state], [result], "Add")
    file.operator("ASSIGN_VARIABLE", [image, result], [], "AssignVariable")
    graph = read_tflite(file.packed([image], [result]))
    assert details(graph.layers[1])["operands"] == (0, ("VARIABLE", (1, 4), None))
    assert (graph.layers[2].shape, details(graph.layers[2])["outputs"]) == ((0,), 0)


def test_constants_behind_the_flatbuffer_are_constants_too(tmp_path: Path) -> None:
    content = write_tflite(SLICED)
    outside = with_weights_outside(content)
    assert all(buffer.data is None for buffer in unpacked(outside).buffers)
    path = tmp_path / "outside.tflite"
    path.write_bytes(outside)
    assert read_tflite(path).digest == read_tflite(str(path)).digest == read_tflite(content).digest
    path.write_bytes(outside[:-16])
    with pytest.raises(InvalidModelError, match=r"outside\.tflite is cut off: .*copy it again"):
        read_tflite(path)


def test_every_layer_enters_the_digest_with_its_options() -> None:
    def digest(**options: Any) -> str:
        file = SchemaFile()
        image, result = file.tensor((1, 4, 4, 3)), file.tensor((1, 4, 4, 3))
        file.operator("MAX_POOL_2D", [image], [result], "Pool2D", **{"filterHeight": 3, "filterWidth": 3, **options})
        return read_tflite(file.packed([image], [result])).digest

    others = [digest(), digest(filterWidth=2), digest(padding=1), digest(strideW=2), digest(fusedActivationFunction=1)]
    assert len(set(others)) == len(others)
    assert digest() == digest()


def test_a_custom_operator_is_known_by_its_code() -> None:
    assert operators(read_tflite(model_with_custom_operator("NobodyKnowsThis"))) == ["NobodyKnowsThis"]


@pytest.mark.parametrize(
    "make",
    [write_tflite, place_weights, pytest.param(build_keras_model, marks=needs_tensorflow)],
)
def test_what_was_read_from_a_file_is_not_written_or_built_again(make: Any) -> None:
    graph = read_tflite(TINY)
    first = graph.layers[1]
    with pytest.raises(InvalidInputError, match=rf"^layer '{first.name}' \(CONV_2D\).*keep the file.*cut_operators"):
        make(graph)


def test_names_repeat_nowhere_and_shapes_multiply_to_tensors() -> None:
    graph = read_tflite(write_tflite(SLICED))
    assert len({layer.name for layer in graph.layers}) == len(graph.layers)
    assert math.prod(graph.output_shape) == 10
