"""Costs of whole tables: equal to those of each row's layer graph, whatever the space and the config."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidConfigError, InvalidInputError, UnknownOperationError
from leti_opt.network import table_cost as module
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.gpu_rules import RULES
from leti_opt.network.gpu_support import gpu_support
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.operations import (
    Operation,
    average_pool,
    batch_norm,
    conv,
    depthwise_conv,
    max_pool,
    relu,
)
from leti_opt.network.operator_plan import plan_operators
from leti_opt.network.table_cost import TableCost, check_fits, planned
from leti_opt.network.table_gpu_support import gpu_support_mask
from leti_opt.network.table_liveness import OperatorColumns
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201
from leti_opt.search_space.enumeration import enumerate_architectures
from tests.reference.strategies import cells

OWN = (
    Operation("separable", (depthwise_conv(3, use_bias=True), conv(1), batch_norm(), relu())),
    Operation("biased", (conv(3, use_bias=True), relu())),
    Operation("pool-first", (max_pool(2), relu(), batch_norm(), relu())),
    Operation("norms", (conv(1), batch_norm(), batch_norm(), relu(), relu())),
    Operation("depthwise", (depthwise_conv(5), batch_norm())),
    Operation("averages", (average_pool(2), average_pool(2))),
    Operation("nothing"),
)
LABELS = (
    *NAS_BENCH_101_LABELS,
    "skip_connect",
    "nor_conv_1x1",
    "avg_pool_3x3",
    "bn-relu",
    *(operation.label for operation in OWN),
)
CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
TRUNCATING = f"0-1,0-2,0-4,1-2,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}"
FOUR_IN_ONE = f"0-1,0-2,0-3,0-4,1-4,2-4,3-4,4-5:{CONV3},{CONV1},{POOL},{CONV3}"


def table_of(*texts: str) -> ArchitectureTable:
    return ArchitectureTable.from_architectures([Architecture.parse(text) for text in texts])


def native(*names: str) -> ArchitectureTable:
    return ArchitectureTable.from_architectures([NAS_BENCH_201.lower(names)])


def rows_of(cost: TableCost) -> list[tuple[int, int, int]]:
    columns = (cost.flops, cost.parameters, cost.peak_memory_bytes)
    assert all(column.dtype == np.int64 for column in columns)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def slowly(table: ArchitectureTable, config: NetworkConfig) -> list[tuple[int, int, int]]:
    costs = [network_cost(build_layer_graph(cell, config)) for cell in table]
    return [(cost.flops, cost.parameters, cost.peak_memory_bytes) for cost in costs]


def assert_equal_to_the_slow_way(table: ArchitectureTable, config: NetworkConfig) -> None:
    assert rows_of(network_cost(table, config)) == slowly(table, config)


@st.composite
def configs(draw: st.DrawFn) -> NetworkConfig:
    """Configs of all kinds; those that contradict themselves are left out, those that fit no cell are not."""
    own_roles = st.sampled_from([operation.label for operation in OWN])
    settings: dict[str, Any] = {
        "scope": draw(st.sampled_from(["cell", "stacked", "stacked"])),
        "input_shape": (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 6))),
        "batch_size": draw(st.integers(1, 3)),
        "classes": draw(st.integers(1, 50)),
        "filters": draw(st.integers(3, 20)),
        "stacks": draw(st.integers(1, 3)),
        "cells_per_stack": draw(st.integers(1, 3)),
        "stem": draw(st.sampled_from(["conv3x3-bn-relu", "conv3x3-bn", "nor_conv_3x3"]) | own_roles),
        "head": draw(st.sampled_from([None, "bn-relu", "maxpool3x3", "conv1x1-bn-relu"]) | own_roles),
        "cell_output": draw(st.sampled_from(["concatenate", "sum"])),
        "projection": draw(st.sampled_from(["conv1x1-bn-relu", None, "nor_conv_1x1", "skip_connect"]) | own_roles),
        "reduction": draw(st.sampled_from(["max_pool", "residual"])),
        "chained_adds": draw(st.booleans()),
        "precision": draw(st.sampled_from(["float32", "float16", "dynamic", "int8"])),
        "operations": OWN,
    }
    if draw(st.booleans()):
        settings["filters"] = settings["input_shape"][2]
    try:
        return NetworkConfig(**settings)
    except InvalidConfigError:
        assume(False)
        raise


@st.composite
def tables(draw: st.DrawFn) -> ArchitectureTable:
    """A few cells with few operations, so that layers repeat."""
    chosen = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4, unique=True))
    labels = (*chosen, *(label for label in LABELS if label not in chosen))
    drawn = draw(st.lists(cells(labels=tuple(chosen), max_vertices=8), min_size=1, max_size=5))
    named = [Architecture(cell.adjacency, cell.operations, labels) for cell in drawn]
    return ArchitectureTable.from_architectures(named)


@given(tables(), configs())
@settings(deadline=None, max_examples=300)
def test_every_row_costs_what_its_layer_graph_does(table: ArchitectureTable, config: NetworkConfig) -> None:
    try:
        expected = slowly(table, config)
    except InvalidConfigError as error:
        event("refused")
        with pytest.raises(type(error), match="row "):
            network_cost(table, config)
    else:
        assert rows_of(network_cost(table, config)) == expected


def labelled(*texts: str) -> ArchitectureTable:
    return table_of(*(f"{text}:{','.join(LABELS)}" for text in texts))


def plain_cell(**changes: Any) -> NetworkConfig:
    """A cell that reads the network's input itself."""
    settings = {"scope": "cell", "filters": 6, "input_shape": (5, 4, 6), "cell_output": "sum", "projection": None}
    return NetworkConfig(**{**settings, "reduction": "residual", "operations": OWN, **changes})


