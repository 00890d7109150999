"""Cells as text, dict and pickle: forms that round-trip, and malformed ones."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidArchitectureError
from tests.reference.strategies import cells
from tests.small_cells import CHAIN, FIVE_LABELS, POOL, names


def assert_same_form(first: Architecture, second: Architecture) -> None:
    """Not only equal: the very same vertices, also those that pruning removes."""
    assert first.adjacency.tolist() == second.adjacency.tolist()
    assert (first.operations, first.labels) == (second.operations, second.labels)
    assert first == second


ANY_CELL = st.one_of(cells(), cells(labels=FIVE_LABELS))


@given(ANY_CELL)
def test_text_round_trips(cell: Architecture) -> None:
    assert_same_form(Architecture.parse(str(cell)), cell)
    assert eval(repr(cell), {"Architecture": Architecture}) == cell


@given(ANY_CELL)
def test_dict_round_trips_through_json(cell: Architecture) -> None:
    assert_same_form(Architecture.from_dict(json.loads(json.dumps(cell.to_dict()))), cell)


@given(ANY_CELL, st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_pickle_and_copies_round_trip(cell: Architecture, protocol: int) -> None:
    assert hash(cell) == hash(copy.copy(cell))
    assert_same_form(pickle.loads(pickle.dumps(cell, protocol)), cell)
    assert_same_form(copy.deepcopy(cell), cell)


def test_text_names_labels_only_where_they_are_not_the_default() -> None:
    assert str(Architecture(CHAIN, ["input", POOL, "output"])) == f"0-1,1-2:{POOL}"
    assert str(Architecture(CHAIN, ["input", "a", "output"], ("a", "b"))) == "0-1,1-2:a:a,b"
    assert str(Architecture([[0, 1], [0, 0]], ["input", "output"])) == "0-1:"


def test_dict_without_labels_has_the_default_ones() -> None:
    cell = Architecture.from_dict({"adjacency": CHAIN, "operations": names(3)})
    assert cell.labels == NAS_BENCH_101_LABELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is not a cell; write edges:operations"),
        ("0-1", r"'0-1' is not a cell"),
        (f"0-1,1-2:{POOL}:a:b", r"is not a cell"),
        (f"0-1,1_2:{POOL}", r"'1_2' is not an edge; write it as 0-2"),
        (f"0-1,1-:{POOL}", r"'1-' is not an edge"),
        (f"0-1,,1-2:{POOL}", r"'' is not an edge"),
        (f"0-1,-1-2:{POOL}", r"'-1-2' is not an edge"),
        (f"0-1,1-{'9' * 5000}:{POOL}", r"is not an edge"),
        (f"0-1,1-3:{POOL}", r"edge 1-3 leaves the cell: with 1 operations its vertices are 0 to 2"),
        (f"0-1,2-1,1-2:{POOL}", r"has a cycle: 1 -> 2 -> 1"),
        (f"0-2,2-1,1-3:{POOL},{POOL}", r"edge 2 -> 1 leads backwards"),
        ("0-1,1-2:maxpool", r"unknown operation 'maxpool'; did you mean 'maxpool3x3'"),
        (f"0-1,1-2:{POOL},", r"unknown operation ''"),
        ("0-1,1-2:a:a,a", r"labels repeat a name"),
        ("0-1,1-2:a:", r"operation name '' must consist"),
        (":", r"no path leads from the input to the output"),
        (f"0-1:{POOL}", r"no path leads from the input to the output"),
    ],
)
def test_malformed_text_is_refused_by_its_fault(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        Architecture.parse(text)


@given(st.text(alphabet="0123-,: maxpol3xcnvbru\n"))
def test_any_text_is_a_cell_or_refused_as_one(text: str) -> None:
    try:
        cell = Architecture.parse(text)
    except InvalidArchitectureError:
        return
    assert Architecture.parse(str(cell)) == cell


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"adjacency": CHAIN}, r"missing: \['operations'\]"),
        ({}, r"missing: \['adjacency', 'operations'\]"),
        ({"adjacency": CHAIN, "operations": names(3), "hash": "x"}, r"unknown: \['hash'\]"),
        ({"adjacency": CHAIN, "operations": "abc"}, r"must be a list of names, not 'abc'"),
        ({"adjacency": CHAIN, "operations": names(3), "labels": None}, r"labels must be a list of names, not None"),
        ([CHAIN, names(3)], r"has the keys adjacency and operations, not \[\[\["),
        ({"adjacency": CHAIN, "operations": names(4)}, r"4 operations for 3 vertices"),
    ],
)
def test_malformed_dict_is_refused_by_its_fault(data: Any, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        Architecture.from_dict(data)


def test_vertices_and_edges_are_plain_numbers() -> None:
    cell = Architecture.parse(f"0-2,0-1,1-2:{POOL}")
    assert len(cell) == 3
    assert cell.edges == ((0, 1), (0, 2), (1, 2))
    assert all(type(v) is int for edge in cell.edges for v in edge)
