"""The forecast of what a phone's GPU delegate takes: each rule, both spaces, files that were read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.gpu_support import RULES, OperatorFacts, Refusal, gpu_support, operator_facts, refuses
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.network.read_layers import ReadOperand
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.network.tflite_schema import operator_numbers
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.keras_files import SLICED, TRUNCATING, converted, mobilenet_v2
from tests.network.schema_files import SchemaFile
from tests.reference.strategies import cells

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
THREE_SUMMED = Architecture.parse(f"0-1,0-2,0-3,1-3,2-3,3-4:{CONV3},{CONV1},{POOL}")
PLAIN = Architecture.parse(f"0-1,1-2,2-3:{CONV3},{POOL}")


def graph_of(cell: Architecture, **changes: Any) -> LayerGraph:
    return build_layer_graph(cell, NetworkConfig.small(**{"filters": 13, "stacks": 1, **changes}))


def refused(graph: LayerGraph, rules: str) -> set[str]:
    return {refusal.operator for refusal in gpu_support(graph, rules).refusals}


def tensor(*shape: int, kind: str = "FLOAT32") -> ReadOperand:
    """An activation."""
    return ReadOperand(kind, shape, layer=0)


def held(*shape: int, kind: str = "FLOAT32", values: tuple[int, ...] | None = None) -> ReadOperand:
    """A constant."""
    return ReadOperand(kind, shape, None, values)


def facts(operator: str, *operands: ReadOperand, shape: tuple[int, ...] = (1, 8, 8, 4), **fields: Any) -> OperatorFacts:
    options = {key: fields.pop(key) for key in list(fields) if key not in ("type", "outputs")}
    return OperatorFacts(operator, operands, shape, options=options, **fields)


IMAGE = tensor(1, 8, 8, 4)
AXES = held(2, kind="INT32", values=(1, 2))
TAKEN, UNKNOWN = None, "not among the operators that the delegate knows"

CASES: list[tuple[OperatorFacts, str | None, str | None]] = [
    (facts("SLICE", IMAGE, held(4), held(4)), "does not take it", TAKEN),
    (facts("SLICE", tensor(8, 4), held(2), held(2)), "does not take it", "2 dimensions, not 3 or 4"),
    (facts("ADD_N", IMAGE, IMAGE), "does not take it", TAKEN),
    (facts("ADD_N", IMAGE, IMAGE, IMAGE), "does not take it", "adds two tensors, not 3"),
    (facts("ADD", IMAGE, IMAGE), TAKEN, TAKEN),
    (facts("ADD", IMAGE, held(4)), TAKEN, TAKEN),
    (facts("ADD", IMAGE, tensor(5, 3)), TAKEN, "cannot be stretched"),
    (facts("MUL", IMAGE, tensor(1, 1, 1, 4)), TAKEN, TAKEN),
    (facts("MUL", tensor(1, 8, 1, 4), tensor(1, 1, 8, 4)), "the larger everywhere", "the larger everywhere"),
    (facts("CONV_2D", IMAGE, held(4, 3, 3, 4), stride_h=2), TAKEN, TAKEN),
    (facts("CONV_2D", IMAGE, held(4, 3, 3, 4), stride_h=0), "stride_h=0", "stride_h=0"),
    (facts("CONV_2D", IMAGE, held(4, 3, 3, 4), fused_activation_function="SIGN_BIT"), "SIGN_BIT", "SIGN_BIT"),
    (facts("CONV_2D", IMAGE, held(4, 3, 3, 4, kind="INT8")), "8-bit weights", TAKEN),
    (facts("CONV_2D", IMAGE, held(4, 3, 3, 4, kind="FLOAT16")), TAKEN, TAKEN),
    (facts("CONV_2D", IMAGE, IMAGE, IMAGE), "more than image and weights", "more than image and weights"),
    (facts("DEPTHWISE_CONV_2D", IMAGE, held(1, 3, 3, 4)), TAKEN, TAKEN),
    (
        facts("DEPTHWISE_CONV_2D", IMAGE, held(1, 3, 3, 8), shape=(1, 8, 8, 8), depth_multiplier=2),
        "depth multiplier of 2 on 4 channels",
        "depth multiplier of 2 on 4 channels",
    ),
    (
        facts("DEPTHWISE_CONV_2D", tensor(1, 8, 8, 1), held(1, 3, 3, 2), shape=(1, 8, 8, 2), depth_multiplier=2),
        TAKEN,
        TAKEN,
    ),
    (facts("DEPTHWISE_CONV_2D", IMAGE, tensor(1, 3, 3, 4)), "reads 2 activations", TAKEN),
    (facts("MAX_POOL_2D", IMAGE, filter_height=3, filter_width=0), "filter_width=0", "filter_width=0"),
    (facts("AVERAGE_POOL_2D", IMAGE, filter_height=3, filter_width=3), TAKEN, TAKEN),
    (facts("MEAN", IMAGE, AXES, shape=(1, 4)), TAKEN, TAKEN),
    (facts("MEAN", IMAGE, held(1, kind="INT32", values=(3,))), "not height and width only", TAKEN),
    (facts("MEAN", IMAGE, held(2, kind="INT64", values=(1, 2))), TAKEN, "INT64, not INT32"),
    (facts("FULLY_CONNECTED", tensor(1, 4), held(7, 4), shape=(1, 7)), TAKEN, TAKEN),
    (facts("FULLY_CONNECTED", tensor(2, 5, 4), held(7, 4), shape=(2, 5, 7), keep_num_dims=True), "20 values", TAKEN),
    (facts("FULLY_CONNECTED", tensor(1, 4), tensor(7, 4), shape=(1, 7)), "weights are computed", TAKEN),
    (facts("FULLY_CONNECTED", tensor(1, 4), held(7, 4), shape=(1, 7), weights_format=1), "shuffled", "shuffled"),
    (
        facts("FULLY_CONNECTED", tensor(1, 4), held(7, 4), shape=(1, 1, 7), keep_num_dims=True),
        "keeps dimensions",
        "keeps dimensions",
    ),
    (facts("SOFTMAX", IMAGE, beta=1.0), TAKEN, TAKEN),
    (facts("SOFTMAX", IMAGE, beta=0.5), "beta is 0.5", "beta is 0.5"),
    (facts("STRIDED_SLICE", IMAGE, held(4), held(4), held(4), shrink_axis_mask=1), "shrink_axis_mask", "shrink_axis"),
    (facts("STRIDED_SLICE", IMAGE, held(4), held(4), held(4)), TAKEN, TAKEN),
    (facts("PAD", IMAGE, held(4, 2, kind="INT32")), TAKEN, TAKEN),
    (facts("PAD", IMAGE, held(2, 2, kind="INT32")), r"\(2, 2\), not \(3, 2\) or \(4, 2\)", r"\(2, 2\), not"),
    (facts("MIRROR_PAD", IMAGE, held(4, 2, kind="INT32"), mode=1), "mirrors the edge", "mirrors the edge"),
    (facts("LOGISTIC", IMAGE), TAKEN, TAKEN),
    (facts("LOGISTIC", held(4)), "reads 1 constants", "reads 1 constants"),
    (facts("EXP", IMAGE), UNKNOWN, TAKEN),
    (facts("DIV", IMAGE, held(4)), "1 activations and 1 constants", TAKEN),
    (facts("DIV", IMAGE, IMAGE), TAKEN, TAKEN),
    (facts("SUB", IMAGE, held(4)), TAKEN, TAKEN),
    (facts("RESIZE_BILINEAR", IMAGE, held(2), shape=(1, 4, 4, 4)), "shrinks", TAKEN),
    (facts("RESIZE_BILINEAR", IMAGE, held(2), align_corners=True, half_pixel_centers=True), "at once", "at once"),
    (facts("SPACE_TO_DEPTH", IMAGE, block_size=1), "side of 1", "side of 1"),
    (facts("BATCH_MATMUL", IMAGE, IMAGE), UNKNOWN, TAKEN),
    (facts("SPLIT", held(1, kind="INT32"), IMAGE, outputs=2), UNKNOWN, TAKEN),
    (facts("GATHER", IMAGE, held(3, kind="INT32")), UNKNOWN, TAKEN),
    (facts("GATHER", IMAGE, held(3, 3, kind="INT32")), UNKNOWN, "one row of INT32"),
    (facts("CAST", tensor(1, 4, kind="INT32"), shape=(1, 4)), UNKNOWN, TAKEN),
    (facts("CAST", tensor(1, 4, kind="INT32"), shape=(1, 4), type="BOOL"), UNKNOWN, "turns INT32 into BOOL"),
    (facts("GREATER", IMAGE, IMAGE, type="BOOL"), UNKNOWN, TAKEN),
    (facts("SELECT_V2", tensor(1, 8, 8, 4, kind="BOOL"), IMAGE, held()), UNKNOWN, TAKEN),
    (facts("SELECT_V2", tensor(1, 8, 8, 4, kind="BOOL"), IMAGE, held(8, 4)), UNKNOWN, r"shape \(8, 4\)"),
    (facts("ONE_HOT", tensor(1, 3, kind="INT32"), held(), held(), held(), axis=0), UNKNOWN, "axis is not the last"),
    (facts("CUMSUM", IMAGE, held(1, kind="INT32")), UNKNOWN, TAKEN),
    (facts("DEQUANTIZE", tensor(1, 4, kind="INT8"), shape=(1, 4)), UNKNOWN, TAKEN),
    (facts("LSTM", IMAGE, kernel_type=0), "not a basic LSTM", "not 20 or 24"),
    (facts("LSTM", IMAGE, kernel_type=1, fused_activation_function="TANH"), TAKEN, TAKEN),
    (facts("LSTM", IMAGE, kernel_type=1, fused_activation_function="RELU"), "not TANH", "not TANH"),
    (facts("RELU", tensor(1, 2, 2, 2, 2), shape=(1, 2, 2, 2, 2)), "5 dimensions", "5 dimensions"),
    (facts("RELU", tensor(1, 4, kind="INT8"), shape=(1, 4), type="INT8"), "works on INT8", TAKEN),
    (facts("RELU", tensor(1, 4, kind="INT16"), shape=(1, 4), type="INT16"), "works on INT16", "works on INT16"),
    (facts("TOPK_V2", IMAGE), UNKNOWN, UNKNOWN),
    (facts("SomebodysOwn", IMAGE), UNKNOWN, UNKNOWN),
    (facts("MaxUnpooling2D", IMAGE, IMAGE), TAKEN, TAKEN),
]


@pytest.mark.parametrize(("case", "in_2020", "today"), CASES)
def test_every_rule_takes_and_refuses_in_words(case: OperatorFacts, in_2020: str | None, today: str | None) -> None:
    for rules, words in (("paper-2020", in_2020), ("tflite-current", today)):
        reason = refuses(rules, case)
        assert (reason is None) == (words is None), (rules, reason)
        assert words is None or re.search(words, reason or ""), (rules, reason)


def test_rule_sets_name_their_sources_and_only_operators_of_tflite_or_its_delegate() -> None:
    custom = {"MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Convolution2DTransposeBias", "Resampler"}
    for name, rules in RULES.items():
        assert rules.name == name
        assert "tensorflow/lite" in rules.source
        assert not set(rules.checks) & set(rules.refused)
        assert {*rules.checks, *rules.refused} <= {*operator_numbers(), *custom}


@pytest.mark.parametrize("rules", ["paper2020", "", "TFLITE"])
def test_unknown_rules_are_refused_with_the_known_ones(rules: str) -> None:
    with pytest.raises(InvalidInputError, match=f"unknown GPU rules '{rules}'.*paper-2020, tflite-current"):
        gpu_support(graph_of(PLAIN), rules)


def test_plain_networks_pass_both_rule_sets() -> None:
    for rules in RULES:
        forecast = gpu_support(graph_of(PLAIN), rules)
        assert forecast.supported
        assert (forecast.rules, forecast.refusals) == (rules, ())


def test_slices_pass_today_and_not_in_2020() -> None:
    graph = graph_of(TRUNCATING)
    assert gpu_support(graph).supported
    assert refused(graph, "paper-2020") == {"SLICE"}


def test_a_sum_of_three_at_once_passes_neither_and_chained_both() -> None:
    at_once, chained = (graph_of(THREE_SUMMED, chained_adds=value, filters=12) for value in (False, True))
    for rules in RULES:
        assert refused(at_once, rules) == {"ADD_N"}
        assert gpu_support(chained, rules).supported
    (refusal,) = {replace(refusal, layer="") for refusal in gpu_support(at_once).refusals}
    assert refusal == Refusal("", "ADD_N", "it adds two tensors, not 3")


def test_refusals_name_layers_of_the_network() -> None:
    graph = graph_of(TRUNCATING)
    names = {layer.name for layer in graph.layers}
    refusals = gpu_support(graph, "paper-2020").refusals
    assert refusals
    assert {refusal.layer for refusal in refusals} <= names
    assert len({refusal.layer for refusal in refusals}) == len(refusals)


@pytest.mark.parametrize("precision", ["dynamic", "int8"])
def test_quantized_networks_pass_today_and_not_in_2020(precision: str) -> None:
    graph = graph_of(PLAIN, precision=precision)
    assert gpu_support(graph).supported
    assert "CONV_2D" in refused(graph, "paper-2020")


def test_float16_weights_pass_both() -> None:
    graph = graph_of(PLAIN, precision="float16")
    assert all(gpu_support(graph, rules).supported for rules in RULES)


def test_networks_of_nasbench201_pass_both() -> None:
    for operation in ("nor_conv_3x3", "avg_pool_3x3", "skip_connect"):
        cell = NAS_BENCH_201.lower((operation, *("nor_conv_1x1",) * 5))
        graph = build_layer_graph(cell, NetworkConfig.nasbench201(filters=4, stacks=2, cells_per_stack=1))
        assert all(gpu_support(graph, rules).supported for rules in RULES)


def test_operations_of_the_users_own_pass_both() -> None:
    own = Operation("separable", (depthwise_conv(3), conv(1), batch_norm(), relu(), batch_norm()))
    cell = Architecture.parse("0-1,1-2:separable:separable")
    graph = graph_of(cell, operations=(own,))
    assert {"DEPTHWISE_CONV_2D", "MUL"} <= {facts.operator for _, facts in operator_facts(graph)}
    assert all(gpu_support(graph, rules).supported for rules in RULES)


@given(cells())
@settings(deadline=None, max_examples=40)
def test_the_forecast_of_a_network_is_that_of_its_file(cell: Architecture) -> None:
    for chained in (True, False):
        graph = graph_of(cell, chained_adds=chained, input_shape=(8, 8, 3))
        found = read_tflite(write_tflite(graph))
        for rules in RULES:
            reasons = [(refusal.operator, refusal.reason) for refusal in gpu_support(graph, rules).refusals]
            assert [(refusal.operator, refusal.reason) for refusal in gpu_support(found, rules).refusals] == reasons


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_forecast_of_a_converted_network_is_that_of_its_file(precision: str) -> None:
    for rules in RULES:
        expected = refused(replace(SLICED, precision=precision), rules)
        assert refused(read_tflite(converted(precision)), rules) == expected


@pytest.mark.needs("tensorflow")
def test_mobilenet_v2_passes_both() -> None:
    _, content = mobilenet_v2()
    assert all(gpu_support(read_tflite(content), rules).supported for rules in RULES)


def test_an_operator_with_several_results_is_judged_once() -> None:
    file = SchemaFile()
    image, left, right = file.tensor((2, 6)), file.tensor((2, 3)), file.tensor((2, 3))
    file.operator("SPLIT", [file.constant(np.array([1], np.int32)), image], [left, right], "Split", numSplits=2)
    graph = read_tflite(file.packed([image], [left, right]))
    assert len(gpu_support(graph, "paper-2020").refusals) == 1
    assert gpu_support(graph).supported
