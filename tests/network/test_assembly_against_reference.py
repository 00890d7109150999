"""Layer graphs and their costs against slow, independent listings of the two benchmarks' networks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import DisconnectedArchitectureError, InvalidConfigError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.search_space.definition import NAS_BENCH_201
from tests.reference import nasbench101_network, nasbench201_network
from tests.reference.canonical import canonical_cell
from tests.reference.graph_hash import prune
from tests.reference.nasbench201_classes import is_connected
from tests.reference.network_listing import Listing, Row, computation
from tests.reference.strategies import cells, label_indices, relabeled

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
COUNTED = ("slice_channels", "add", "concatenate")
FILTERS = st.sampled_from([5, 6, 7, 8, 11, 13, 16])
SIDES = st.sampled_from([1, 3, 4, 7, 8])


def rows_of_graph(graph: LayerGraph) -> list[tuple[Row, tuple[int, ...]]]:
    return [((layer.kind.value, layer.kernel_size, layer.stride, layer.shape), layer.inputs) for layer in graph.layers]


def rows_of_listing(listing: Listing) -> list[tuple[Row, tuple[int, ...]]]:
    return [((layer.kind, layer.kernel, layer.stride, layer.output_shape), layer.inputs) for layer in listing.layers]


def assert_agree(graph: LayerGraph, expected: Listing) -> None:
    rows = rows_of_graph(graph)
    assert Counter(row for row, _ in rows) == expected.rows()
    assert {kind: sum(row[0] == kind for row, _ in rows) for kind in COUNTED} == {
        kind: expected.count(kind) for kind in COUNTED
    }
    cost = network_cost(graph)
    assert (cost.parameters, cost.flops) == (expected.parameters, expected.flops * graph.batch_size)
    assert computation(rows) == computation(rows_of_listing(expected))
    if expected.chained_adds:
        assert all(len(inputs) == 2 for row, inputs in rows if row[0] == "add")


def expected_nasbench101(cell: Architecture, config: NetworkConfig) -> Listing:
    matrix, labels = canonical_cell(*prune(cell.adjacency.tolist(), label_indices(cell)))
    operations = ["input", *(cell.labels[i] for i in labels[1:-1]), "output"]
    shared: dict[str, Any] = {
        "filters": config.filters,
        "input_shape": config.input_shape,
        "chained_adds": config.chained_adds,
    }
    if config.scope == "cell":
        return nasbench101_network.single_cell(matrix, operations, **shared)
    return nasbench101_network.stacked_network(
        matrix,
        operations,
        stacks=config.stacks,
        cells_per_stack=config.cells_per_stack,
        classes=config.classes,
        **shared,
    )


def expected_nasbench201(operations: tuple[str, ...], config: NetworkConfig) -> Listing:
    if config.scope == "cell":
        return nasbench201_network.single_cell(
            operations, input_shape=config.input_shape, chained_adds=config.chained_adds
        )
    return nasbench201_network.stacked_network(
        operations,
        filters=config.filters,
        stacks=config.stacks,
        cells_per_stack=config.cells_per_stack,
        classes=config.classes,
        input_shape=config.input_shape,
        chained_adds=config.chained_adds,
    )


@st.composite
def stacked_settings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "filters": draw(FILTERS),
        "stacks": draw(st.integers(1, 3)),
        "cells_per_stack": draw(st.integers(1, 2)),
        "classes": draw(st.sampled_from([1, 10, 100])),
        "batch_size": draw(st.sampled_from([1, 4])),
        "input_shape": (draw(SIDES), draw(SIDES), draw(st.integers(1, 4))),
        "chained_adds": draw(st.booleans()),
    }


@given(cells(), stacked_settings())
@settings(deadline=None, max_examples=150)
def test_stacked_nasbench101_network_agrees(cell: Architecture, changes: dict[str, Any]) -> None:
    config = NetworkConfig.nasbench101(**changes)
    assert_agree(build_layer_graph(cell, config), expected_nasbench101(cell, config))


@given(cells(), FILTERS, SIDES, SIDES, st.sampled_from([1, 3, 8, 13]), st.booleans())
@settings(deadline=None, max_examples=150)
def test_single_nasbench101_cell_agrees(
    cell: Architecture, filters: int, height: int, width: int, depth: int, chained_adds: bool
) -> None:
    config = NetworkConfig.nasbench101(
        scope="cell", filters=filters, input_shape=(height, width, depth), chained_adds=chained_adds
    )
    assert_agree(build_layer_graph(cell, config), expected_nasbench101(cell, config))


@pytest.mark.parametrize("chained_adds", [True, False])
def test_published_nasbench101_network_agrees(chained_adds: bool) -> None:
    cell = Architecture.parse(f"0-1,0-4,0-5,1-2,2-3,2-6,3-5,4-5,5-6:{CONV3},{POOL},{CONV3},{CONV3},{CONV1}")
    config = NetworkConfig.nasbench101(chained_adds=chained_adds)
    graph = build_layer_graph(cell, config)
    assert network_cost(graph).parameters == 8_555_530
    assert_agree(graph, expected_nasbench101(cell, config))


def test_network_is_that_of_the_canonical_cell() -> None:
    # Pruning takes vertex 2 away; in the order as given, the 13 channels would be shared as 7 (max pool) and 6.
    cell = Architecture.parse(f"0-1,0-2,0-3,1-4,3-4:{POOL},{CONV1},{CONV3}")
    config = NetworkConfig.nasbench101(scope="cell", filters=13, input_shape=(4, 4, 3))
    graph = build_layer_graph(cell, config)
    assert_agree(graph, expected_nasbench101(cell, config))
    assert ("conv", 3, 1, (4, 4, 7)) in [row for row, _ in rows_of_graph(graph)]
    assert graph.digest == build_layer_graph(cell.canonical(), config).digest


def test_remainder_is_cut_off_where_a_wider_vertex_feeds_a_narrower_one() -> None:
    cell = Architecture.parse(f"0-1,0-2,1-3,1-4,2-3,2-4,3-4:{CONV3},{CONV1},{POOL}")
    config = NetworkConfig.nasbench101(scope="cell", filters=13, input_shape=(4, 4, 3))
    graph = build_layer_graph(cell, config)
    expected = expected_nasbench101(cell, config)
    assert expected.count("slice_channels") > 0
    assert_agree(graph, expected)


@pytest.mark.parametrize("filters", [1, 2, 3])
def test_too_few_filters_for_the_vertices_that_share_them_are_refused(filters: int) -> None:
    cell = Architecture.parse(f"0-1,0-2,0-3,0-4,1-5,2-5,3-5,4-5:{CONV3},{CONV1},{POOL},{POOL}")
    for scope in ("cell", "stacked"):
        with pytest.raises(InvalidConfigError, match=f"{filters}"):
            build_layer_graph(cell, NetworkConfig.nasbench101(scope=scope, filters=filters))
    build_layer_graph(cell, NetworkConfig.nasbench101(filters=4))


def native_cells() -> st.SearchStrategy[tuple[str, ...]]:
    operation = st.sampled_from(NAS_BENCH_201.operations)
    return st.tuples(*[operation] * 6).filter(is_connected)


@given(native_cells(), stacked_settings(), st.booleans())
@settings(deadline=None, max_examples=150)
def test_stacked_nasbench201_network_agrees(
    operations: tuple[str, ...], changes: dict[str, Any], canonical: bool
) -> None:
    config = NetworkConfig.nasbench201(**changes)
    cell = NAS_BENCH_201.lower(operations)
    graph = build_layer_graph(cell.canonical() if canonical else cell, config)
    assert_agree(graph, expected_nasbench201(operations, config))


@given(native_cells(), FILTERS, SIDES, st.booleans())
@settings(deadline=None, max_examples=100)
def test_single_nasbench201_cell_agrees(
    operations: tuple[str, ...], filters: int, side: int, chained_adds: bool
) -> None:
    config = NetworkConfig.nasbench201(
        scope="cell", filters=filters, input_shape=(side, side, filters), chained_adds=chained_adds
    )
    graph = build_layer_graph(NAS_BENCH_201.lower(operations), config)
    assert_agree(graph, expected_nasbench201(operations, config))


FIVE_NODES = replace(NAS_BENCH_201, name="five", max_vertices=5)


@given(st.lists(st.sampled_from(NAS_BENCH_201.operations), min_size=10, max_size=10).map(tuple), st.booleans())
@example(("nor_conv_1x1",) * 10, True)
@example(("nor_conv_1x1",) * 10, False)
@settings(deadline=None, max_examples=80)
def test_network_of_a_cell_with_five_nodes_sums_each_node_once(operations: tuple[str, ...], chained_adds: bool) -> None:
    config = NetworkConfig.nasbench201(filters=8, cells_per_stack=1, stacks=2, chained_adds=chained_adds)
    try:
        cell = FIVE_NODES.lower(operations)
    except DisconnectedArchitectureError:
        return
    assert_agree(build_layer_graph(cell, config), expected_nasbench201(operations, config))


def test_published_nasbench201_network_agrees() -> None:
    operations = ("nor_conv_3x3",) * 6
    graph = build_layer_graph(NAS_BENCH_201.lower(operations), NetworkConfig.nasbench201())
    cost = network_cost(graph)
    assert (cost.parameters, cost.flops) == (1_531_546, 2 * 220_119_680)
    assert_agree(graph, expected_nasbench201(operations, NetworkConfig.nasbench201()))


@given(st.data(), FILTERS)
@settings(deadline=None, max_examples=60)
def test_equal_cells_become_equal_networks(data: st.DataObject, filters: int) -> None:
    cell = data.draw(cells(min_vertices=3))
    other = data.draw(relabeled(cell))
    config = NetworkConfig.small(filters=filters)
    assert build_layer_graph(cell, config).digest == build_layer_graph(other, config).digest