EQUAL_SUMS = (
    f"0-1,0-3,0-4,1-2,1-5,3-5,4-5,2-6,3-6,4-6,5-7,6-7:{CONV3},skip_connect,{CONV1},{CONV3},{POOL},bn-relu",
    f"{','.join(f'{x}-{y}' for y in range(1, 8) for x in range(y))}:{','.join([CONV3] * 6)}",
)
"""Two sums of the first cell are equal once a skip is seen through; the second cell leaves no column of terms empty."""


@pytest.mark.parametrize(
    ("table", "config"),
    [
        (labelled(*EQUAL_SUMS), plain_cell(chained_adds=False)),
        (labelled(*EQUAL_SUMS), plain_cell()),
        (labelled("0-1,1-2:bn-relu", "0-1,0-2,1-2:bn-relu", "0-1,1-2:norms", "0-1,1-2:pool-first"), plain_cell()),
        (labelled("0-1,0-2,0-3,1-4,2-4,3-4,4-5:bn-relu,averages,biased,nor_conv_1x1"), plain_cell(chained_adds=False)),
        (labelled("0-1,0-2,0-3,1-4,2-4,3-4,4-5:bn-relu,averages,biased,nor_conv_1x1"), plain_cell()),
        (labelled("0-1,0-2,1-3,2-3:nor_conv_1x1,nor_conv_1x1"), plain_cell(projection="conv1x1-bn-relu")),
        (labelled("0-1,0-2,1-2:skip_connect", "0-1,1-2:nothing"), plain_cell(scope="stacked", head="bn-relu")),
        (native(*("nor_conv_3x3",) * 6), NetworkConfig.nasbench201(filters=4, chained_adds=False)),
        (table_of(TRUNCATING), NetworkConfig.small(filters=13, input_shape=(7, 6, 3))),
        (table_of("0-1:"), NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 3))),
        (table_of("0-1:", "0-1:"), NetworkConfig()),
        (table_of(FOUR_IN_ONE), NetworkConfig.small(filters=7, batch_size=2)),
        (table_of(FOUR_IN_ONE, TRUNCATING), NetworkConfig.small(filters=7, chained_adds=False)),
        (table_of(FOUR_IN_ONE, TRUNCATING), NetworkConfig.small(filters=7, chained_adds=False, precision="int8")),
        (native(*("nor_conv_3x3",) * 6), NetworkConfig.nasbench201(filters=4)),
        (native(*("skip_connect",) * 6), NetworkConfig.nasbench201(filters=4)),
        (native(*("skip_connect",) * 6), NetworkConfig.nasbench201(filters=4, chained_adds=False, precision="int8")),
        (native(*("none",) * 3, "skip_connect", "none", "none"), NetworkConfig.nasbench201(filters=4)),
        (native(*("none",) * 3, "skip_connect", "none", "none"), NetworkConfig.nasbench201(scope="cell", head=None)),
        (
            native("avg_pool_3x3", "skip_connect", "none", "none", "avg_pool_3x3", "nor_conv_1x1"),
            NetworkConfig.nasbench201(filters=4, stacks=2, cells_per_stack=1, input_shape=(7, 6, 3)),
        ),
    ],
)
def test_corners_cost_what_their_layer_graphs_do(table: ArchitectureTable, config: NetworkConfig) -> None:
    assert_equal_to_the_slow_way(table, config)
    assert_same_operators(table, config)


