"""Weights outside the header: blocks on disk, headers over them, and what networks over them compute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidConfigError, InvalidInputError, NotFoundError, StoreError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.file_model import FileBuffer, FileModel
from leti_opt.network.flatbuffer import most_bytes, serialize
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.weight_zones import Zone, nearest_zone, zone_values
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
from tests.network.tflite_facts import computation, run
from tests.reference.nasbench201_classes import is_connected
from tests.reference.strategies import cells

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
KEY = "0a1b2c"
KERNELS, SHIFTS = Zone("kernel", -9), Zone("shift")
NEEDS = BlockNeeds("float32", {KERNELS: 100_000, SHIFTS: 64})
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


def activations(content: bytes) -> dict[str, NDArray[Any]]:
    """Every tensor that an operator wrote in one run, by place and name, with the plain reference kernels."""
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    interpreter.set_tensor(0, np.random.default_rng(0).standard_normal(wanted["shape"]).astype(np.float32))
    interpreter.invoke()
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    written = [int(operator.outputs[0]) for operator in graph.operators]
    assert set(written) - read <= set(graph.outputs.tolist())
    return {f"{index} {graph.tensors[index].name!r}": interpreter.get_tensor(index) for index in written}


def assert_ordinary(content: bytes) -> None:
    for name, values in activations(content).items():
        assert np.isfinite(values).all(), name
        assert np.ptp(values) > 0, f"{name} is constant"
        size = float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
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


# --- blocks on disk


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("zone", [KERNELS, Zone("kernel", 2), Zone("factor"), SHIFTS])
def test_a_zone_holds_finite_numbers_of_its_size_and_a_longer_one_begins_with_the_same(
    zone: Zone, precision: str
) -> None:
    values = joined(zone_values(precision, zone, 3 << 20))
    assert values.dtype == precision
    assert np.isfinite(values).all()
    assert np.std(values, dtype=np.float64) == pytest.approx(zone.std, rel=0.01)
    assert np.mean(values, dtype=np.float64) == pytest.approx(zone.mean, abs=zone.std / 100)
    for count in (2, 64, 1 << 20, (1 << 20) + 32):
        assert np.array_equal(joined(zone_values(precision, zone, count)), values[:count])


def joined(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts))


def test_zones_hold_different_numbers() -> None:
    zones = [KERNELS, Zone("kernel", -10), Zone("kernel", 9), Zone("factor"), SHIFTS]
    starts = {tuple(np.argsort(joined(zone_values("float32", zone, 64)))) for zone in zones}
    assert len(starts) == len(zones)


def test_a_block_is_made_once_and_found_again(tmp_path: Path) -> None:
    block = open_block(NEEDS, tmp_path)
    before = block.path.stat()
    again = open_block(BlockNeeds("float32", {KERNELS: 50_000}), tmp_path)
    assert again == block
    assert again.path.stat().st_mtime_ns == before.st_mtime_ns
    assert block.path.stat().st_size == block.size
    assert block.holds(NEEDS)
    content = block.path.read_bytes()
    for zone, size in block.zones.items():
        part = np.frombuffer(content, np.float32, size // 4, block.offsets[zone])
        assert np.array_equal(part, joined(zone_values("float32", zone, size // 4)))


def test_a_larger_block_takes_the_place_of_a_smaller_one_and_holds_its_numbers(tmp_path: Path) -> None:
    first = open_block(NEEDS, tmp_path)
    beginning = first.path.read_bytes()[first.offsets[KERNELS] :][:100_000]
    other = Zone("kernel", 3)
    larger = open_block(BlockNeeds("float32", {KERNELS: 3_000_000, other: 10}), tmp_path)

    assert larger.zones[KERNELS] >= 3_000_000
    assert larger.zones[SHIFTS] >= first.zones[SHIFTS]
    assert larger.holds(NEEDS)
    assert larger.path.read_bytes()[larger.offsets[KERNELS] :][:100_000] == beginning
    assert [path.name for path in tmp_path.glob("*.weights")] == [larger.path.name]
    with pytest.raises(NotFoundError, match="replaced by a larger block"):
        private_copy(first, tmp_path)


def test_precisions_have_blocks_of_their_own(tmp_path: Path) -> None:
    blocks = {open_block(replace(NEEDS, precision=precision), tmp_path).path for precision in ("float32", "float16")}
    assert len(blocks) == 2


@pytest.mark.parametrize("damage", ["cut", "zeros", "foreign", "renamed"])
def test_a_damaged_block_is_written_anew(damage: str, tmp_path: Path) -> None:
    block = open_block(NEEDS, tmp_path)
    whole = block.path.read_bytes()
    if damage == "cut":
        os.truncate(block.path, block.size - 64)
    elif damage == "zeros":
        block.path.write_bytes(whole[: block.header_bytes].ljust(block.size, b"\0"))
    elif damage == "foreign":
        block.path.write_bytes(b"not a block")
    else:
        block.path.rename(block.path.with_name("float32-0123456789abcdef.weights"))

    again = open_block(NEEDS, tmp_path)
    assert again.path == block.path
    assert again.path.read_bytes() == whole
    assert len(list(tmp_path.glob("*.weights"))) == 1


CHILD = """
    import sys
    from pathlib import Path
    from leti_opt.network import weights_block
    from leti_opt.network.weight_zones import Zone
    from leti_opt.network.weights_block import BlockNeeds, open_block

    written = weights_block._write
    def counted(path, layout):
        print("writes", flush=True)
        {before}
        written(path, layout)
    weights_block._write = counted
    print(open_block(BlockNeeds("float32", {{Zone("kernel", -9): 100_000, Zone("shift"): 64}}), sys.argv[1]).path)
