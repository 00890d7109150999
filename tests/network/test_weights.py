"""Random weights are scaled layer by layer so that activations stay of an ordinary size."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.weights import weight_stds
from tests.reference.strategies import cells

INPUT = Layer("in", LayerKind.INPUT, (), (8, 8, 4))


def layer(kind: LayerKind, *inputs: int, size: int = 0, shape: tuple[int, ...] = (8, 8, 4)) -> Layer:
    return Layer(kind.value, kind, inputs, shape, size)


@pytest.mark.parametrize(
    ("kind", "size", "fan_in"),
    [
        (LayerKind.CONV, 3, 36),
        (LayerKind.CONV, 1, 4),
        (LayerKind.DEPTHWISE_CONV, 3, 9),
        (LayerKind.DEPTHWISE_CONV, 5, 25),
    ],
)
def test_of_noise_a_layer_makes_noise_of_the_same_size(kind: LayerKind, size: int, fan_in: int) -> None:
    stds = weight_stds(LayerGraph((INPUT, layer(kind, 0, size=size))))
    assert stds == pytest.approx({1: 1 / math.sqrt(fan_in)})


def test_a_dense_layer_counts_its_inputs() -> None:
    graph = LayerGraph(
        (
            INPUT,
            layer(LayerKind.GLOBAL_AVERAGE_POOL, 0, shape=(4,)),
            layer(LayerKind.DENSE, 1, shape=(10,)),
        )
    )
    assert weight_stds(graph) == pytest.approx({2: 0.5})


def test_what_is_larger_is_scaled_down() -> None:
    convs = [layer(LayerKind.CONV, 0, size=1) for _ in range(4)]
    of_four = LayerGraph((INPUT, *convs, layer(LayerKind.ADD, 1, 2, 3, 4), layer(LayerKind.CONV, 5, size=1)))
    assert weight_stds(of_four)[6] == pytest.approx(weight_stds(of_four)[1] / 2)


def test_sums_of_what_stems_from_one_layer_grow_faster() -> None:
    kept = [layer(LayerKind.MAX_POOL, 0, size=3), layer(LayerKind.ADD, 0, 1)]
    of_one = LayerGraph((INPUT, *kept, layer(LayerKind.ADD, 2, 1, 0), layer(LayerKind.CONV, 3, size=1)))
    plain = LayerGraph((INPUT, layer(LayerKind.CONV, 0, size=1)))
    assert weight_stds(of_one)[4] == pytest.approx(weight_stds(plain)[1] / 4)


def test_relu_halves_the_mean_square_and_is_made_up_for() -> None:
    graph = LayerGraph((INPUT, layer(LayerKind.RELU, 0), layer(LayerKind.CONV, 1, size=1)))
    assert weight_stds(graph)[2] == pytest.approx(math.sqrt(2) / 2)


@given(cells(), st.sampled_from(["cell", "stacked"]))
@settings(deadline=None, max_examples=60)
def test_exactly_the_layers_with_weights_get_a_finite_positive_scale(cell: Architecture, scope: str) -> None:
    graph = build_layer_graph(cell, NetworkConfig.nasbench101(scope=scope, filters=16))
    stds = weight_stds(graph)
    weighted = {LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE}
    assert set(stds) == {place for place, item in enumerate(graph.layers) if item.kind in weighted}
    assert all(1e-6 < std < 10 for std in stds.values())
