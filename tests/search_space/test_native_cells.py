"""Cells with operations on edges: their native forms, and the lowered cells that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.errors import DisconnectedArchitectureError, InvalidArchitectureError, InvalidDefinitionError
from leti_opt.search_space import definition
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from tests.reference.nasbench201_classes import class_string, is_connected
from tests.search_space.operations import ALWAYS_ON, AVERAGE, EDGE_CONV1, EDGE_CONV3, NONE, POOL, SKIP

# Three nodes, so three edges: 0-1, 0-2, 1-2.
THREE_NODES = SpaceDefinition("three", ("off", "a+b", "c"), max_vertices=3, operation_on="edge", absent="off")
FIVE_NODES = SpaceDefinition("five", ("off", "a", "b"), max_vertices=5, operation_on="edge", absent="off")


def native_text(operations: tuple[str, ...]) -> str:
    """As NAS-Bench-201 writes it, spelled out."""
    a, b, c, d, e, f = operations
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


@pytest.fixture(scope="module")
def every_native() -> list[tuple[str, ...]]:
    """All 15,625 choices of six operations."""
    return list(product(NAS_BENCH_201.operations, repeat=6))


@pytest.fixture(scope="module")
def connected(every_native: list[tuple[str, ...]]) -> dict[tuple[str, ...], Architecture]:
    """Every cell that can be lowered, by its operations, read from its native string."""
    return {
        operations: NAS_BENCH_201.parse_native(native_text(operations))
        for operations in every_native
        if is_connected(operations)
    }


def test_nasbench201_has_15284_connected_cells_whose_native_string_round_trips(
    connected: dict[tuple[str, ...], Architecture],
) -> None:
    assert len(connected) == 15_284
    for operations, cell in connected.items():
        assert NAS_BENCH_201.format_native(cell) == native_text(operations)


def test_nasbench201_refuses_its_341_disconnected_cells_by_name(every_native: list[tuple[str, ...]]) -> None:
    disconnected = [operations for operations in every_native if not is_connected(operations)]
    assert len(disconnected) == 341
    for operations in disconnected:
        text = native_text(operations)
        with pytest.raises(DisconnectedArchitectureError) as caught:
            NAS_BENCH_201.parse_native(text)
        assert text in str(caught.value)


def test_nasbench201_has_6466_classes_by_its_own_string_rule(every_native: list[tuple[str, ...]]) -> None:
    strings = {operations: class_string(operations) for operations in every_native}
    assert len(set(strings.values())) == 6_466
    # That counts the disconnected cells too. They have five strings of their own, since "#+#" is not "#".
    without_path = {text for operations, text in strings.items() if not is_connected(operations)}
    with_path = {text for operations, text in strings.items() if is_connected(operations)}
    assert (len(without_path), len(with_path)) == (5, 6_461)


def test_nasbench201_has_8764_distinct_pruned_cells(connected: dict[tuple[str, ...], Architecture]) -> None:
    assert len(set(connected.values())) == 8_764


def test_classes_and_pruned_cells_of_nasbench201_are_different_groupings() -> None:
    # A node that nothing enters is "#+#", which the string rule does not take for nothing.
    bare = (NONE, NONE, NONE, SKIP, NONE, NONE)
    beside_nothing = (NONE, NONE, NONE, SKIP, NONE, EDGE_CONV3)
    assert NAS_BENCH_201.lower(bare) == NAS_BENCH_201.lower(beside_nothing)
    assert class_string(bare) != class_string(beside_nothing)
    # A skip before or after an operation makes the same string, but another cell.
    skip_first = (SKIP, NONE, NONE, NONE, EDGE_CONV3, NONE)
    skip_last = (EDGE_CONV3, NONE, NONE, NONE, SKIP, NONE)
    assert class_string(skip_first) == class_string(skip_last)
    assert NAS_BENCH_201.lower(skip_first) != NAS_BENCH_201.lower(skip_last)


def test_nasbench201_index_round_trips(connected: dict[tuple[str, ...], Architecture]) -> None:
    seen = set()
    for operations, cell in list(connected.items())[::7]:
        index = NAS_BENCH_201.native_index(cell)
        assert NAS_BENCH_201.native_operations(NAS_BENCH_201.from_native_index(index)) == operations
        seen.add(index)
    assert len(seen) == len(list(connected)[::7])
    assert seen <= set(range(5**6))


def test_nasbench201_index_has_a_digit_for_each_edge() -> None:
    cell = NAS_BENCH_201.lower((EDGE_CONV3, NONE, SKIP, EDGE_CONV1, AVERAGE, NONE))
    assert NAS_BENCH_201.native_index(cell) == 3 + 0 * 5 + 1 * 25 + 2 * 125 + 4 * 625 + 0 * 3125


def test_pruned_cell_is_given_a_native_form_that_prunes_back_to_it(
    connected: dict[tuple[str, ...], Architecture],
) -> None:
    for canonical in list({cell.canonical() for cell in connected.values()})[::20]:
        assert canonical in NAS_BENCH_201
        assert NAS_BENCH_201.lower(NAS_BENCH_201.native_operations(canonical)) == canonical


def test_every_lowered_cell_is_in_its_space(connected: dict[tuple[str, ...], Architecture]) -> None:
    assert all(cell in NAS_BENCH_201 for cell in list(connected.values())[::11])


def paths(definition: SpaceDefinition, operations: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The operations along every path from the first node to the last, from the native form."""
    carried = {edge: name for edge, name in zip(definition.edges, operations, strict=True) if name != definition.absent}

    def onward(node: int) -> Iterator[tuple[str, ...]]:
        if node == definition.max_vertices - 1:
            yield ()
        for (source, target), name in carried.items():
            if source == node:
                yield from ((name, *rest) for rest in onward(target))

    return sorted(onward(0))


