"""What becomes of layers in a TFLite file: fused, folded, left out, and in which order."""

from __future__ import annotations

from hypothesis import given, settings

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operator_plan import OperatorPlan, first_of_repeats, plan_operators
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.reference.strategies import cells

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
INPUT = Layer("in", LayerKind.INPUT, (), (8, 8, 4))


def layer(name: str, kind: LayerKind, *inputs: int, size: int = 0, operator: str = "") -> Layer:
    return Layer(name, kind, inputs, (8, 8, 4), size, operator=operator)


def names(plan: OperatorPlan) -> list[tuple[str, bool]]:
    return [(operator.name, operator.relu) for operator in plan.operators]


def test_only_repeated_layers_without_weights_are_left_out() -> None:
    graph = LayerGraph(
        (
            INPUT,
            layer("relu", LayerKind.RELU, 0),
            layer("same", LayerKind.RELU, 0),
            layer("pool", LayerKind.MAX_POOL, 1, size=3),
            layer("same pool", LayerKind.MAX_POOL, 2, size=3),
            layer("other pool", LayerKind.MAX_POOL, 2, size=2),
            layer("conv", LayerKind.CONV, 1, size=3),
            layer("other conv", LayerKind.CONV, 2, size=3),
            layer("sum", LayerKind.ADD, 3, 4),
            layer("all", LayerKind.ADD, 5, 6, 7, 8),
        )
    )
    assert first_of_repeats(graph) == [0, 1, 1, 3, 3, 5, 6, 7, 8, 9]
    plan = plan_operators(graph)
    assert [(plan.names[operator.output], operator.inputs) for operator in plan.operators] == [
        ("relu", (0,)),
        ("pool", (1,)),
        ("other pool", (1,)),
        ("conv", (1,)),
        ("other conv", (1,)),
        ("sum", (2, 2)),
        ("all", (3, 4, 5, 6)),
    ]


def test_a_convolution_takes_batch_norms_and_a_relu_that_nothing_else_reads() -> None:
    layers = (
        INPUT,
        layer("conv", LayerKind.CONV, 0, size=3),
        layer("bn", LayerKind.BATCH_NORM, 1),
        layer("bn2", LayerKind.BATCH_NORM, 2),
        layer("relu", LayerKind.RELU, 3),
    )
    alone = plan_operators(LayerGraph(layers))
    assert names(alone) == [("CONV_2D", True)]
    assert alone.operators[0].batch_norms == (2, 3)
    read_twice = plan_operators(LayerGraph((*layers, layer("sum", LayerKind.ADD, 3, 4))))
    assert names(read_twice) == [("CONV_2D", False), ("RELU", False), ("ADD", False)]


def test_a_batch_norm_without_a_convolution_is_two_operators() -> None:
    pool = layer("pool", LayerKind.MAX_POOL, 0, size=3)
    plan = plan_operators(
        LayerGraph((INPUT, pool, layer("bn", LayerKind.BATCH_NORM, 1), layer("r", LayerKind.RELU, 2)))
    )
    assert names(plan) == [("MAX_POOL_2D", False), ("MUL", False), ("ADD", True)]
    assert [(operator.inputs, operator.output) for operator in plan.operators] == [((0,), 1), ((1,), 2), ((2,), 3)]


def test_what_was_read_from_a_file_is_neither_fused_nor_merged() -> None:
    read = (
        INPUT,
        layer("conv", LayerKind.CONV, 0, size=3, operator="CONV_2D"),
        layer("relu", LayerKind.RELU, 1, operator="RELU"),
        layer("a", LayerKind.RELU, 2, operator="RELU"),
        layer("b", LayerKind.RELU, 2, operator="RELU"),
        layer("odd", LayerKind.OPAQUE, 3, 4, operator="ATAN2"),
    )
    assert names(plan_operators(LayerGraph(read))) == [
        ("CONV_2D", False),
        ("RELU", False),
        ("RELU", False),
        ("RELU", False),
        ("ATAN2", False),
    ]


def test_a_network_of_skips_has_no_operators_and_gives_its_input() -> None:
    cell = NAS_BENCH_201.lower(("none", "none", "none", "skip_connect", "none", "none"))
    plan = plan_operators(build_layer_graph(cell, NetworkConfig.nasbench201(scope="cell")))
    assert plan.operators == ()
    assert plan.output == 0


def test_a_read_layer_has_another_digest_than_a_built_one() -> None:
    built, read = layer("conv", LayerKind.CONV, 0, size=3), layer("conv", LayerKind.CONV, 0, size=3, operator="CONV_2D")
    assert LayerGraph((INPUT, built)).digest != LayerGraph((INPUT, read)).digest


@given(cells())
@settings(deadline=None, max_examples=50)
def test_every_tensor_is_written_once_before_it_is_read(cell: Architecture) -> None:
    plan = plan_operators(build_layer_graph(cell, NetworkConfig.small(filters=7)))
    written = set(plan.inputs)
    for operator in plan.operators:
        assert set(operator.inputs) <= written
        assert operator.output not in written
        written.add(operator.output)
    assert written == set(range(len(plan.shapes)))
    assert plan.output in written
