"""Operations: built-in ones, a user's own, and steps that no network can be built of."""

from __future__ import annotations

import pickle

import pytest

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidConfigError, UnknownOperationError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.operations import (
    BUILT_IN,
    Operation,
    Step,
    average_pool,
    batch_norm,
    conv,
    depthwise_conv,
    max_pool,
    operation_table,
    relu,
)
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201

SEPARABLE = Operation("separable3x3", (depthwise_conv(3), conv(1), batch_norm(), relu()))


def cell_of(label: str) -> Architecture:
    return Architecture([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", label, "output"], labels=(label,))


@pytest.mark.parametrize("kind", [LayerKind.INPUT, LayerKind.ADD, LayerKind.DENSE, LayerKind.CONCATENATE])
def test_layers_that_no_operation_can_hold_are_refused(kind: LayerKind) -> None:
    with pytest.raises(InvalidConfigError, match="an operation cannot hold"):
        Step(kind)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (LayerKind.CONV, 0),
        (LayerKind.MAX_POOL, 0),
        (LayerKind.CONV, -3),
        (LayerKind.RELU, 3),
        (LayerKind.BATCH_NORM, 1),
    ],
)
def test_a_window_belongs_to_convolutions_and_pools_only(kind: LayerKind, size: int) -> None:
    with pytest.raises(InvalidConfigError, match=f"kernel_size={size}"):
        Step(kind, size)


def test_every_operation_of_both_benchmarks_is_built_in() -> None:
    assert set(NAS_BENCH_101.operations) <= set(BUILT_IN)
    assert set(NAS_BENCH_201.operations) - {NAS_BENCH_201.absent} <= set(BUILT_IN)


def test_the_built_in_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        BUILT_IN["mine"] = SEPARABLE
    table = operation_table([SEPARABLE])
    assert table["separable3x3"] is SEPARABLE
    assert "separable3x3" not in BUILT_IN


def test_repeating_a_built_in_operation_word_for_word_is_allowed() -> None:
    assert operation_table([BUILT_IN["maxpool3x3"]]) == dict(BUILT_IN)


def test_operations_travel_pickled() -> None:
    assert pickle.loads(pickle.dumps(SEPARABLE)) == SEPARABLE


def test_a_users_own_operation_becomes_its_layers() -> None:
    config = NetworkConfig(scope="cell", filters=8, input_shape=(6, 5, 3), operations=(SEPARABLE,))
    graph = build_layer_graph(cell_of("separable3x3"), config)
    rows = [(layer.kind.value, layer.kernel_size, layer.shape) for layer in graph.layers[4:]]
    assert rows == [
        ("depthwise_conv", 3, (6, 5, 8)),
        ("conv", 1, (6, 5, 8)),
        ("batch_norm", 0, (6, 5, 8)),
        ("relu", 0, (6, 5, 8)),
    ]
    projection, own = 3 * 8 + 2 * 8, 9 * 8 + 8 * 8 + 2 * 8
    cost = network_cost(graph)
    assert cost.parameters == projection + own
    assert cost.flops == 2 * 30 * (3 * 8 + 9 * 8 + 8 * 8)


def test_biases_count_as_parameters_and_not_as_flops() -> None:
    plain = Operation("plain", (conv(3),))
    biased = Operation("biased", (conv(3, use_bias=True),))
    costs = [
        network_cost(cell_of(operation.label), NetworkConfig(scope="cell", filters=8, operations=(operation,)))
        for operation in (plain, biased)
    ]
    assert costs[1].parameters - costs[0].parameters == 8
    assert costs[1].flops == costs[0].flops


def test_an_operation_that_the_config_does_not_know_is_named_with_the_nearest() -> None:
    with pytest.raises(
        UnknownOperationError, match=r"no layers for operation 'separable3x3'; .*NetworkConfig\(operations="
    ):
        build_layer_graph(cell_of("separable3x3"), NetworkConfig.small())
    with pytest.raises(UnknownOperationError, match="did you mean 'conv3x3-bn-relu'"):
        build_layer_graph(cell_of("conv3x3-bn-rel"), NetworkConfig.small())


def test_an_operation_without_a_convolution_cannot_change_the_channels() -> None:
    config = NetworkConfig.small(stem="maxpool3x3", filters=8)
    with pytest.raises(InvalidConfigError, match="'maxpool3x3' has no convolution to turn 3 channels into 8"):
        build_layer_graph(cell_of("maxpool3x3"), config)


@pytest.mark.parametrize("step", [max_pool(2), average_pool(5), depthwise_conv(3), batch_norm(), relu()])
def test_all_but_convolutions_keep_the_channels(step: Step) -> None:
    config = NetworkConfig(scope="cell", filters=6, operations=(Operation("mine", (step,)),))
    graph = build_layer_graph(cell_of("mine"), config)
    assert graph.output_shape == (32, 32, 6)
    assert graph.layers[-1].kind is step.kind
