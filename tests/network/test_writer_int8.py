"""Full int8 by the direct writer: against the TF converter, against the float model, and over a block of integers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leti_opt.errors import InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import LayerGraph, LayerKind
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.network.weights import NetworkWeights, weight_shapes, weight_stds
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.int8_facts import assert_ordinary, assert_ordinary_output, images, int8, real_outputs
from tests.network.test_writer import CASES, TRUNCATING, graphs
from tests.network.tflite_facts import OPERATOR_NAMES, computation, operator_name, operators, root_mean_square

SAME_SCALE = ("MAX_POOL_2D", "AVERAGE_POOL_2D", "SLICE", "CONCATENATION")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
ERROR_OF_ONE_TENSOR = 0.02
"""A tensor's range is about ten times its size (root mean square) or less, a step is 1/255 of the range, and rounding
is off by 1/sqrt(12) of a step: 0.011. Twice that for weights and what ranges leave out."""


def given_weights(graph: LayerGraph, seed: int) -> NetworkWeights:
    """As training might leave them: kernels of the right size, every batch norm and every bias at random."""
    generator, stds, weights = np.random.default_rng(seed), weight_stds(graph), {}
    for position, layer in enumerate(graph.layers):
        shapes = weight_shapes(graph, layer)
        if layer.kind is LayerKind.BATCH_NORM:
            arrays = [
                generator.uniform(0.5, 1.5, shapes[0]),
                generator.normal(0, 0.3, shapes[0]),
                generator.normal(0, 0.3, shapes[0]),
                generator.uniform(0.5, 2, shapes[0]),
            ]
        else:
            sizes = [stds.get(position, 0.0), 0.2]
            arrays = [generator.normal(0, size, shape) for shape, size in zip(shapes, sizes, strict=False)]
        if arrays:
            weights[layer.name] = tuple(array.astype(np.float32) for array in arrays)
    return weights


def output_step(content: bytes) -> float:
    (details,) = Interpreter(model_content=content).get_output_details()
    return float(details["quantization"][0])


def versions(content: bytes) -> set[tuple[str, int]]:
    codes = schema.ModelT.InitFromPackedBuf(content, 0).operatorCodes
    return {(OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)], code.version) for code in codes}


def allowed_error(content: bytes) -> float:
    """Relative to the output's size: what quantization explains, added up over the tensors like independent noise."""
    return ERROR_OF_ONE_TENSOR * math.sqrt(1 + sum(operators(content).values()))


def assert_as_good_as_the_converters(graph: LayerGraph, seed: int) -> None:
    weights = given_weights(graph, seed)
    model = build_keras_model(graph)
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    written, converted = write_tflite(int8(graph), weights), convert_tflite(model, "int8")
    assert operators(written) == operators(converted)
    assert computation(written) == computation(converted)
    assert versions(written) == versions(converted)

    batches = images(graph)
    expected = real_outputs(write_tflite(graph, weights), batches)
    ours, theirs = real_outputs(written, batches), real_outputs(converted, batches)
    assert_ordinary_output(expected)
    step = max(output_step(written), output_step(converted))
    error_of_ours, error_of_theirs = root_mean_square(ours - expected), root_mean_square(theirs - expected)
    assert root_mean_square(ours - theirs) <= 3 * step + error_of_theirs
    assert error_of_ours <= max(allowed_error(written) * root_mean_square(expected), step)
    assert error_of_ours <= 1.5 * error_of_theirs + step


# --- against the converter and the float model


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize(
    "name",
    [
        "slices, input to output",
        "chained adds, batch of two",
        "add_n",
        "operations of the user's own",
        "pools, skips, two batch norms in a row",
    ],
)
def test_file_is_the_converters_and_computes_the_same(name: str) -> None:
    assert_as_good_as_the_converters(CASES[name], seed=1)


