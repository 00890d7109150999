"""Costs of one network: FLOPs against TensorFlow's profiler, parameters against Keras, peak memory against the file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.schema_files import reference_interpreter
from tests.network.tensorflow_flops import profiled_flops
from tests.network.test_writer import graphs
from tests.reference.liveness import Liveness, liveness

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
SEPARABLE = Operation("separable", (depthwise_conv(3, use_bias=True), conv(1), batch_norm(), relu()))
TRUNCATING = Architecture.parse(f"0-1,0-2,0-3,0-4,1-2,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}")
DIAMOND = Architecture.parse(f"0-1,0-2,0-4,1-2,1-3,2-3,2-4,3-4:{CONV3},{POOL},{CONV1}")
OWN = Architecture.parse("0-1,1-2:separable:separable")
MIXED = NAS_BENCH_201.lower(("nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "none", "nor_conv_3x3"))
DENSE = NAS_BENCH_201.lower(("nor_conv_3x3", "nor_conv_1x1") * 3)
SKIPS = NAS_BENCH_201.lower(("skip_connect",) * 6)


def small(**changes: Any) -> NetworkConfig:
    return NetworkConfig.small(**{"filters": 13, "input_shape": (7, 6, 3), **changes})


def small201(**changes: Any) -> NetworkConfig:
    return NetworkConfig.nasbench201(**{"filters": 4, "cells_per_stack": 1, "input_shape": (9, 9, 3), **changes})


CASES = {
    "slices and add_n": (TRUNCATING, small(chained_adds=False)),
    "input to output": (DIAMOND, small()),
    "three stacks, batch of two": (DIAMOND, small(stacks=3, batch_size=2)),
    "cell alone, batch of three": (TRUNCATING, small(scope="cell", filters=8, input_shape=(5, 5, 8), batch_size=3)),
    "two vertices": (Architecture.parse("0-1:"), small()),
    "depthwise with bias": (OWN, small(operations=(SEPARABLE,), classes=7)),
    "strides of residual blocks": (MIXED, small201()),
    "strides, batch of two": (DENSE, small201(batch_size=2)),
    "nothing but skips": (SKIPS, small201()),
}


def graph_of(name: str) -> LayerGraph:
    return build_layer_graph(*CASES[name])


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", CASES)
def test_flops_are_those_that_tensorflow_counts_for_the_same_operators(name: str) -> None:
    graph = graph_of(name)
    assert network_cost(graph).flops == profiled_flops(build_keras_model(graph)) > 0


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", CASES)
def test_parameters_are_those_that_keras_can_train(name: str) -> None:
    graph = graph_of(name)
    weights = build_keras_model(graph).trainable_weights
    assert network_cost(graph).parameters == sum(int(np.prod(weight.shape)) for weight in weights)


def test_costs_of_a_small_cell_by_hand() -> None:
    cell = Architecture.parse(f"0-1,1-2:{CONV3}")
    cost = network_cost(cell, NetworkConfig(scope="cell", filters=8, input_shape=(4, 4, 3), batch_size=2))
    assert cost.flops == 2 * 2 * 16 * (3 * 8 + 9 * 8 * 8)
    assert cost.parameters == 3 * 8 + 2 * 8 + 9 * 8 * 8 + 2 * 8
    # The input stays to the end; beside it the projection's result and the convolution's.
    assert cost.peak_memory_bytes == 2 * 4 * 16 * (3 + 8 + 8)


def test_a_network_of_one_layer_needs_its_input() -> None:
    graph = LayerGraph((Layer("in", LayerKind.INPUT, (), (4, 4, 8)),), batch_size=2, precision="int8")
    assert network_cost(graph).peak_memory_bytes == 2 * 4 * 4 * 8


def test_a_batch_norm_by_itself_has_a_tensor_between_its_two_operators() -> None:
    operation = Operation("norm", (batch_norm(), relu()))
    config = NetworkConfig(
        scope="cell",
        filters=8,
        input_shape=(4, 4, 8),
        cell_output="sum",
        projection=None,
        reduction="residual",
        operations=(operation,),
    )
    cell = Architecture.parse("0-1,1-2:norm:norm")
    assert network_cost(cell, config).peak_memory_bytes == 3 * 4 * 4 * 4 * 8


def test_an_architecture_needs_a_config() -> None:
    with pytest.raises(InvalidInputError, match="needs a NetworkConfig"):
        network_cost(TRUNCATING)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_peak_memory_is_that_of_the_written_file(name: str, precision: str) -> None:
    architecture, config = CASES[name]
    graph = build_layer_graph(architecture, config.changed(precision=precision))
    assert network_cost(graph).peak_memory_bytes == liveness(write_tflite(graph)).peak_bytes


def test_float_sums_of_an_int8_file_take_four_times_the_memory() -> None:
    cell = Architecture.parse(
        "0-1,0-2,0-3,0-4,1-4,2-4,3-4,4-5:conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3,conv3x3-bn-relu"
    )
    config = NetworkConfig.small(filters=8, chained_adds=False, precision="int8")
    graph = build_layer_graph(cell, config)
    content = write_tflite(graph)
    assert {"ADD_N", "DEQUANTIZE", "QUANTIZE"} <= {moment.operator for moment in liveness(content).moments}
    peak = network_cost(graph).peak_memory_bytes
    assert peak == liveness(content).peak_bytes
    assert peak > network_cost(cell, config.changed(chained_adds=True)).peak_memory_bytes


@given(graphs(), st.sampled_from(["float32", "int8"]))
@settings(deadline=None, max_examples=100)
def test_peak_memory_of_any_network_is_that_of_the_written_file(graph: LayerGraph, precision: str) -> None:
    graph = replace(graph, precision=precision)
    assert network_cost(graph).peak_memory_bytes == liveness(write_tflite(graph)).peak_bytes


IN_PLACE = {"ADD", "MUL"}
"""Operators whose result the LiteRT of today may put where one of their inputs was."""


class Arena:
    """Where LiteRT's reference interpreter puts the activation tensors of a file."""

    def __init__(self, content: bytes) -> None:
        self.live: Liveness = liveness(content)
        self.interpreter = reference_interpreter(content)
        self.start = {
            tensor: self.interpreter.tensor(tensor)().__array_interface__["data"][0] for tensor in self.live.size
        }

    def end(self, tensor: int) -> int:
        return self.start[tensor] + self.live.size[tensor]

    @property
    def extent(self) -> int:
        return max(map(self.end, self.start)) - min(self.start.values())

    def overlapping(self, alive: frozenset[int]) -> list[tuple[int, int]]:
        ordered = sorted(alive)
        pairs = [(a, b) for a in ordered for b in ordered if a < b]
        return [(a, b) for a, b in pairs if self.start[a] < self.end(b) and self.start[b] < self.end(a)]

    def occupied(self, alive: frozenset[int]) -> int:
        """Bytes under the live tensors, those that two of them share counted once."""
        shared = {b: a for a, b in self.overlapping(alive)}
        return sum(self.live.size[tensor] for tensor in alive if tensor not in shared)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_tensors_that_are_alive_at_once_share_memory_only_where_litert_computes_in_place(
    name: str, precision: str
) -> None:
    architecture, config = CASES[name]
    arena = Arena(write_tflite(build_layer_graph(architecture, config.changed(precision=precision))))
    moments = arena.live.moments
    for number, moment in enumerate(moments):
        read_later = arena.live.inputs.union(*(later.reads for later in moments[number + 1 :]))
        for pair in arena.overlapping(moment.alive):
            (read,), (written,) = moment.reads & {*pair}, moment.writes & {*pair}
            assert moment.operator in IN_PLACE
            assert read not in read_later
            assert (arena.start[read], arena.live.size[read]) == (arena.start[written], arena.live.size[written])


@pytest.mark.parametrize("name", CASES)
def test_the_arena_of_litert_holds_the_peak_less_what_is_computed_in_place(name: str) -> None:
    arena = Arena(write_tflite(graph_of(name)))
    assert arena.extent >= max(arena.occupied(alive) for alive in arena.live.all_alive)


def test_litert_does_compute_in_place_where_we_say_so() -> None:
    for name, operators in {"input to output": {"ADD"}, "strides of residual blocks": {"ADD", "MUL"}}.items():
        arena = Arena(write_tflite(graph_of(name)))
        assert {moment.operator for moment in arena.live.moments if arena.overlapping(moment.alive)} == operators


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("0-1:", NetworkConfig()), "not of a str"),
        ((TRUNCATING, "small"), "needs a NetworkConfig, not 'small'"),
        ((build_layer_graph(TRUNCATING, NetworkConfig.small()), NetworkConfig()), "laid out already"),
    ],
)
def test_what_has_no_cost_is_refused(arguments: tuple[Any, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        network_cost(*arguments)
