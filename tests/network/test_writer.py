"""The direct TFLite writer against Keras and the TF converter: the same outputs and operators, over many cells.

Weights are given and all at random: kernels, biases, and everything of a batch norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidConfigError, InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import Layer, LayerGraph
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import structure_digest
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.network.weights import keras_weights, weight_shapes
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.network.tflite_facts import computation, operators, run
from tests.network.trained import assert_near, keras_output, noise, trained_model
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
    "nothing but skips": build_layer_graph(NAS_BENCH_201.lower(("skip_connect",) * 6), tiny201()),
    "two vertices, stacked": build_layer_graph(Architecture.parse("0-1:"), tiny(stacks=2)),
}


FLOAT32, FLOAT16 = 1e-4, 2e-2
"""How far outputs may be apart, as a share of the largest: sums in another order; weights of eleven bits."""


def assert_same_as_keras_and_converter(graph: LayerGraph, seed: int = 0) -> None:
    """Keras, the converter's file and ours, all with the same weights."""
    model, image = trained_model(graph, seed), noise(graph, seed)
    expected = keras_output(model, image)
    converted = convert_tflite(model, graph.precision)
    written = write_tflite(graph, keras_weights(model))
    assert operators(written) == operators(converted)
    assert computation(written) == computation(converted)
    tolerance = FLOAT32 if graph.precision == "float32" else FLOAT16
    assert_near(run(written, image), expected, tolerance)
    assert_near(run(converted, image), expected, tolerance)
    assert_near(run(written, image), run(converted, image), tolerance)


def assert_runs(graph: LayerGraph, content: bytes) -> None:
    output = run(content)
    assert output.shape == (graph.batch_size, *graph.output_shape)
    assert np.isfinite(output).all()
    assert 1e-3 < np.abs(output).max() < 1e4


def some_slow(names: Iterable[str], quick: Iterable[str]) -> list[Any]:
    """The converter takes seconds for each, so only some run every time."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", some_slow(CASES, sorted(set(CASES) - {"shared relus", "two vertices, stacked"})))
def test_keras_the_converters_file_and_ours_give_the_same(name: str) -> None:
    assert_same_as_keras_and_converter(CASES[name])


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize("name", some_slow(CASES, ["pools, skips, two batch norms in a row"]))
def test_keras_the_converters_file_and_ours_give_the_same_in_float16(name: str) -> None:
    assert_same_as_keras_and_converter(replace(CASES[name], precision="float16"))


@pytest.mark.needs("tensorflow")
def test_a_fresh_float16_file_has_the_operators_of_the_converters_file_of_a_fresh_model() -> None:
    graph = replace(CASES["add_n"], precision="float16")
    written, converted = write_tflite(graph), convert_tflite(build_keras_model(graph), "float16")
    assert operators(written) == operators(converted)
    assert computation(written) == computation(converted)


@pytest.mark.parametrize("name", CASES)
def test_random_and_given_weights_make_the_same_operators(name: str) -> None:
    graph = CASES[name]
    weights = {layer.name: some_weights(graph, layer) for layer in graph.layers if weight_shapes(graph, layer)}
    assert computation(write_tflite(graph)) == computation(write_tflite(graph, weights))


def some_weights(graph: LayerGraph, layer: Layer) -> tuple[NDArray[np.float32], ...]:
    generator = np.random.default_rng(len(layer.name))
    return tuple(generator.uniform(0.5, 1.5, shape).astype(np.float32) for shape in weight_shapes(graph, layer))


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
@given(graphs(), st.sampled_from(["float32", "float16"]), st.integers(0, 1000))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_random_cells_give_the_same_in_keras_the_converters_file_and_ours(
    graph: LayerGraph, precision: str, seed: int
) -> None:
    assert_same_as_keras_and_converter(replace(graph, precision=precision), seed)


@pytest.mark.needs("tensorflow")
@given(graphs(), st.integers(0, 1000))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_random_cells_give_the_same_in_keras_and_in_our_file(graph: LayerGraph, seed: int) -> None:
    model, image = trained_model(graph, seed), noise(graph, seed)
    weights, expected = keras_weights(model), keras_output(model, image)
    for precision, tolerance in (("float32", FLOAT32), ("float16", FLOAT16)):
        assert_near(run(write_tflite(replace(graph, precision=precision), weights), image), expected, tolerance)


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


def test_dynamic_files_are_left_to_the_converter() -> None:
    with pytest.raises(InvalidConfigError, match=r"dynamic.*use the converter"):
        write_tflite(build_layer_graph(TRUNCATING, tiny(precision="dynamic")))


def test_float16_files_hold_half_the_bytes_and_equal_biases_once() -> None:
    graph = build_layer_graph(FOUR_IN_ONE, NetworkConfig.small(filters=32))
    halves = write_tflite(replace(graph, precision="float16"))
    assert len(halves) < 0.6 * len(write_tflite(graph))
    biases = [shape for name, shape in operators(halves).elements() if name == "DEQUANTIZE" and len(shape) == 1]
    assert len(biases) == len(set(biases))


@pytest.mark.parametrize(
    ("factor", "largest"), [(1e6, "layer 'stem_conv_1' has a weight of"), (np.inf, "not all finite")]
)
def test_weights_that_float16_cannot_hold_are_refused(factor: float, largest: str) -> None:
    graph = replace(CASES["add_n"], precision="float16")
    weights = {layer.name: some_weights(graph, layer) for layer in graph.layers if weight_shapes(graph, layer)}
    weights["stem_conv_1"] = tuple(array * np.float32(factor) for array in weights["stem_conv_1"])
    with pytest.raises(InvalidInputError, match=largest):
        write_tflite(graph, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("stem_conv_1"), r"no weights for layer 'stem_conv_1'; .*\(3, 3, 3, 7\)"),
        (lambda weights: weights.update(stem=()), "layers that the graph does not have: stem"),
        (
            lambda weights: weights.update(stem_conv_1=(np.ones((3, 3, 7, 3), np.float32),)),
            r"'stem_conv_1' have the shapes \(\(3, 3, 7, 3\),\), not \(\(3, 3, 3, 7\),\)",
        ),
        (
            lambda weights: weights.update(stem_conv_1=(np.full((3, 3, 3, 7), np.nan, np.float32),)),
            "'stem_conv_1' are not all finite",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    graph = CASES["add_n"]
    weights = {layer.name: some_weights(graph, layer) for layer in graph.layers if weight_shapes(graph, layer)}
    change(weights)
    with pytest.raises(InvalidInputError, match=message):
        write_tflite(graph, weights)


def test_a_keras_model_in_place_of_weights_is_refused_with_what_to_do() -> None:
    graph = build_layer_graph(TRUNCATING, tiny())
    with pytest.raises(InvalidInputError, match=r"keras_weights\(model\)"):
        write_tflite(graph, build_keras_model(graph))
    with pytest.raises(InvalidInputError, match="a LayerGraph is needed"):
        write_tflite("cell")  # type: ignore[arg-type]