def paths_of_cell(cell: Architecture) -> list[tuple[str, ...]]:
    """The same from a cell with operations on vertices."""

    def onward(vertex: int) -> Iterator[tuple[str, ...]]:
        if vertex == len(cell) - 1:
            yield ()
        for source, target in cell.edges:
            if source == vertex:
                name = () if target == len(cell) - 1 else (cell.operations[target],)
                yield from ((*name, *rest) for rest in onward(target))

    return sorted(onward(0))


EDGE_SPACES = [NAS_BENCH_201, THREE_NODES, ALWAYS_ON, FIVE_NODES]


@given(st.data())
@settings(deadline=None)
def test_lowering_keeps_every_path(data: st.DataObject) -> None:
    space = data.draw(st.sampled_from(EDGE_SPACES))
    operations = tuple(data.draw(st.sampled_from(space.operations)) for _ in space.edges)
    expected = paths(space, operations)
    if not expected:
        with pytest.raises(DisconnectedArchitectureError):
            space.lower(operations)
        return
    cell = space.lower(operations)
    assert paths_of_cell(cell) == paths_of_cell(cell.canonical()) == expected


@given(st.data())
@settings(deadline=None)
def test_native_forms_round_trip_in_every_edge_space(data: st.DataObject) -> None:
    space = data.draw(st.sampled_from(EDGE_SPACES))
    operations = tuple(data.draw(st.sampled_from(space.operations)) for _ in space.edges)
    if not paths(space, operations):
        return
    cell = space.lower(operations)
    assert space.native_operations(cell) == operations
    assert space.native_operations(space.parse_native(space.format_native(cell))) == operations
    assert space.native_operations(space.from_native_index(space.native_index(cell))) == operations
    assert space.lower(space.native_operations(cell.canonical())) == cell
    assert cell in space
    assert cell.canonical() in space


def test_own_space_of_three_nodes_counted_by_hand() -> None:
    # Connected: edge 0-2 carries something (2 x 9), or it doesn't and 0-1 and 1-2 do (4).
    every = product(THREE_NODES.operations, repeat=3)
    cells_by_operations = {names: THREE_NODES.lower(names) for names in every if paths(THREE_NODES, names)}
    assert len(cells_by_operations) == 22
    # Pruned: 0-2 alone (2), the chain alone (4), both (8).
    assert len(set(cells_by_operations.values())) == 14


def test_chain_of_two_edges_beside_one_edge() -> None:
    cell = THREE_NODES.parse_native("|a+b~0|+|c~0|c~1|")
    assert cell.edges == ((0, 1), (0, 2), (1, 3), (2, 4), (3, 4))
    assert cell.operations == ("input", "a+b", "c", "c", "output")
    assert THREE_NODES.format_native(cell) == "|a+b~0|+|c~0|c~1|"