@pytest.mark.slow
@pytest.mark.needs("tensorflow")
@given(graphs(), st.integers(0, 1000))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_files_of_random_cells_are_the_converters_and_compute_the_same(graph: LayerGraph, seed: int) -> None:
    assert_as_good_as_the_converters(graph, seed)


@given(graphs(), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_outputs_are_those_of_the_float_model_but_for_rounding(graph: LayerGraph, seed: int) -> None:
    weights = given_weights(graph, seed)
    written = write_tflite(int8(graph), weights)
    expected = real_outputs(write_tflite(graph, weights), images(graph))
    found = real_outputs(written, images(graph))
    assert np.isfinite(expected).all()
    assert root_mean_square(found - expected) <= max(
        allowed_error(written) * root_mean_square(expected), output_step(written)
    )


def test_a_deep_network_still_computes_what_the_float_model_does() -> None:
    graph = build_layer_graph(TRUNCATING, NetworkConfig.nasbench101(filters=16, input_shape=(16, 16, 3)))
    weights = given_weights(graph, 3)
    written = write_tflite(int8(graph), weights)
    expected = real_outputs(write_tflite(graph, weights), images(graph))
    found = real_outputs(written, images(graph))
    assert_ordinary_output(expected)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    assert root_mean_square(found - expected) <= allowed_error(written) * root_mean_square(expected)


def test_optimized_kernels_give_what_the_plain_ones_give() -> None:
    graph = CASES["pools, skips, two batch norms in a row"]
    written = write_tflite(int8(graph), given_weights(graph, 2))
    plain = Interpreter(model_content=written, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    fast = Interpreter(model_content=written, num_threads=1)
    outputs = []
    for interpreter in (plain, fast):
        interpreter.allocate_tensors()
        noise = np.random.default_rng(0).integers(-128, 128, (1, 7, 6, 3), dtype=np.int8)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], noise)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).astype(int))
    assert np.ptp(outputs[0]) > 50
    assert np.abs(outputs[0] - outputs[1]).max() <= 3


def test_representative_images_decide_the_ranges() -> None:
    graph = CASES["add_n"]
    batches = [np.full((2, 7, 6, 3), value) for value in (-100.0, 155.0)]
    written = write_tflite(int8(graph), given_weights(graph, 0), representative=batches)
    (details,) = Interpreter(model_content=written).get_input_details()
    assert details["dtype"] is np.int8
    assert details["quantization"] == (1.0, -28)


def test_random_weights_are_calibrated_when_asked() -> None:
    graph = int8(CASES["add_n"])
    estimated, measured = write_tflite(graph), write_tflite(graph, ranges="calibrated")
    assert computation(estimated) == computation(measured)
    assert estimated != measured
    assert measured == write_tflite(graph, ranges="calibrated")
    assert write_tflite(graph) == estimated != write_tflite(graph, seed=1)


