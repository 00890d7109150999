"""The direct TFLite writer against the TF converter: the same operators, wired in the same way, over many cells."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidConfigError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import structure_digest
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.tflite_facts import computation, operators, run
from tests.reference.nasbench201_classes import is_connected
from tests.reference.strategies import cells

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
SEPARABLE = Operation("separable", (depthwise_conv(3), conv(1), batch_norm(), relu()))
BIASED = Operation("biased", (conv(3, use_bias=True), relu()))
FOUR_IN_ONE = Architecture.parse(f"0-1,0-2,0-3,0-4,1-4,2-4,3-4,4-5:{CONV3},{CONV1},{POOL},{CONV3}")
TRUNCATING = Architecture.parse(f"0-1,0-2,0-4,1-2,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}")
OWN = Architecture.parse("0-1,0-2,1-2,2-3:separable,biased:separable,biased")


def tiny(**changes: object) -> NetworkConfig:
    return NetworkConfig.small(**{"stacks": 1, "input_shape": (7, 6, 3), "filters": 7, **changes})


def tiny201(**changes: object) -> NetworkConfig:
    return NetworkConfig.nasbench201(
        **{"stacks": 2, "cells_per_stack": 1, "input_shape": (7, 6, 3), "filters": 4, **changes}
    )


CASES = {
    "slices, input to output": build_layer_graph(TRUNCATING, tiny(stacks=2, filters=13)),
    "two vertices, cell alone": build_layer_graph(
        Architecture.parse("0-1:"), NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 3))
    ),
    "chained adds, batch of two": build_layer_graph(FOUR_IN_ONE, tiny(batch_size=2)),
    "add_n": build_layer_graph(FOUR_IN_ONE, tiny(chained_adds=False)),
    "operations of the user's own": build_layer_graph(OWN, tiny(operations=(SEPARABLE, BIASED))),
    "shared relus": build_layer_graph(NAS_BENCH_201.lower(("nor_conv_3x3",) * 6), tiny201()),
    "pools, skips, two batch norms in a row": build_layer_graph(
        NAS_BENCH_201.lower(("avg_pool_3x3", "skip_connect", "none", "none", "avg_pool_3x3", "nor_conv_1x1")),
        tiny201(),
    ),
}


def assert_equal_but_for_weights(graph: LayerGraph) -> None:
    written, converted = write_tflite(graph), convert_tflite(build_keras_model(graph))
    assert operators(written) == operators(converted)
    assert computation(written) == computation(converted)
    assert_runs(graph, written)


def assert_runs(graph: LayerGraph, content: bytes) -> None:
    output = run(content)
    assert output.shape == (graph.batch_size, *graph.output_shape)
    assert np.isfinite(output).all()
    assert 1e-3 < np.abs(output).max() < 1e4


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", CASES)
def test_file_is_that_of_the_converter_but_for_weights(name: str) -> None:
    assert_equal_but_for_weights(CASES[name])


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("slices, input to output", "SLICE"),
        ("add_n", "ADD_N"),
        ("operations of the user's own", "DEPTHWISE_CONV_2D"),
        ("pools, skips, two batch norms in a row", "AVERAGE_POOL_2D"),
    ],
)
def test_the_cases_hold_what_they_are_named_for(name: str, operator: str) -> None:
    assert operator in {found for found, _ in operators(write_tflite(CASES[name]))}


@st.composite
def graphs(draw: st.DrawFn) -> LayerGraph:
    """Random cells of both spaces in small networks, or alone."""
    changes = {"chained_adds": draw(st.booleans()), "filters": draw(st.sampled_from([6, 7, 8, 13]))}
    changes["scope"] = draw(st.sampled_from(["cell", "stacked"]))
    if draw(st.booleans()):
        return build_layer_graph(draw(cells()), tiny(**changes))
    operation = st.sampled_from(NAS_BENCH_201.operations)
    native = draw(st.tuples(*[operation] * 6).filter(is_connected))
    channels = changes["filters"] if changes["scope"] == "cell" else 3
    return build_layer_graph(NAS_BENCH_201.lower(native), tiny201(**changes, input_shape=(7, 6, channels)))


@pytest.mark.slow
@pytest.mark.needs("tensorflow")
@given(graphs())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_files_of_random_cells_are_those_of_the_converter(graph: LayerGraph) -> None:
    assert_equal_but_for_weights(graph)


@given(graphs())
@settings(deadline=None, max_examples=25)
def test_every_written_file_runs_and_gives_ordinary_numbers(graph: LayerGraph) -> None:
    assert_runs(graph, write_tflite(graph))


@pytest.mark.parametrize("config", [NetworkConfig.nasbench101(filters=16), NetworkConfig.nasbench201(filters=8)])
def test_deep_networks_give_ordinary_numbers(config: NetworkConfig) -> None:
    cell = TRUNCATING if config.projection else NAS_BENCH_201.lower(("nor_conv_3x3", "avg_pool_3x3") * 3)
    graph = build_layer_graph(cell, config)
    assert len(graph.layers) > 150
    assert_runs(graph, write_tflite(graph))


def test_the_seed_chooses_the_weights_and_nothing_else() -> None:
    graph = CASES["chained adds, batch of two"]
    files = [write_tflite(graph, seed=seed) for seed in (0, 0, 1)]
    assert files[0] == files[1]
    assert files[0] != files[2]
    assert computation(files[0]) == computation(files[2])
    assert structure_digest(files[0]) == structure_digest(files[2])
    assert not np.allclose(run(files[0]), run(files[2]))


def test_each_layer_has_weights_of_its_own() -> None:
    cell = Architecture.parse(f"0-1,1-2,2-3,3-4:{CONV3},{CONV3},{CONV3}")
    content = write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))

    buffers = schema.ModelT.InitFromPackedBuf(content, 0).buffers
    kernels = [bytes(b.data) for b in buffers if b.data is not None and len(b.data) == 4 * 9 * 8 * 8]
    assert len(kernels) == 3
    assert len(set(kernels)) == 3


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_other_precisions_are_left_to_the_converter(precision: str) -> None:
    graph = build_layer_graph(TRUNCATING, tiny(precision=precision))
    with pytest.raises(InvalidConfigError, match=f"{precision}.*use the converter"):
        write_tflite(graph)
