"""Keras models: shapes, parameters, seeds, sizes of activations, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.search_space.definition import NAS_BENCH_201

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
SEPARABLE = Operation("separable", (depthwise_conv(3, use_bias=True), conv(1), batch_norm(), relu()))
TRUNCATING = Architecture.parse(f"0-1,0-2,0-3,0-4,1-2,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}")
OWN = Architecture.parse("0-1,1-2:separable:separable")
MIXED = NAS_BENCH_201.lower(("nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "none", "nor_conv_3x3"))

pytestmark = pytest.mark.needs("tensorflow")

CASES = {
    "slices and add_n": (TRUNCATING, NetworkConfig.small(filters=13, input_shape=(7, 6, 3), chained_adds=False)),
    "cell alone, batch": (TRUNCATING, NetworkConfig(scope="cell", filters=8, input_shape=(5, 5, 8), batch_size=3)),
    "own operation": (OWN, NetworkConfig.small(filters=8, operations=(SEPARABLE,), classes=7)),
    "nasbench201": (MIXED, NetworkConfig.nasbench201(filters=4, cells_per_stack=1, input_shape=(9, 9, 3))),
}


def graph_of(name: str) -> LayerGraph:
    return build_layer_graph(*CASES[name])


def noise(graph: LayerGraph) -> np.ndarray:
    shape = (graph.batch_size, *graph.input_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_parameters_are_those_of_the_layer_graph(name: str) -> None:
    graph = graph_of(name)
    model = build_keras_model(graph)
    assert model.input_shape == (graph.batch_size, *graph.input_shape)
    assert model.output_shape == (graph.batch_size, *graph.output_shape)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == network_cost(graph).parameters
    for layer in graph.layers[1:]:
        assert model.get_layer(layer.name).output.shape == (graph.batch_size, *layer.shape), layer.name


def test_the_seed_chooses_the_weights() -> None:
    graph = graph_of("own operation")
    first, same, other = (build_keras_model(graph, seed).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1]
    assert len(kernels) > 5
    assert not any(np.array_equal(a, b) for a, b in kernels)


def test_layers_of_one_shape_have_different_weights() -> None:
    cell = Architecture.parse(f"0-1,1-2,2-3,3-4:{CONV3},{CONV3},{CONV3}")
    model = build_keras_model(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))
    kernels = [w.tobytes() for w in model.get_weights() if w.shape == (3, 3, 8, 8)]
    assert len(kernels) == 3
    assert len(set(kernels)) == 3


def test_neighbouring_seeds_share_no_layer() -> None:
    cell = Architecture.parse(f"0-1,1-2,2-3,3-4:{CONV3},{CONV3},{CONV3}")
    graph = build_layer_graph(cell, NetworkConfig(scope="cell", filters=8))
    found = [w.tobytes() for seed in range(4) for w in build_keras_model(graph, seed).get_weights() if w.ndim == 4]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("cell", "config"),
    [
        (Architecture.parse(f"0-1,0-2,0-3,1-2,1-3,2-3:{CONV3},{CONV1}"), NetworkConfig.nasbench101(filters=8)),
        (MIXED, NetworkConfig.nasbench201(filters=4)),
    ],
    ids=["nasbench101", "nasbench201"],
)
def test_activations_stay_ordinary_through_the_depth(cell: Architecture, config: NetworkConfig) -> None:
    import keras

    graph = build_layer_graph(cell, config.changed(input_shape=(16, 16, 3)))
    assert len(graph.layers) > 80
    model = build_keras_model(graph)
    inner = keras.Model(model.inputs[0], [model.get_layer(layer.name).output for layer in graph.layers[1:]])
    for layer, values in zip(graph.layers[1:], inner(noise(graph)), strict=True):
        largest = float(np.abs(values.numpy()).max())
        assert 1e-3 < largest < 1e4, (layer.name, largest)


# Keras itself, when it writes TensorFlow's variables with numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_computes_the_same(name: str, tmp_path: Path) -> None:
    import keras

    graph = graph_of(name)
    model = build_keras_model(graph)
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert np.array_equal(model(noise(graph)).numpy(), loaded(noise(graph)).numpy())
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


def test_batch_norms_are_trained_slowly_as_in_nasbench101() -> None:
    import keras

    norms = [
        layer
        for layer in build_keras_model(graph_of("slices and add_n")).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert norms
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(0.997, 1e-5)}
