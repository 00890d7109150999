"""Full int8 within a network and over a block of integers: what each tensor holds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.file_model import FileBuffer
from leti_opt.network.flatbuffer import serialize
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.network.weight_zones import zone_type
from leti_opt.network.weights import weight_shapes
from leti_opt.network.weights_block import open_block
from leti_opt.network.weights_outside import place_weights, write_header
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.int8_facts import assert_ordinary, assert_ordinary_output, images, int8, real_outputs
from tests.network.test_writer import CASES, TRUNCATING, graphs, tiny, tiny201
from tests.network.tflite_facts import computation
from tests.reference.nasbench201_classes import is_connected
from tests.reference.strategies import cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


def outside(graph: LayerGraph, folder: Path) -> bytes:
    network = place_weights(graph)
    block = open_block(network.needs, folder)
    header = write_header(network, block, "key")
    return header + block.path.read_bytes()[len(header) :]


@cache
def deep_networks() -> tuple[LayerGraph, ...]:
    pools = Architecture.parse("0-1,1-2,2-3,3-4,4-5,5-6:" + ",".join(["maxpool3x3"] * 5))
    of_101 = NetworkConfig.nasbench101(filters=16, input_shape=(16, 16, 3), precision="int8")
    of_201 = NetworkConfig.nasbench201(filters=8, input_shape=(16, 16, 3), precision="int8")
    natives = [("nor_conv_3x3", "avg_pool_3x3") * 3, ("avg_pool_3x3",) * 6, ("nor_conv_3x3",) * 6]
    natives.append(("skip_connect", "nor_conv_1x1", "skip_connect", "avg_pool_3x3", "skip_connect", "skip_connect"))
    return (
        *(build_layer_graph(cell, of_101) for cell in (TRUNCATING, pools, Architecture.parse("0-1:"))),
        *(build_layer_graph(NAS_BENCH_201.lower(native), of_201) for native in natives),
    )


@st.composite
def wide_graphs(draw: st.DrawFn) -> LayerGraph:
    """Every layer has eight channels at least: a lone channel may by chance never pass its ReLU."""
    changes: dict[str, Any] = {"chained_adds": draw(st.booleans()), "precision": "int8"}
    changes["scope"] = draw(st.sampled_from(["cell", "stacked"]))
    if draw(st.booleans()):
        return build_layer_graph(draw(cells()), tiny(filters=40, **changes))
    native = draw(st.tuples(*[st.sampled_from(NAS_BENCH_201.operations)] * 6).filter(is_connected))
    channels = 12 if changes["scope"] == "cell" else 3
    return build_layer_graph(NAS_BENCH_201.lower(native), tiny201(filters=12, input_shape=(7, 6, channels), **changes))


@given(wide_graphs(), st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_random_weights_give_ordinary_activations(graph: LayerGraph, seed: int) -> None:
    assert_ordinary(write_tflite(graph, seed=seed))


@given(graph=wide_graphs())
@settings(deadline=None, max_examples=40)
def test_random_integers_of_a_block_give_ordinary_activations(graph: LayerGraph, folder: Path) -> None:
    assert_ordinary(outside(graph, folder))


@pytest.mark.parametrize("number", range(7))
def test_activations_stay_ordinary_over_the_depth(number: int, folder: Path) -> None:
    graph = deep_networks()[number]
    assert_ordinary(write_tflite(graph))
    assert_ordinary(outside(graph, folder))


@pytest.mark.parametrize("name", CASES)
def test_a_network_over_a_block_is_the_self_contained_one_with_its_constants(name: str, folder: Path) -> None:
    graph = int8(CASES[name])
    network = place_weights(graph)
    block = open_block(network.needs, folder)
    stored = block.path.read_bytes()
    buffers = [
        buffer
        if zone is None
        else FileBuffer(
            np.frombuffer(stored[block.offsets[zone] + buffer.offset :][: buffer.size], zone_type("int8", zone))
        )
        for buffer, zone in zip(network.model.buffers, network.zones, strict=True)
    ]
    inside = serialize(replace(network.model, buffers=tuple(buffers)))
    expected = real_outputs(inside, images(graph))
    assert_ordinary_output(expected)
    assert np.array_equal(real_outputs(outside(graph, folder), images(graph)), expected)
    assert computation(outside(graph, folder)) == computation(write_tflite(graph))
    assert {zone_type("int8", zone).name for zone in network.zones if zone} == {"int8", "int32"}


@given(graphs())
@settings(deadline=None, max_examples=25)
def test_every_constant_over_a_block_has_a_region_of_its_own(graph: LayerGraph) -> None:
    network = place_weights(int8(graph))
    taken: dict[Any, int] = {}
    for buffer, zone in zip(network.model.buffers, network.zones, strict=True):
        if zone is not None:
            assert buffer.offset >= taken.get(zone, 0)
            assert buffer.offset % 64 == 0
            taken[zone] = buffer.offset + buffer.size
    assert bool(taken) == any(weight_shapes(graph, layer) for layer in graph.layers)
    assert all(network.needs.zones[zone] >= end for zone, end in taken.items())