def test_native_form_of_a_large_canonical_cell_is_found_by_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    class CountingNumpy:
        def __getattr__(self, name: str) -> Any:
            if name == "array_equal":
                tries.append(1)
            return getattr(np, name)

    cell = FIVE_NODES.lower(("a", "b") * 5).canonical()
    monkeypatch.setattr(definition, "np", CountingNumpy())
    assert FIVE_NODES.lower(FIVE_NODES.native_operations(cell)) == cell
    assert 10 <= len(tries) < 5_000


def test_cell_that_no_native_cell_prunes_to_is_refused() -> None:
    labels = NAS_BENCH_201.labels
    direct = Architecture([[0, 1], [0, 0]], ["input", "output"], labels)
    triangle = Architecture([[0, 1, 1], [0, 0, 1], [0, 0, 0]], ["input", SKIP, "output"], labels)
    absent_on_a_path = Architecture([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ["input", NONE, "output"], labels)
    four_in_a_row = complete_chain(4, labels)
    for cell in (direct, triangle, absent_on_a_path, four_in_a_row):
        assert cell not in NAS_BENCH_201
        with pytest.raises(InvalidArchitectureError, match="is not a cell of nasbench201"):
            NAS_BENCH_201.native_operations(cell)
    assert complete_chain(3, labels) in NAS_BENCH_201


def test_vertices_on_no_path_do_not_count_against_a_space() -> None:
    # One skip between input and output, and more idle vertices than the native cell has edges.
    cell = Architecture(
        [[int((x, y) in ((0, 1), (1, 9))) for y in range(10)] for x in range(10)],
        ["input", *[SKIP] * 8, "output"],
        NAS_BENCH_201.labels,
    )
    assert cell in NAS_BENCH_201
    assert NAS_BENCH_201.format_native(cell) == native_text((NONE, NONE, NONE, SKIP, NONE, NONE))


def complete_chain(inner: int, labels: tuple[str, ...]) -> Architecture:
    matrix = [[int(y == x + 1) for y in range(inner + 2)] for x in range(inner + 2)]
    return Architecture(matrix, ["input", *[SKIP] * inner, "output"], labels)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|none~0|",
        "none~0+none~0none~1+none~0none~1none~2",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|",
        "|skip_connect~0|+|skip_connect~1|skip_connect~0|+|skip_connect~0|skip_connect~1|skip_connect~2|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~3|",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|x",
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|+|x~0|",
    ],
)
def test_malformed_native_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArchitectureError):
        NAS_BENCH_201.parse_native(text)


def test_unknown_native_operation_is_named_with_its_edge() -> None:
    text = native_text((SKIP, SKIP, "nor_conv_5x5", SKIP, SKIP, SKIP))
    with pytest.raises(
        InvalidArchitectureError, match=r"edge 1 -> 2 has the unknown operation 'nor_conv_5x5'; did you"
    ):
        NAS_BENCH_201.parse_native(text)
    with pytest.raises(InvalidArchitectureError, match=r"2 operations for the 6 edges of nasbench201"):
        NAS_BENCH_201.lower((SKIP, SKIP))


@pytest.mark.parametrize("index", [-1, 5**6])
def test_native_index_outside_the_space_is_refused(index: int) -> None:
    with pytest.raises(InvalidArchitectureError, match=r"is outside 0 … 15624 of nasbench201"):
        NAS_BENCH_201.from_native_index(index)


def test_native_forms_are_refused_where_operations_sit_on_vertices() -> None:
    cell = Architecture.parse(f"0-1,1-2:{POOL}")
    for ask in (
        lambda: NAS_BENCH_101.lower((POOL,)),
        lambda: NAS_BENCH_101.parse_native("|a~0|"),
        lambda: NAS_BENCH_101.format_native(cell),
        lambda: NAS_BENCH_101.native_index(cell),
        lambda: NAS_BENCH_101.from_native_index(0),
    ):
        with pytest.raises(InvalidDefinitionError, match="nasbench101 has its operations on vertices"):
            ask()
