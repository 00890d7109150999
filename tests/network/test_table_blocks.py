"""What many networks consist of, against each network planned by itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import (
    NAS_BENCH_101,
    NAS_BENCH_201,
    Architecture,
    NetworkConfig,
    build_layer_graph,
    enumerate_architectures,
)
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidConfigError, UnknownOperationError
from leti_opt.network.layer_graph import LayerGraph, LayerKind
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu
from leti_opt.network.operator_plan import plan_operators
from leti_opt.network.table_blocks import BlockCounts, NetworkBlock, count_layers, count_operators, image_after

OWN = (
    Operation("separable", (depthwise_conv(5), conv(1, use_bias=True), batch_norm(), relu())),
    Operation("norm", (batch_norm(), relu())),
    Operation("activation", (relu(),)),
)
LABELS = ("separable", "norm", "activation", "maxpool3x3", "conv3x3-bn-relu")
NETWORKS = (
    NetworkConfig.small(filters=12, operations=OWN),
    NetworkConfig.small(filters=12, operations=OWN, chained_adds=False),
    NetworkConfig.nasbench201(cells_per_stack=2, operations=OWN),
    NetworkConfig(scope="cell", filters=11, input_shape=(9, 7, 5), operations=OWN),
)


@st.composite
def cells(draw: st.DrawFn) -> Architecture:
    """Cells of up to seven vertices over operations that are fused, repeated or left alone."""
    vertices = draw(st.integers(2, 7))
    edges = [(u, v) for v in range(1, vertices) for u in range(v)]
    drawn = draw(st.lists(st.sampled_from(edges), min_size=1, unique=True))
    chain = [(u, u + 1) for u in range(vertices - 1)]
    adjacency = np.zeros((vertices, vertices), dtype=np.int8)
    for edge in [*drawn, *(chain if draw(st.booleans()) else [(0, vertices - 1)])]:
        adjacency[edge] = 1
    names = [draw(st.sampled_from(LABELS)) for _ in range(vertices - 2)]
    return Architecture(adjacency, ["input", *names, "output"], LABELS).pruned()


def planned_blocks(graph: LayerGraph) -> Counter[NetworkBlock]:
    """The operators of one network, told as blocks; a batch norm on its own counts once, by its multiplication."""
    from leti_opt.network.table_layers import StepKind

    plan = plan_operators(graph)
    found: Counter[NetworkBlock] = Counter()
    relus = {operator.output: operator.relu for operator in plan.operators}
    for place, operator in enumerate(plan.operators):
        layer = graph.layers[operator.layer]
        if layer.kind is LayerKind.BATCH_NORM and operator.name == "ADD":
            continue
        last = plan.operators[place + 1] if operator.name == "MUL" else operator
        step = StepKind(layer.kind, layer.kernel_size, layer.stride, layer.use_bias)
        shapes = [plan.shapes[tensor] for tensor in operator.inputs]
        found[
            NetworkBlock(
                step,
                bool(operator.batch_norms),
                relus[last.output],
                tuple(shapes[0][:-1]),
                tuple(shape[-1] for shape in shapes),
                tuple(operator.inputs.index(tensor) for tensor in operator.inputs),
                plan.shapes[last.output][-1],
            )
        ] += 1
    return found


def row(found: BlockCounts, place: int) -> Counter[NetworkBlock]:
    numbers = found.counts[place].tolist()
    return Counter({block: number for block, number in zip(found.blocks, numbers, strict=True) if number})


@settings(max_examples=60, deadline=None)
@given(st.lists(cells(), min_size=1, max_size=6), st.sampled_from(NETWORKS))
def test_operators_are_those_of_each_network_planned_by_itself(
    drawn: list[Architecture], config: NetworkConfig
) -> None:
    table = ArchitectureTable.from_architectures(drawn, LABELS)
    found = count_operators(table, config)
    for place, cell in enumerate(table):
        graph = build_layer_graph(cell, config)
        assert row(found, place) == planned_blocks(graph)
        plan = plan_operators(graph)
        assert found.input_reads[place] == sum(plan.inputs[0] in operator.inputs for operator in plan.operators)


@settings(max_examples=40, deadline=None)
@given(st.lists(cells(), min_size=1, max_size=6), st.sampled_from(NETWORKS))
def test_layers_are_those_of_each_network_repeats_included(drawn: list[Architecture], config: NetworkConfig) -> None:
    table = ArchitectureTable.from_architectures(drawn, LABELS)
    found = count_layers(table, config)
    for place, cell in enumerate(table):
        graph = build_layer_graph(cell, config)
        expected = Counter(
            (
                (layer.kind, layer.kernel_size, layer.stride, layer.use_bias),
                tuple(graph.input_shapes(layer)),
                tuple(layer.inputs.index(source) for source in layer.inputs),
                layer.shape,
            )
            for layer in graph.layers[1:]
        )
        told: Counter[object] = Counter()
        for block, number in row(found, place).items():
            step = block.step
            reads = tuple((*block.image, channels) for channels in block.reads)
            shape = (*image_after(step, block.image), block.channels)
            settings_of_step = step.kind, step.kernel_size, step.stride, step.use_bias
            told[settings_of_step, reads, block.same, shape] += number
        assert told == expected


@pytest.mark.parametrize(
    ("space", "config"),
    [(NAS_BENCH_101, NetworkConfig()), (NAS_BENCH_201, NetworkConfig.nasbench201())],
    ids=["nasbench101", "nasbench201"],
)
def test_the_full_networks_of_both_spaces_are_counted_right(space: object, config: NetworkConfig) -> None:
    table = enumerate_architectures(space)  # type: ignore[arg-type]
    few = table[np.random.default_rng(3).choice(len(table), 25, replace=False)]
    found = count_operators(few, config)
    for place, cell in enumerate(few):
        assert row(found, place) == planned_blocks(build_layer_graph(cell, config))


@settings(max_examples=30, deadline=None)
@given(cells(), st.sampled_from(NETWORKS))
def test_a_block_alone_is_the_same_block(cell: Architecture, config: NetworkConfig) -> None:
    found = count_operators(ArchitectureTable.from_architectures([cell], LABELS), config)
    for block in found.blocks:
        assert block in planned_blocks(block.alone(config))


def test_cells_that_do_not_fit_are_refused() -> None:
    many = Architecture.parse("0-1,0-2,0-3,1-4,2-4,3-4:maxpool3x3,maxpool3x3,maxpool3x3")
    with pytest.raises(InvalidConfigError, match="row 0"):
        count_operators(ArchitectureTable.from_architectures([many]), NetworkConfig(scope="cell", filters=2))
    with pytest.raises(UnknownOperationError, match="no layers for operation 'a'"):
        count_layers(ArchitectureTable.from_architectures([Architecture.parse("0-1,1-2:a:a")]), NetworkConfig.small())