def sample(table: ArchitectureTable, size: int, seed: int = 0) -> ArchitectureTable:
    return table[np.sort(np.random.default_rng(seed).choice(len(table), size, replace=False))]


def sizes_in_order(operators: OperatorColumns) -> list[list[int]]:
    """For each row the elements of what its operators write; a batch norm by itself writes twice."""
    layers = operators.layers
    found: list[list[int]] = [[] for _ in range(layers.rows)]
    for slot, leads in zip(layers.slots[1:], operators.leads[1:], strict=True):
        sizes, codes = (np.broadcast_to(values, layers.rows) for values in (slot.size, slot.codes))
        for row in np.flatnonzero(leads):
            alone = layers.kinds[codes[row]].kind is LayerKind.BATCH_NORM
            found[row] += [int(sizes[row])] * (2 if alone else 1)
    return found


def assert_same_operators(table: ArchitectureTable, config: NetworkConfig) -> None:
    for group in table.by_vertices():
        (operators,) = planned(group, table.labels, config)
        for row, sizes in zip(group.rows.tolist(), sizes_in_order(operators), strict=True):
            plan = plan_operators(build_layer_graph(table[row], config))
            assert sizes == [prod(plan.shapes[operator.output]) for operator in plan.operators]


@given(tables(), configs())
@settings(deadline=None, max_examples=100)
def test_every_row_has_the_operators_of_its_plan_in_their_order(
    table: ArchitectureTable, config: NetworkConfig
) -> None:
    try:
        check_fits(table, config)
    except InvalidConfigError:
        assume(False)
    assert_same_operators(table, config)


@pytest.fixture(scope="module")
def nasbench101() -> ArchitectureTable:
    return enumerate_architectures(NAS_BENCH_101, cache=False)


def test_a_sample_of_nasbench101_costs_what_its_layer_graphs_do(nasbench101: ArchitectureTable) -> None:
    assert_equal_to_the_slow_way(sample(nasbench101, 200), NetworkConfig())


def test_a_sample_of_nasbench201_costs_what_its_layer_graphs_do() -> None:
    assert_equal_to_the_slow_way(
        sample(enumerate_architectures(NAS_BENCH_201, cache=False), 100), NetworkConfig.nasbench201()
    )


@pytest.mark.slow
@pytest.mark.parametrize("config", [NetworkConfig(), NetworkConfig(filters=37, chained_adds=False, precision="int8")])
def test_a_large_sample_of_nasbench101_costs_what_its_layer_graphs_do(
    nasbench101: ArchitectureTable, config: NetworkConfig
) -> None:
    assert_equal_to_the_slow_way(sample(nasbench101, 3000, seed=1), config)


def test_a_row_costs_the_same_in_the_whole_table(nasbench101: ArchitectureTable) -> None:
    whole = nasbench101
    rows = np.sort(np.random.default_rng(3).choice(len(whole), 500, replace=False))
    assert rows_of(network_cost(whole, NetworkConfig())[rows]) == rows_of(network_cost(whole[rows], NetworkConfig()))


