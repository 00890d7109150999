"""Cells: what is refused, pruning, canonical order, hash, equality and the forms that round-trip."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import cell_graph
from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import DisconnectedArchitectureError, InvalidArchitectureError
from tests.reference.canonical import canonical_cell
from tests.reference.enumeration import unique_cells
from tests.reference.graph_hash import graph_hash, prune
from tests.reference.strategies import cells, label_indices, relabeled
from tests.small_cells import CHAIN, CONV1, CONV3, FIVE_LABELS, POOL, names

UNIQUE_CELLS = {2: 1, 3: 7, 4: 91, 5: 2532, 6: 64542}


def chain(vertices: int) -> np.ndarray:
    return np.eye(vertices, k=1, dtype=int)


def built_from_reference(matrix: list[list[int]], labels: list[int]) -> Architecture:
    return Architecture(matrix, ["input", *(NAS_BENCH_101_LABELS[i] for i in labels[1:-1]), "output"])


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], r"has a cycle: 0 -> 1 -> 2 -> 0"),
        ([[0, 1, 0], [0, 1, 1], [0, 0, 0]], r"has a cycle: 1 -> 1"),
        ([[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], r"edge 2 -> 1 leads backwards"),
        ([[0, 1, 0], [0, 0, 1]], r"not square: its shape is \(2, 3\)"),
        ([[0, 1, 0], [0, 0], [0, 0, 0]], r"not square: its rows differ in length"),
        ([0, 1, 1], r"not square: its shape is \(3,\)"),
        (np.zeros((3, 3, 3)), r"not square: its shape is \(3, 3, 3\)"),
        (1, r"not square: its shape is \(\)"),
        ([], r"not square"),
        ([[0]], r"has 1 vertices"),
        (np.zeros((0, 0)), r"has 0 vertices"),
        ([[0, 2, 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, found 2"),
        ([[0, -1, 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, found -1"),
        ([[0, 256, 0], [0, 0, 257], [0, 0, 0]], r"must hold 0 and 1, found 256"),
        ([[0, 0.5, 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, found 0.5"),
        ([[0, float("nan"), 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, found nan"),
        ([[0, float("inf"), 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, found inf"),
        ([["0", "1", "0"], ["0", "0", "1"], ["0", "0", "0"]], r"must hold 0 and 1, not <U1 values"),
        ([[0, None, 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, not object values"),
        ([[0, 1j, 0], [0, 0, 1], [0, 0, 0]], r"must hold 0 and 1, not complex128 values"),
    ],
)
def test_adjacency_is_refused_by_its_fault(adjacency: Any, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        Architecture(adjacency, ["input", POOL, "output"])


@pytest.mark.parametrize("missing", [(0, 1), (1, 2)])
def test_cell_whose_input_does_not_reach_its_output_is_refused(missing: tuple[int, int]) -> None:
    matrix = np.array(CHAIN)
    matrix[missing] = 0
    with pytest.raises(DisconnectedArchitectureError, match=r"no path leads from the input to the output \(vertex 2\)"):
        Architecture(matrix, names(3))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (["input", "output"], r"2 operations for 3 vertices"),
        (["input", POOL, POOL, "output"], r"4 operations for 3 vertices"),
        ([], r"0 operations for 3 vertices"),
        (
            ["input", "conv3x3", "output"],
            r"vertex 1 has the unknown operation 'conv3x3'; did you mean 'conv3x3-bn-relu'",
        ),
        (["input", None, "output"], r"vertex 1 has the unknown operation None"),
        (["input", "input", "output"], r"vertex 1 has the unknown operation 'input'"),
        ([POOL, POOL, "output"], r"begin with 'input' and end with 'output', found 'maxpool3x3' and 'output'"),
        (["input", POOL, POOL], r"begin with 'input' and end with 'output', found 'input' and 'maxpool3x3'"),
        ("abc", r"must be a list of names, not 'abc'"),
        (None, r"must be a list of names, not None"),
    ],
)
def test_operations_are_refused_by_their_fault(operations: Any, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        Architecture(CHAIN, operations)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((), r"at least one operation"),
        (("a", "b", "a"), r"repeat a name: a, b, a"),
        (("a", "in:valid"), r"'in:valid' must consist of letters"),
        (("a", "b,c"), r"'b,c' must consist of letters"),
        (("a", ""), r"'' must consist of letters"),
        (("a", "b\n"), r"must consist of letters"),
        (("a", 3), r"operation name 3 must consist of letters"),
        (("a", "input"), r"'input' is reserved"),
        (("output",), r"'output' is reserved"),
        ("ab", r"must be a list of names, not 'ab'"),
        (3, r"must be a list of names, not 3"),
    ],
)
def test_labels_are_refused_by_their_fault(labels: Any, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        Architecture(CHAIN, ["input", "a", "output"], labels)


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint8, np.int64, np.float32, np.float64])
def test_any_number_type_of_zeros_and_ones_is_taken(kind: Any) -> None:
    assert Architecture(chain(3).astype(kind), names(3)) == Architecture(CHAIN, names(3))


# --- immutability ---------------------------------------------------------------------------------------------------


def test_the_callers_array_is_copied() -> None:
    given = np.array(CHAIN, dtype=np.int8)
    cell = Architecture(given, names(3))
    given[0, 2] = 1
    assert cell.adjacency.tolist() == CHAIN
    assert given.flags.writeable


def reached_again(cell: Architecture) -> dict[str, Architecture]:
    return {
        "itself": cell,
        "pruned": cell.pruned(),
        "canonical": cell.canonical(),
        "pickled": pickle.loads(pickle.dumps(cell)),
        "copied": copy.copy(cell),
        "deeply copied": copy.deepcopy(cell),
    }


@pytest.mark.parametrize("way", ["itself", "pruned", "canonical", "pickled", "copied", "deeply copied"])
def test_adjacency_cannot_be_written(way: str) -> None:
    cell = reached_again(Architecture.parse(f"0-1,0-3,1-2:{POOL},{CONV3}"))[way]
    with pytest.raises(ValueError, match="read-only"):
        cell.adjacency[0, 1] = 0


@pytest.mark.parametrize("name", ["adjacency", "operations", "labels", "graph_hash", "anything"])
def test_attributes_cannot_be_set_or_deleted(name: str) -> None:
    cell = Architecture(CHAIN, names(3))
    before = hash(cell)
    with pytest.raises(AttributeError, match="immutable"):
        setattr(cell, name, "x")
    with pytest.raises(AttributeError):
        delattr(cell, name)
    assert hash(cell) == before


# --- pruning --------------------------------------------------------------------------------------------------------


def test_pruning_removes_what_is_on_no_path() -> None:
    # 1 is a dead end, 2 is an orphan that feeds 3.
    cell = Architecture.parse(f"0-1,0-3,2-3,3-4:{CONV1},{POOL},{CONV3}")
    assert str(cell.pruned()) == f"0-1,1-2:{CONV3}"
    assert cell == cell.pruned()


@given(cells())
def test_pruning_agrees_with_the_reference_and_is_idempotent(cell: Architecture) -> None:
    pruned = cell.pruned()
    assert (pruned.adjacency.tolist(), label_indices(pruned)) == prune(cell.adjacency.tolist(), label_indices(cell))
    assert str(pruned.pruned()) == str(pruned)
    assert pruned == cell


# --- canonical order ------------------------------------------------------------------------------------------------


def assert_canonical_like_brute_force(cell: Architecture) -> None:
    expected = canonical_cell(*prune(cell.adjacency.tolist(), label_indices(cell)))
    canonical = cell.canonical()
    assert (canonical.adjacency.tolist(), label_indices(canonical)) == expected


@given(cells(max_vertices=7))
@settings(deadline=None)
def test_canonical_order_is_the_smallest_of_all_relabelings(cell: Architecture) -> None:
    assert_canonical_like_brute_force(cell)


@given(cells(min_vertices=7, max_vertices=8, labels=FIVE_LABELS))
@settings(deadline=None, max_examples=60)
def test_canonical_order_is_the_smallest_in_a_larger_space(cell: Architecture) -> None:
    assert_canonical_like_brute_force(cell)


@given(st.lists(st.sampled_from(FIVE_LABELS), min_size=5, max_size=5), st.sets(st.sampled_from([(1, 2), (3, 4)])))
@settings(deadline=None, max_examples=40)
def test_canonical_order_of_parallel_vertices(operations: list[str], joined: set[tuple[int, int]]) -> None:
    edges = {(0, v) for v in range(1, 6)} | {(v, 6) for v in range(1, 6)} | joined
    matrix = [[int((x, y) in edges) for y in range(7)] for x in range(7)]
    assert_canonical_like_brute_force(Architecture(matrix, ["input", *operations, "output"], FIVE_LABELS))


@given(st.data())
@settings(deadline=None)
def test_relabeling_changes_neither_canonical_form_nor_hash_nor_equality(data: st.DataObject) -> None:
    cell = data.draw(cells(min_vertices=3, labels=FIVE_LABELS))
    other = data.draw(relabeled(cell))
    assert str(other.canonical()) == str(cell.canonical())
    assert other.graph_hash == cell.graph_hash
    assert other == cell
    assert hash(other) == hash(cell)


@given(cells())
def test_canonical_is_idempotent(cell: Architecture) -> None:
    assert str(cell.canonical().canonical()) == str(cell.canonical())


@pytest.mark.parametrize(
    ("labels", "joined", "most"),
    [
        (tuple("abcdefgh"), (), 50),
        (tuple("abcdefgh"), ((1, 2), (3, 4), (5, 6), (7, 8)), 1_000),
        (("a",), ((1, 2), (3, 4), (5, 6), (7, 8)), 1_000),
    ],
)
def test_canonical_order_of_many_parallel_vertices_tries_few_orders(
    labels: tuple[str, ...], joined: tuple[tuple[int, int], ...], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    original = cell_graph._lower_bound

    def counting(*arguments: Any) -> list[tuple[int, ...]]:
        tried.append(1)
        return original(*arguments)

    monkeypatch.setattr(cell_graph, "_lower_bound", counting)
    matrix = np.zeros((10, 10), dtype=int)
    matrix[0, 1:9] = matrix[1:9, 9] = 1
    for source, target in joined:
        matrix[source, target] = 1
    operations = [labels[-v % len(labels)] for v in range(1, 9)]
    Architecture(matrix, ["input", *operations, "output"], labels).canonical()
    assert 0 < len(tried) < most


# --- hash and equality ----------------------------------------------------------------------------------------------


def test_graph_hash_is_the_published_one() -> None:
    cell = Architecture.parse(f"0-1,0-4,0-5,1-2,2-3,2-6,3-5,4-5,5-6:{CONV3},{POOL},{CONV3},{CONV3},{CONV1}")
    assert cell.graph_hash == "00005c142e6f48ac74fdcf73e3439874"


@given(st.one_of(cells(max_vertices=8), cells(max_vertices=8, labels=FIVE_LABELS)))
def test_graph_hash_agrees_with_the_reference(cell: Architecture) -> None:
    assert cell.graph_hash == graph_hash(*prune(cell.adjacency.tolist(), label_indices(cell)))


@pytest.mark.parametrize(
    "max_vertices",
    [2, 3, 4, 5, pytest.param(6, marks=pytest.mark.slow)],
)
def test_plain_generator_finds_the_published_number_of_cells_by_hash_and_by_equality(max_vertices: int) -> None:
    def own_hash(matrix: list[list[int]], labels: list[int]) -> Hashable:
        return built_from_reference(matrix, labels).graph_hash

    by_hash = unique_cells(max_vertices, 9, 3, own_hash)
    by_equality = unique_cells(max_vertices, 9, 3, built_from_reference)
    assert len(by_hash) == len(by_equality) == UNIQUE_CELLS[max_vertices]
    assert list(by_hash.values()) == list(by_equality.values())
    for first_met in by_equality:
        assert isinstance(first_met, Architecture)
        assert str(first_met.canonical()) == str(first_met)


def test_cells_of_other_labels_differ() -> None:
    cell = Architecture(CHAIN, ["input", "a", "output"], ("a", "b"))
    assert cell != Architecture(CHAIN, ["input", "a", "output"], ("b", "a"))
    assert cell != Architecture(CHAIN, ["input", "b", "output"], ("a", "b"))
    assert cell.graph_hash == Architecture(CHAIN, ["input", "b", "output"], ("b", "a")).graph_hash


def test_cell_equals_only_cells() -> None:
    cell = Architecture(CHAIN, names(3))
    assert cell != str(cell)
    assert cell != None  # noqa: E711


def test_equal_cells_are_one_key_of_a_dict() -> None:
    pruned = Architecture.parse(f"0-1,1-2:{POOL}")
    table = {pruned: 1.5}
    assert table[Architecture.parse(f"0-1,0-2,2-3:{CONV3},{POOL}")] == 1.5
    assert Architecture.parse(f"0-1,1-2:{CONV3}") not in table