@pytest.mark.parametrize(
    ("precision", "arguments", "message"),
    [
        ("int8", {"ranges": "calibratd"}, "unknown ranges 'calibratd'; did you mean 'calibrated'"),
        ("int8", {"ranges": "synthetic", "representative": []}, "ranges='synthetic'; leave them out"),
        ("float32", {"representative": []}, "representative images calibrate int8, but this is 'float32'"),
        ("int8", {"representative": []}, "no image to calibrate int8 with"),
        ("int8", {"weights": {}, "ranges": "synthetic"}, "those of random weights; use ranges='calibrated'"),
    ],
)
def test_ranges_that_cannot_be_had_are_refused(precision: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_tflite(replace(CASES["add_n"], precision=precision), **arguments)


def test_a_network_whose_weights_are_all_zero_gives_its_biases() -> None:
    graph = CASES["operations of the user's own"]
    zeros = {name: tuple(np.zeros_like(array) for array in arrays) for name, arrays in given_weights(graph, 0).items()}
    biases = np.linspace(-1, 1, 10, dtype=np.float32)
    last = graph.layers[-1].name
    zeros[last] = (zeros[last][0], biases)
    written = write_tflite(int8(graph), zeros)
    assert real_outputs(written, images(graph)[:1]).ravel() == pytest.approx(biases, abs=output_step(written))


@pytest.mark.parametrize(("factor", "shift"), [(1, -100.0), (1e-9, -1e-6), (1e-9, 1e-30), (0, 1e-6)])
def test_a_layer_that_gives_next_to_nothing_stops_no_kernel(factor: float, shift: float) -> None:
    """XNNPACK refuses the whole model over a result whose step is far below those that it is made of."""
    graph = CASES["operations of the user's own"]
    weights = dict(given_weights(graph, 0))
    for number, layer in enumerate(graph.layers):
        if layer.kind is LayerKind.BATCH_NORM and graph.layers[number + 1].kind is LayerKind.RELU:
            scale, _, mean, variance = weights[layer.name]
            weights[layer.name] = (scale * np.float32(factor), 0 * scale + np.float32(shift), 0 * mean, variance)
    written = write_tflite(int8(graph), weights)
    expected = real_outputs(write_tflite(graph, weights), images(graph))
    assert np.abs(real_outputs(written, images(graph)) - expected).max() <= 1.5 * output_step(written)


# --- what stands in the file


def tensors_of(content: bytes) -> Iterator[tuple[str, list[Any], Any]]:
    """Every operator's name, the tensors that it reads and the one that it writes."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        read = [graph.tensors[index] for index in operator.inputs]
        yield operator_name(model, operator), read, graph.tensors[operator.outputs[0]]


@given(graphs(), st.booleans())
@settings(deadline=None, max_examples=25)
def test_types_and_scales_are_those_that_kernels_ask_for(graph: LayerGraph, calibrated: bool) -> None:
    content = write_tflite(int8(graph), ranges="calibrated" if calibrated else "synthetic")
    kind = schema.TensorType
    for name, read, written in tensors_of(content):
        if name in ("ADD_N", "DEQUANTIZE"):
            assert written.type == kind.FLOAT32
            continue
        assert written.type == kind.INT8
        assert len(written.quantization.scale) == 1
        assert written.quantization.scale[0] > 0
        if name in SAME_SCALE:
            activations = read if name == "CONCATENATION" else read[:1]
            assert {float(tensor.quantization.scale[0]) for tensor in [*activations, written]} == {
                float(written.quantization.scale[0])
            }
            assert len({int(tensor.quantization.zeroPoint[0]) for tensor in [*activations, written]}) == 1
        if name in WEIGHTED:
            source, kernel, bias = read
            assert (kernel.type, bias.type) == (kind.INT8, kind.INT32)
            scales = np.asarray(kernel.quantization.scale)
            assert len(scales) == written.shape[-1]
            assert np.array_equal(bias.quantization.scale, np.float32(source.quantization.scale[0]) * scales)
            assert not np.any(kernel.quantization.zeroPoint)
            assert not np.any(bias.quantization.zeroPoint)


def test_sums_of_many_stay_in_floats_between_conversions() -> None:
    names = Counter(name for name, *_ in tensors_of(write_tflite(int8(CASES["add_n"]))))
    assert (names["ADD_N"], names["DEQUANTIZE"], names["QUANTIZE"]) == (1, 4, 1)
    assert versions(write_tflite(int8(CASES["add_n"]))) >= {("ADD_N", 1), ("DEQUANTIZE", 2), ("CONV_2D", 3)}


def test_sums_that_only_sums_read_are_not_converted_in_between() -> None:
    config = NetworkConfig.nasbench201(
        cells_per_stack=2, stacks=1, input_shape=(7, 6, 3), filters=4, chained_adds=False, precision="int8"
    )
    content = write_tflite(build_layer_graph(NAS_BENCH_201.lower(("skip_connect",) * 6), config))
    first, second = [(read, written) for name, read, written in tensors_of(content) if name == "ADD_N"]
    assert first[1] in second[0]
    assert_ordinary(content)
