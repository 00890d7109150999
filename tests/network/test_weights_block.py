"""Weights outside the header: blocks on disk, headers over them, and what networks over them compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidConfigError, InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.file_model import FileBuffer, FileModel
from leti_opt.network.flatbuffer import most_bytes, serialize
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.weight_zones import Zone, nearest_zone
from leti_opt.network.weights_block import (
    HEADER_BYTES,
    BlockNeeds,
    WeightsBlock,
    open_block,
    private_copy,
    replace_header,
)
from leti_opt.network.weights_outside import PlacedNetwork, key_of_tensor_name, place_weights, write_header
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.test_writer import CASES, TRUNCATING, graphs
from tests.network.tflite_facts import computation, kept_tensors, root_mean_square, run
from tests.reference.nasbench201_classes import is_connected
from tests.reference.strategies import cells

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
KEY = "0a1b2c"
DEEP101 = build_layer_graph(TRUNCATING, NetworkConfig.nasbench101(filters=16))
DEEP201 = build_layer_graph(
    NAS_BENCH_201.lower(("nor_conv_3x3", "avg_pool_3x3") * 3), NetworkConfig.nasbench201(filters=8)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all tests that only read."""
    return tmp_path_factory.mktemp("blocks")


def block_and_header(graph: LayerGraph, folder: Path) -> tuple[WeightsBlock, PlacedNetwork, bytes]:
    network = place_weights(graph)
    block = open_block(network.needs, folder)
    return block, network, write_header(network, block, KEY)


def whole_file(block: WeightsBlock, header: bytes) -> bytes:
    return header + block.path.read_bytes()[len(header) :]