def test_the_result_does_not_depend_on_how_much_is_done_at_a_time(
    nasbench101: ArchitectureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sample(nasbench101, 400)[::-1]
    at_once = rows_of(network_cost(table, NetworkConfig.small()))
    monkeypatch.setattr(module, "_EDGES", 49 * 150)
    monkeypatch.setattr(module, "_VALUES", 1)
    assert rows_of(network_cost(table, NetworkConfig.small())) == at_once


@pytest.mark.parametrize("vertices", [9, 10, 13])
def test_cells_too_large_for_one_word_of_bits_are_costed_too(vertices: int) -> None:
    inner = vertices - 2
    generator = np.random.default_rng(vertices)
    drawn = []
    for _ in range(4):
        edges = np.triu(generator.random((vertices, vertices)) < 0.35, 1)
        edges[np.arange(vertices - 1), np.arange(1, vertices)] = True
        drawn.append(Architecture(edges, ["input", *generator.choice(NAS_BENCH_101_LABELS, inner), "output"]))
    assert_equal_to_the_slow_way(ArchitectureTable.from_architectures(drawn), NetworkConfig.small(filters=19))


def test_an_empty_table_has_no_costs() -> None:
    cost = network_cost(table_of("0-1:")[:0], NetworkConfig())
    assert len(cost) == 0
    assert rows_of(cost) == []


def test_costs_of_chosen_rows_are_those_rows() -> None:
    cost = network_cost(table_of("0-1:", TRUNCATING, FOUR_IN_ONE), NetworkConfig.small())
    rows = rows_of(cost)
    assert len(set(rows)) == 3
    assert rows_of(cost[1:]) == rows[1:]
    assert rows_of(cost[np.array([True, False, True])]) == [rows[0], rows[2]]


def test_a_table_needs_a_config() -> None:
    with pytest.raises(InvalidInputError, match="needs a NetworkConfig"):
        network_cost(table_of("0-1:"))


@pytest.mark.parametrize(
    ("config", "row", "kind", "words"),
    [
        ({"filters": 2}, 1, InvalidConfigError, "2 filters cannot be shared among the 3 vertices"),
        ({"stem": "maxpool3x3", "filters": 8}, 0, InvalidConfigError, "no convolution to turn 3 channels into 8"),
        ({"projection": "maxpool3x3", "filters": 8}, 0, InvalidConfigError, "no convolution to turn 8 channels"),
        ({"projection": "maxpool3x3", "filters": 8, "stacks": 1}, 1, InvalidConfigError, "no convolution to turn 8"),
    ],
)
def test_the_first_row_that_does_not_fit_is_named(
    config: dict[str, Any], row: int, kind: type[Exception], words: str
) -> None:
    table = table_of(f"0-1,1-2:{CONV3}", TRUNCATING, TRUNCATING)
    with pytest.raises(kind, match=words) as refused:
        network_cost(table, NetworkConfig.small(**config))
    assert str(refused.value).startswith(f"row {row}, {table[row]}: ")


def test_an_operation_that_the_config_does_not_know_is_named_with_its_row() -> None:
    labels = (CONV3, "maxpool5x5")
    drawn = [Architecture.parse(f"{text}:{','.join(labels)}") for text in (f"0-1,1-2:{CONV3}", "0-1,1-2:maxpool5x5")]
    table = ArchitectureTable.from_architectures(drawn)
    with pytest.raises(UnknownOperationError, match=r"row 1, .*'maxpool5x5'; did you mean 'maxpool3x3'"):
        network_cost(table, NetworkConfig())
    assert len(network_cost(table[:1], NetworkConfig())) == 1


def test_costs_that_64_bits_do_not_hold_are_refused() -> None:
    with pytest.raises(InvalidConfigError, match="64 bits do not hold"):
        network_cost(table_of("0-1:"), NetworkConfig(stacks=30))


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig.small(filters=13),
        NetworkConfig.small(filters=12, chained_adds=False, input_shape=(8, 8, 3)),
        NetworkConfig.small(filters=12, precision="int8"),
    ],
)
def test_forecasts_of_a_table_are_those_of_its_rows(
    nasbench101: ArchitectureTable, config: NetworkConfig, rules: str
) -> None:
    table = sample(nasbench101, 60, seed=5)
    mask = gpu_support_mask(table, config, rules)
    assert mask.tolist() == [gpu_support(build_layer_graph(cell, config), rules).supported for cell in table]


def test_the_two_rule_sets_part_on_slices_of_nasbench101(nasbench101: ArchitectureTable) -> None:
    table = sample(nasbench101, 60, seed=5)
    old, new = (gpu_support_mask(table, NetworkConfig.small(filters=13), rules) for rules in RULES)
    assert 0 < old.sum() < new.sum() == len(table)


@given(tables(), configs())
@settings(deadline=None, max_examples=60)
def test_forecasts_of_any_table_are_those_of_its_rows(table: ArchitectureTable, config: NetworkConfig) -> None:
    try:
        graphs = [build_layer_graph(cell, config) for cell in table]
    except InvalidConfigError:
        assume(False)
    for rules in RULES:
        expected = [gpu_support(graph, rules).supported for graph in graphs]
        assert gpu_support_mask(table, config, rules).tolist() == expected


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'paper-2020'"):
        gpu_support_mask(table_of("0-1:"), NetworkConfig(), "paper-2021")
