"""A TFLite file cut into its operators: run one after the other they are the whole, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidModelError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_converter import PRECISIONS
from leti_opt.network.tflite_cuts import OperatorCut, cut_operators
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.network.tflite_writer import write_tflite
from tests.device.tiny_tflite import model_that_hangs, model_with_custom_operator
from tests.network.keras_files import TRUNCATING, converted, mobilenet_v2
from tests.network.schema_files import SchemaFile, packed, reference_interpreter, unpacked, with_weights_outside
from tests.reference.strategies import cells

SMALL = build_layer_graph(TRUNCATING, NetworkConfig.small(filters=13, stacks=2, input_shape=(8, 8, 3)))

needs_tensorflow = pytest.mark.needs("tensorflow")


def fed(content: bytes, images: dict[int, Any]) -> list[Any]:
    """Outputs of a file, in order, for inputs given by their places."""
    interpreter = reference_interpreter(content)
    for place, details in enumerate(interpreter.get_input_details()):
        interpreter.set_tensor(details["index"], images[place])
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def noise(content: bytes) -> dict[int, Any]:
    """Inputs by place: normal floats, uniform integers."""
    random = np.random.default_rng(3)
    wanted = reference_interpreter(content).get_input_details()
    return {
        place: random.standard_normal(details["shape"]).astype(np.float32)
        if details["dtype"] is np.float32
        else random.integers(-128, 128, details["shape"]).astype(details["dtype"])
        for place, details in enumerate(wanted)
    }


def run_in_sequence(content: bytes, images: dict[int, Any]) -> list[Any]:
    graph = unpacked(content).subgraphs[0]
    values = {int(tensor): images[place] for place, tensor in enumerate(graph.inputs)}
    for cut in cut_operators(content):
        results = fed(cut.content, {place: values[tensor] for place, tensor in enumerate(cut.inputs)})
        values |= dict(zip(cut.outputs, results, strict=True))
    return [values[int(tensor)] for tensor in graph.outputs]


def assert_whole_is_sum_of_cuts(content: bytes) -> None:
    images = noise(content)
    for whole, pieced in zip(fed(content, images), run_in_sequence(content, images), strict=True):
        assert np.isfinite(whole).all()
        assert len(np.unique(whole)) > 1
        np.testing.assert_array_equal(pieced, whole)


@given(cells(), st.booleans())
@settings(deadline=None, max_examples=10)
def test_cuts_of_our_networks_in_sequence_are_the_whole_to_the_bit(cell: Architecture, chained: bool) -> None:
    config = NetworkConfig.small(filters=7, stacks=1, input_shape=(6, 5, 3), chained_adds=chained)
    assert_whole_is_sum_of_cuts(write_tflite(build_layer_graph(cell, config)))


def test_cuts_take_constants_from_behind_the_flatbuffer() -> None:
    inside = write_tflite(SMALL)
    outside = with_weights_outside(inside)
    assert [cut.content for cut in cut_operators(outside)] == [cut.content for cut in cut_operators(inside)]


@needs_tensorflow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_cuts_of_converted_networks_are_the_whole_in_every_precision(precision: str) -> None:
    content = converted(precision)
    assert_whole_is_sum_of_cuts(content)
    assert [cut.operator for cut in cut_operators(content)] == [
        layer.operator for layer in read_tflite(content).layers if layer.operator
    ]


@needs_tensorflow
def test_cuts_of_mobilenet_v2_are_the_whole() -> None:
    _, content = mobilenet_v2()
    assert {"DEPTHWISE_CONV_2D", "ADD", "MEAN"} <= {cut.operator for cut in cut_operators(content)}
    assert_whole_is_sum_of_cuts(content)


def test_a_cut_names_its_layer_and_has_its_shapes(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(SMALL))
    layers = {layer.name: layer for layer in read_tflite(path).layers}
    cuts = cut_operators(path)
    assert [cut.position for cut in cuts] == list(range(len(layers) - 1))
    for cut in cuts:
        layer = layers[cut.name]
        alone = read_tflite(cut.content)
        assert (alone.layers[-1].operator, alone.output_shape) == (layer.operator, layer.shape)
        assert alone.layers[-1].details == layer.details


def test_a_cut_tells_the_sizes_that_it_reads_and_writes() -> None:
    cell = Architecture.parse("0-1,0-2,1-2:maxpool3x3")
    config = NetworkConfig(scope="cell", filters=8, input_shape=(6, 5, 8))
    cuts = cut_operators(write_tflite(build_layer_graph(cell, config)))
    shapes = {cut.operator: cut.shapes for cut in cuts}
    assert shapes["MAX_POOL_2D"] == "6x5x8 -> 6x5x8"
    assert shapes["ADD"] == "6x5x8 6x5x8 -> 6x5x8"


def test_the_cuts_cost_what_the_whole_does() -> None:
    content = write_tflite(SMALL)
    alone = [network_cost(read_tflite(cut.content)) for cut in cut_operators(content)]
    whole = network_cost(read_tflite(content))
    assert sum(cost.flops for cost in alone) == whole.flops
    assert sum(cost.parameters for cost in alone) == whole.parameters
    assert max(cost.peak_memory_bytes for cost in alone) <= whole.peak_memory_bytes


def test_an_operator_that_reads_one_tensor_twice_takes_one_input() -> None:
    file = SchemaFile()
    image, result = file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("ADD", [image, image], [result], "Add")
    content = file.packed([image], [result])
    (cut,) = cut_operators(content)
    assert cut.inputs == (image,)
    assert_whole_is_sum_of_cuts(content)


def test_an_operator_of_several_results_gives_them_all() -> None:
    file = SchemaFile()
    image, left, right, total = file.tensor((2, 6)), *(file.tensor((2, 3)) for _ in range(3))
    file.operator("SPLIT", [file.constant(np.array([1], np.int32)), image], [left, right], "Split", numSplits=2)
    file.operator("SUB", [left, right], [total], "Sub")
    content = file.packed([image], [right, total])
    assert [cut.outputs for cut in cut_operators(content)] == [(left, right), (total,)]
    assert_whole_is_sum_of_cuts(content)


def test_unpacking_of_weights_goes_with_the_operators_that_read_them() -> None:
    file = SchemaFile()
    image, results = file.tensor((1, 4)), [file.tensor((1, 3)), file.tensor((1, 3))]
    held = file.constant(np.arange(12, dtype=np.float16).reshape(3, 4))
    unpacked_weights = file.tensor((3, 4))
    file.operator("DEQUANTIZE", [held], [unpacked_weights], "Dequantize")
    for result in results:
        file.operator("FULLY_CONNECTED", [image, unpacked_weights, -1], [result], "FullyConnected")
    content = file.packed([image], results)
    cuts = cut_operators(content)
    assert [cut.position for cut in cuts] == [1, 2]
    assert len(unpacked(cuts[1].content).subgraphs[0].operators) == 2
    assert_whole_is_sum_of_cuts(content)


def with_open_rows() -> bytes:
    """(1, 4, 4, 3) as rows of 3 values for a dense layer; the file leaves their number open, and says 1."""
    file = SchemaFile()
    image = file.tensor((1, 4, 4, 3), shapeSignature=np.array([-1, 4, 4, 3], np.int32))
    rows, result = (file.tensor((1, size), shapeSignature=np.array([-1, size], np.int32)) for size in (3, 5))
    file.operator("RESHAPE", [image, file.constant(np.array([-1, 3], np.int32))], [rows], "Reshape")
    file.operator("FULLY_CONNECTED", [rows, file.weights(5, 3), -1], [result], "FullyConnected")
    return file.packed([image], [result])


def test_a_cut_has_the_size_that_follows_where_the_file_leaves_it_open() -> None:
    content = with_open_rows()
    assert [cut.shapes for cut in cut_operators(content)] == ["4x4x3 -> 3", "3 -> 5"]
    alone = reference_interpreter(cut_operators(content)[1].content)
    assert tuple(alone.get_input_details()[0]["shape"]) == (16, 3)
    assert_whole_is_sum_of_cuts(content)


def test_a_shape_that_is_put_together_at_run_time_is_a_constant_of_the_cut() -> None:
    file = SchemaFile()
    image, result = file.tensor((1, 2, 6)), file.tensor((1, 12), shapeSignature=np.array([-1, 12], np.int32))
    shape, batch, target = file.tensor((3,), "INT32"), file.tensor((), "INT32"), file.tensor((2,), "INT32")
    first, second = (file.constant(np.array([number], np.int32)) for number in (0, 1))
    file.operator("SHAPE", [image], [shape], "Shape", outType=2)
    file.operator("STRIDED_SLICE", [shape, first, second, second], [batch], "StridedSlice", shrinkAxisMask=1)
    file.operator("PACK", [batch, file.constant(np.array(12, np.int32))], [target], "Pack", valuesCount=2)
    file.operator("RESHAPE", [image, target], [result], "Reshape")
    content = file.packed([image], [result])
    reshape = cut_operators(content)[-1]
    assert (reshape.operator, reshape.refusal, reshape.inputs) == ("RESHAPE", "", (image,))
    assert_whole_is_sum_of_cuts(content)


def stateful() -> bytes:
    file = SchemaFile()
    image, state, result = file.tensor((1, 4)), file.tensor((1, 4), isVariable=True), file.tensor((1, 4))
    file.operator("ADD", [image, state], [result], "Add")
    return file.packed([image], [result])


def constant_only() -> bytes:
    file = SchemaFile()
    image, made, result = file.tensor((1, 4)), file.tensor((1, 4)), file.tensor((1, 4))
    file.operator("NEG", [file.weights(1, 4)], [made], "Neg")
    file.operator("ADD", [image, made], [result], "Add")
    return file.packed([image], [result])


def open_and_lost() -> bytes:
    """Two sizes are open, so that neither follows from the input."""
    file = SchemaFile()
    image = file.tensor((1, 4, 6))
    rows = file.tensor((1, 1, 6), shapeSignature=np.array([-1, -1, 6], np.int32))
    result = file.tensor((1, 1, 6), shapeSignature=np.array([-1, -1, 6], np.int32))
    file.operator("RESHAPE", [image, file.constant(np.array([1, -1, 6], np.int32))], [rows], "Reshape")
    file.operator("NEG", [rows], [result], "Neg")
    return file.packed([image], [result])


def weights_elsewhere() -> bytes:
    model = unpacked(write_tflite(SMALL))
    weights = model.subgraphs[0].operators[0].inputs[1]
    model.buffers[model.subgraphs[0].tensors[weights].buffer].data = None
    model.subgraphs[0].tensors[weights].externalBuffer = 1
    return packed(model)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (model_with_custom_operator(), "it is a custom operator, which the runtime does not have"),
        (model_that_hangs(), "it runs other graphs of the file"),
        (stateful(), "it keeps state between runs"),
        (constant_only(), "it reads constants only"),
        (weights_elsewhere(), "its constants are in another file"),
    ],
)
def test_what_cannot_stand_alone_is_listed_with_the_reason(content: bytes, reason: str) -> None:
    first, *rest = cut_operators(content)
    assert first.refusal == reason
    assert not any(cut.refusal for cut in rest)
    with pytest.raises(InvalidModelError, match=rf"operator 0 .* cannot be cut out: {reason}; measure the whole file"):
        _ = first.content


def test_what_reads_or_writes_a_size_that_nobody_knows_cannot_stand_alone() -> None:
    assert {cut.refusal for cut in cut_operators(open_and_lost())} == {
        "the file leaves a size of it open, which does not follow from the inputs"
    }


def cuts_or_refused(content: bytes) -> tuple[OperatorCut, ...]:
    try:
        cuts = cut_operators(content)
        assert all(cut.content[4:8] == b"TFL3" for cut in cuts if not cut.refusal)
    except InvalidModelError:
        return ()
    return cuts


TINY = write_tflite(build_layer_graph(TRUNCATING, NetworkConfig(scope="cell", filters=4, input_shape=(4, 4, 3))))


@given(st.lists(st.tuples(st.integers(8, len(TINY) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=200)
def test_a_file_with_a_few_wrong_bytes_is_cut_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(TINY)
    for position, value in changes:
        content[position] = value
    assert all(cut.refusal or cut.inputs for cut in cuts_or_refused(bytes(content)))


def test_a_graph_holds_no_more_layers_than_cuts_and_inputs() -> None:
    content = write_tflite(SMALL)
    graph: LayerGraph = read_tflite(content)
    assert len(graph.layers) == len(cut_operators(content)) + 1