def self_contained(network: PlacedNetwork, block: WeightsBlock) -> bytes:
    """A file that holds in itself the constants that the network has in the block."""
    content = block.path.read_bytes()
    kind = np.dtype(block.precision)
    buffers = []
    for buffer, zone in zip(network.model.buffers, network.zones, strict=True):
        if zone is not None:
            start = block.offsets[zone] + buffer.offset
            buffer = FileBuffer(np.frombuffer(content, kind, buffer.size // kind.itemsize, start))
        buffers.append(buffer)
    model = network.model
    return serialize(FileModel(model.tensors, model.operators, tuple(buffers), model.inputs, model.outputs))


def regions(network: PlacedNetwork) -> list[tuple[Zone, int, int]]:
    """Zone, start and end of every constant outside."""
    return [
        (zone, buffer.offset, buffer.offset + buffer.size)
        for buffer, zone in zip(network.model.buffers, network.zones, strict=True)
        if zone is not None
    ]


def noise(wanted: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(wanted["shape"]).astype(np.float32)


def assert_ordinary(content: bytes) -> None:
    for name, (values, _) in kept_tensors(content, OpResolverType.BUILTIN_REF, noise).items():
        assert np.isfinite(values).all(), name
        assert np.ptp(values) > 0, f"{name} is constant"
        size = root_mean_square(values)
        assert 1e-3 < size < 1e3, f"{name} has a root mean square of {size}"


# --- networks over a block


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_a_network_over_a_block_computes_the_same_to_the_bit_as_a_file_with_its_constants(
    name: str, precision: str, folder: Path
) -> None:
    block, network, header = block_and_header(replace(CASES[name], precision=precision), folder)
    outside, inside = whole_file(block, header), self_contained(network, block)

    expected = run(inside)
    assert np.isfinite(expected).all()
    assert np.ptp(expected) > 0
    assert np.array_equal(run(outside), expected)
    assert computation(outside) == computation(inside)
    assert len(header) == block.header_bytes


def test_a_network_loads_by_its_path_and_by_its_content(folder: Path, tmp_path: Path) -> None:
    block, _, header = block_and_header(CASES["slices, input to output"], folder)
    copy = private_copy(block, tmp_path)
    replace_header(copy, header)
    interpreter = Interpreter(model_path=str(copy), num_threads=1)
    interpreter.allocate_tensors()
    shape = interpreter.get_input_details()[0]["shape"]
    interpreter.set_tensor(0, np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    interpreter.invoke()

    from_path = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.ptp(from_path) > 0
    assert np.array_equal(from_path, run(copy.read_bytes()))


def test_headers_of_different_networks_take_turns_on_one_copy(folder: Path, tmp_path: Path) -> None:
    cases = list(CASES.values())
    networks = [place_weights(graph) for graph in cases]
    for network in networks:
        open_block(network.needs, folder)
    zones = {zone: max(n.needs.zones.get(zone, 0) for n in networks) for n in networks for zone in n.needs.zones}
    block = open_block(BlockNeeds("float32", zones), folder)
    copy = private_copy(block, tmp_path)
    expected = [run(self_contained(network, block)) for network in networks]
    for turn in range(2):
        for number, network in enumerate(networks):
            replace_header(copy, write_header(network, block, f"{KEY}{number}"))
            interpreter = Interpreter(model_path=str(copy))
            assert key_of_tensor_name(interpreter.get_input_details()[0]["name"]) == f"{KEY}{number}"
            del interpreter
            assert np.array_equal(run(copy.read_bytes()), expected[number]), (turn, number)


@st.composite
def wide_graphs(draw: st.DrawFn) -> LayerGraph:
    """Small networks of layers of 8 channels or more: one alone may sit behind a ReLU that it never passes."""
    if draw(st.booleans()):
        return build_layer_graph(draw(cells()), NetworkConfig.nasbench101(filters=40, stacks=2, input_shape=(8, 8, 3)))
    native = draw(st.tuples(*[st.sampled_from(NAS_BENCH_201.operations)] * 6).filter(is_connected))
    config = NetworkConfig.nasbench201(filters=12, stacks=2, cells_per_stack=2, input_shape=(8, 8, 3))
    return build_layer_graph(NAS_BENCH_201.lower(native), config)


@given(graph=wide_graphs(), precision=st.sampled_from(["float32", "float16"]))
@settings(deadline=None, max_examples=40)
def test_activations_keep_an_ordinary_size_in_networks_of_both_spaces(
    graph: LayerGraph, precision: str, folder: Path
) -> None:
    block, _, header = block_and_header(replace(graph, precision=precision), folder)
    assert_ordinary(whole_file(block, header))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("graph", [DEEP101, DEEP201], ids=["nasbench101", "nasbench201"])
def test_activations_keep_an_ordinary_size_over_the_depth(graph: LayerGraph, precision: str, folder: Path) -> None:
    assert len(graph.layers) > 150
    block, _, header = block_and_header(replace(graph, precision=precision), folder)
    assert_ordinary(whole_file(block, header))


@st.composite
def deep_graphs(draw: st.DrawFn) -> LayerGraph:
    """Networks as deep as the two spaces have them, of 8 channels or more."""
    if draw(st.booleans()):
        return build_layer_graph(draw(cells()), NetworkConfig.nasbench101(filters=40))
    native = draw(st.tuples(*[st.sampled_from(NAS_BENCH_201.operations)] * 6).filter(is_connected))
    return build_layer_graph(NAS_BENCH_201.lower(native), NetworkConfig.nasbench201(filters=8))


@given(graph=deep_graphs())
@settings(deadline=None, max_examples=50)
def test_activations_keep_an_ordinary_size_over_the_depth_of_many_cells(graph: LayerGraph, folder: Path) -> None:
    block, _, header = block_and_header(graph, folder)
    assert_ordinary(whole_file(block, header))


@given(graph=graphs(), precision=st.sampled_from(["float32", "float16"]))
@settings(deadline=None, max_examples=60)
def test_no_two_constants_of_a_network_overlap(graph: LayerGraph, precision: str) -> None:
    network = place_weights(replace(graph, precision=precision))
    taken = sorted(regions(network))
    for (zone, _, end), (following, start, _) in pairwise(taken):
        assert zone != following or end <= start
    for zone, start, end in taken:
        assert start % 64 == 0
        assert end <= network.needs.zones[zone]
    kernels = [tensor for tensor in network.model.tensors if tensor.buffer and "constant" in tensor.name]
    assert len(kernels) >= len(taken)


@given(graph=graphs(), precision=st.sampled_from(["float32", "float16"]))
@settings(deadline=None, max_examples=30)
def test_the_room_asked_for_is_enough_for_the_header(graph: LayerGraph, precision: str) -> None:
    network = place_weights(replace(graph, precision=precision))
    assert len(serialize(network.model)) <= most_bytes(network.model) <= network.needs.header_bytes


def test_a_kernel_comes_from_the_zone_nearest_to_the_wanted_size() -> None:
    for std in (0.5, 0.02, 1.0, 0.7071, 3.3e-3):
        zone = nearest_zone(std)
        assert 2**-0.25 <= zone.std / std <= 2**0.25


def test_a_long_header_asks_for_a_block_with_more_room(folder: Path, tmp_path: Path) -> None:
    cell = Architecture.parse(f"0-1,0-2,0-3,0-4,0-5,1-6,2-6,3-6,4-6,5-6:{','.join([CONV1] * 5)}")
    graph = build_layer_graph(cell, NetworkConfig.nasbench101(filters=8, stacks=4, cells_per_stack=8))
    network = place_weights(graph)
    assert network.needs.header_bytes > HEADER_BYTES
    small = open_block(BlockNeeds("float32", network.needs.zones), tmp_path)
    assert small.header_bytes == HEADER_BYTES
    with pytest.raises(InvalidInputError, match=r"too little room.*open_block"):
        write_header(network, small, KEY)

    large = open_block(network.needs, tmp_path)
    header = write_header(network, large, KEY)
    assert len(header) == large.header_bytes == 4 * HEADER_BYTES
    assert np.ptp(run(whole_file(large, header))) > 0


def test_a_precision_without_blocks_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="not 'dynamic'"):
        place_weights(replace(DEEP101, precision="dynamic"))


@pytest.mark.parametrize("key", ["", "k" * 129])
def test_a_key_that_does_not_fit_is_refused(key: str, folder: Path) -> None:
    block, network, _ = block_and_header(CASES["add_n"], folder)
    with pytest.raises(InvalidInputError, match="key has 1 to 128 characters"):
        write_header(network, block, key)


def test_only_names_with_a_key_have_one() -> None:
    assert key_of_tensor_name(f"input@{KEY}") == KEY
    assert key_of_tensor_name("input") is None
    assert key_of_tensor_name("") is None
