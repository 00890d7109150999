"""LayerGraph: its checks, its digest, published costs of whole networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.search_space.definition import NAS_BENCH_201

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
INPUT = Layer("in", LayerKind.INPUT, (), (8, 8, 4))
CONVOLUTION = Layer("a", LayerKind.CONV, (0,), (8, 8, 4), kernel_size=3)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((), "begins with its input layer"),
        ((CONVOLUTION,), "begins with its input layer"),
        ((INPUT, replace(CONVOLUTION, inputs=(1,))), "'a' at 1 refers to"),
        ((INPUT, replace(CONVOLUTION, inputs=(2,)), CONVOLUTION), "'a' at 1 refers to"),
        ((INPUT, replace(CONVOLUTION, inputs=(-1,))), "'a' at 1 refers to"),
    ],
)
def test_layers_out_of_order_are_refused(layers: tuple[Layer, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LayerGraph(layers)


def test_shapes_are_those_of_one_image() -> None:
    graph = build_layer_graph(Architecture.parse("0-1:"), NetworkConfig.small(filters=8, batch_size=4, classes=7))
    assert (graph.input_shape, graph.output_shape, graph.batch_size) == ((32, 32, 3), (7,), 4)
    assert list(graph.input_shapes(graph.layers[-1])) == [(16,)]


def test_names_of_layers_are_unique_and_no_part_of_the_digest() -> None:
    cell = Architecture.parse(f"0-1,0-2,0-3,1-2,1-3,2-3:{CONV3},{POOL}")
    graph = build_layer_graph(cell, NetworkConfig())
    names = [layer.name for layer in graph.layers]
    assert len(set(names)) == len(names)
    renamed = replace(graph, layers=tuple(replace(layer, name=f"x{i}") for i, layer in enumerate(graph.layers)))
    assert renamed.digest == graph.digest


@pytest.mark.parametrize(
    "change",
    [
        {"kind": LayerKind.DEPTHWISE_CONV},
        {"shape": (8, 8, 5)},
        {"kernel_size": 5},
        {"stride": 2},
        {"use_bias": True},
    ],
)
def test_every_property_of_a_layer_is_part_of_the_digest(change: dict[str, object]) -> None:
    plain = LayerGraph((INPUT, CONVOLUTION))
    assert LayerGraph((INPUT, replace(CONVOLUTION, **change))).digest != plain.digest


def test_wiring_batch_and_precision_are_part_of_the_digest() -> None:
    relu = Layer("r", LayerKind.RELU, (1,), (8, 8, 4))
    graph = LayerGraph((INPUT, CONVOLUTION, relu))
    others = [
        replace(graph, layers=(INPUT, CONVOLUTION, replace(relu, inputs=(0,)))),
        replace(graph, batch_size=2),
        replace(graph, precision="int8"),
    ]
    assert len({graph.digest, *(other.digest for other in others)}) == 4


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (f"0-1,0-4,0-5,1-2,2-3,2-6,3-5,4-5,5-6:{CONV3},{POOL},{CONV3},{CONV3},{CONV1}", 8_555_530),
        (f"0-1,0-2,0-3,0-5,1-6,2-6,3-4,4-6,5-6:{CONV1},{CONV3},{CONV3},{CONV3},{POOL}", 2_694_282),
    ],
)
def test_published_numbers_of_parameters_of_nasbench101(text: str, parameters: int) -> None:
    assert network_cost(Architecture.parse(text), NetworkConfig.nasbench101()).parameters == parameters


def test_published_costs_of_nasbench201() -> None:
    cost = network_cost(NAS_BENCH_201.lower(("nor_conv_3x3",) * 6), NetworkConfig.nasbench201())
    assert (cost.parameters, cost.flops) == (1_531_546, 2 * 220_119_680)


def test_flops_grow_with_the_batch_and_parameters_do_not() -> None:
    cell = Architecture.parse(f"0-1,1-2:{CONV3}")
    one, four = (network_cost(cell, NetworkConfig.small(batch_size=n)) for n in (1, 4))
    assert (four.flops, four.parameters) == (4 * one.flops, one.parameters)


def test_chained_adds_add_two_at_a_time() -> None:
    cell = Architecture.parse(f"0-1,0-2,0-3,0-4,1-4,2-4,3-4,4-5:{CONV3},{CONV1},{POOL},{CONV3}")

    def fan_in(chained: bool) -> list[int]:
        config = NetworkConfig(scope="cell", filters=8, chained_adds=chained)
        graph = build_layer_graph(cell, config)
        return [len(layer.inputs) for layer in graph.layers if layer.kind is LayerKind.ADD]

    assert fan_in(True) == [2, 2, 2]
    assert fan_in(False) == [4]