"""


def child(folder: Path, before: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(before=before)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_write_one_block(tmp_path: Path) -> None:
    children = [child(tmp_path, "import time; time.sleep(1)") for _ in range(2)]
    lines = [process.communicate(timeout=60)[0].split() for process in children]
    assert [process.returncode for process in children] == [0, 0]
    assert sum(line == "writes" for text in lines for line in text) == 1
    assert lines[0][-1] == lines[1][-1]


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_that_counts(tmp_path: Path) -> None:
    before = "path.write_bytes(b'half'); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    killed = child(tmp_path, before)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert output.split() == ["writes"]
    assert [path.read_bytes() for path in tmp_path.glob(".*.weights")] == [b"half"]

    block = open_block(NEEDS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [block.path.name, "float32.lock"]


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot keep random weights in .*file.*LETI_CACHE_DIR"):
        open_block(NEEDS, tmp_path / "file" / "weights")
    block = open_block(NEEDS, tmp_path)
    with pytest.raises(StoreError, match="cannot keep random weights"):
        private_copy(block, tmp_path / "nowhere")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path))
    assert open_block(NEEDS).path.parent == tmp_path / "weights"


@pytest.mark.parametrize("copies", ["by the system", "by hand"])
def test_a_private_copy_is_the_blocks_equal_and_leaves_it_as_it_is(
    copies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = open_block(NEEDS, tmp_path)
    whole = block.path.read_bytes()
    if copies == "by hand":
        monkeypatch.delattr(os, "copy_file_range")
    copy = private_copy(block, tmp_path)
    assert copy.read_bytes() == whole
    replace_header(copy, b"\0\0\0\0TFL3".ljust(HEADER_BYTES, b"\0"))
    assert copy.read_bytes()[HEADER_BYTES:] == whole[HEADER_BYTES:]
    assert block.path.read_bytes() == whole


@pytest.mark.parametrize("header", [b"", b"x" * HEADER_BYTES, b"\0\0\0\0TFL3"])
def test_what_is_no_header_is_refused(header: bytes, tmp_path: Path) -> None:
    copy = private_copy(open_block(NEEDS, tmp_path), tmp_path)
    before = copy.read_bytes()
    with pytest.raises(InvalidInputError, match="not one that write_header made"):
        replace_header(copy, header)
    assert copy.read_bytes() == before


def test_a_file_that_is_no_copy_is_refused(tmp_path: Path) -> None:
    header = b"\0\0\0\0TFL3".ljust(HEADER_BYTES, b"\0")
    (tmp_path / "short").write_bytes(b"short")
    for name in ("short", "missing"):
        with pytest.raises(InvalidInputError, match="not a copy of a block"):
            replace_header(tmp_path / name, header)
