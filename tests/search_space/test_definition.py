"""Search spaces: what a definition refuses, what it contains, and cells with operations on edges."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidArchitectureError, InvalidDefinitionError
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from tests.reference.nasbench201_classes import EDGES
from tests.reference.strategies import cells
from tests.search_space.operations import ALWAYS_ON, AVERAGE, EDGE_CONV1, EDGE_CONV3, NONE, POOL, SKIP

# --- what a definition refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"operations": ()}, r"operations of 'x': labels must name at least one"),
        ({"operations": ("a", "a")}, r"operations of 'x': labels repeat a name: a, a"),
        ({"operations": ("a", "b c")}, r"'b c' must consist of letters"),
        ({"operations": ("a", "input")}, r"'input' is reserved"),
        ({"operations": "ab"}, r"must be a list of names, not 'ab'"),
        ({"max_vertices": 1}, r"max_vertices must be a whole number, 2 or more, not 1"),
        ({"max_vertices": 4.5}, r"max_vertices must be a whole number, 2 or more, not 4.5"),
        ({"max_vertices": "7"}, r"max_vertices must be a whole number, 2 or more, not '7'"),
        ({"max_edges": 0}, r"max_edges must be a whole number, 1 or more, not 0"),
        ({"max_edges": -3}, r"max_edges must be a whole number, 1 or more, not -3"),
        ({"max_edges": 2.5}, r"max_edges must be a whole number, 1 or more, not 2.5"),
        ({"absent": "a"}, r"absent is only for operations on edges"),
        ({"operation_on": "node"}, r"operation_on must be 'vertex' or 'edge', not 'node'"),
        ({"operation_on": "edge", "max_edges": 9}, r"max_edges is only for operations on vertices"),
        ({"operation_on": "edge", "absent": "none"}, r"absent operation 'none' is unknown; .*Known: a, b"),
        ({"operation_on": "edge", "operations": ("a",), "absent": "a"}, r"an operation besides the absent one"),
    ],
)
def test_definition_is_refused_by_its_fault(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDefinitionError, match=message):
        SpaceDefinition(**{"name": "x", "operations": ("a", "b"), "max_vertices": 4, **settings})


def test_definition_is_a_plain_value() -> None:
    assert pickle.loads(pickle.dumps(NAS_BENCH_201)) == NAS_BENCH_201
    assert len({NAS_BENCH_101, replace(NAS_BENCH_101), NAS_BENCH_201}) == 2
    assert SpaceDefinition("x", ["a", "b"], 4).operations == ("a", "b")  # type: ignore[arg-type]


def test_limits_and_edges() -> None:
    assert NAS_BENCH_101.edge_limit == 9
    assert len(NAS_BENCH_101.edges) == 21
    assert SpaceDefinition("x", ("a",), max_vertices=4).edge_limit == 6
    assert NAS_BENCH_201.edges == EDGES


def test_labels_of_a_lowered_cell_have_the_absent_operation_last() -> None:
    assert NAS_BENCH_101.labels == NAS_BENCH_101_LABELS
    assert NAS_BENCH_201.labels == (SKIP, EDGE_CONV1, EDGE_CONV3, AVERAGE, NONE)
    assert ALWAYS_ON.labels == ("a", "b")


# --- what a space contains ------------------------------------------------------------------------------------------


@given(cells(max_vertices=7, max_edges=9))
def test_nasbench101_contains_its_cells_pruned_or_not(cell: Architecture) -> None:
    pruned = cell.pruned()
    assert (cell in NAS_BENCH_101) == (len(pruned.edges) <= 9)
    assert (cell in NAS_BENCH_101) == (pruned in NAS_BENCH_101)


def complete_cell(vertices: int, definition: SpaceDefinition) -> Architecture:
    matrix = [[int(x < y) for y in range(vertices)] for x in range(vertices)]
    inner = [definition.labels[0]] * (vertices - 2)
    return Architecture(matrix, ["input", *inner, "output"], definition.labels)


def test_limits_count_after_pruning() -> None:
    chain = "0-1,1-2,2-3,3-4,4-5,5-6"
    ten_edges = Architecture.parse(f"{chain},0-2,0-3,0-4,0-5:{','.join([POOL] * 5)}")
    with pytest.raises(InvalidArchitectureError, match="10 edges; nasbench101 allows 9"):
        NAS_BENCH_101.check(ten_edges)
    nine_and_a_dead_end = Architecture.parse(f"0-1,1-2,2-3,3-5,0-2,0-3,0-5,1-3,2-5,0-4:{','.join([POOL] * 4)}")
    NAS_BENCH_101.check(nine_and_a_dead_end)
    eight = Architecture.parse(f"{chain},6-7:{','.join([POOL] * 6)}")
    with pytest.raises(InvalidArchitectureError, match="8 vertices; nasbench101 allows 7"):
        NAS_BENCH_101.check(eight)


@pytest.mark.parametrize(("max_vertices", "max_edges"), [(2, None), (3, 3), (4, 5), (5, None), (9, 12)])
def test_vertex_space_of_other_limits(max_vertices: int, max_edges: int | None) -> None:
    space = SpaceDefinition("own", ("a", "b"), max_vertices, max_edges)
    for vertices in range(2, 10):
        edges = vertices * (vertices - 1) // 2
        fits = vertices <= max_vertices and edges <= space.edge_limit
        assert (complete_cell(vertices, space) in space) == fits


def test_cell_with_other_labels_or_operations_is_refused() -> None:
    space = SpaceDefinition("own", ("a", "b"), 4)
    chain = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    with pytest.raises(InvalidArchitectureError, match=r"operation 'c' is not in own; .*Known: a, b"):
        space.check(Architecture(chain, ["input", "c", "output"], ("a", "b", "c")))
    with pytest.raises(InvalidArchitectureError, match=r"not those of own.*pass labels=definition.labels"):
        space.check(Architecture(chain, ["input", "a", "output"], ("b", "a")))
    space.check(Architecture(chain, ["input", "a", "output"], space.labels))


@pytest.mark.parametrize("other", ["0-1:", None, 3, [[0, 1], [0, 0]]])
def test_only_cells_are_in_a_space(other: object) -> None:
    assert other not in NAS_BENCH_101
