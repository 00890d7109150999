"""Decoding: always a valid cell, the wanted one where that is valid, and otherwise close to it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.repair import decode_edges, decode_vertices, finite, repaired_edges, useful_edges

MARGINS = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-3, 3))


@st.composite
def wanted(draw: st.DrawFn, most_vertices: int = 6) -> tuple[dict[tuple[int, int], float], int, int]:
    vertices = draw(st.integers(2, most_vertices))
    edges = [(x, y) for y in range(1, vertices) for x in range(y)]
    margins = {edge: draw(MARGINS) for edge in edges}
    return margins, vertices, draw(st.integers(1, len(edges)))


def has_path(edges: list[tuple[int, int]], vertices: int) -> bool:
    reached = {0}
    for source, target in sorted(edges):
        if source in reached:
            reached.add(target)
    return vertices - 1 in reached


@given(wanted())
def test_repaired_edges_lie_on_a_path_and_keep_the_limit(case: tuple) -> None:
    margins, vertices, limit = case
    edges = repaired_edges(margins, vertices, limit)
    assert has_path(edges, vertices)
    assert len(edges) <= limit
    assert useful_edges(edges, vertices) == edges


@given(wanted())
def test_wanted_edges_that_make_a_valid_cell_are_left_as_they_are(case: tuple) -> None:
    margins, vertices, limit = case
    present = sorted(edge for edge, margin in margins.items() if margin > 0)
    if present and useful_edges(present, vertices) == present and len(present) <= limit:
        assert repaired_edges(margins, vertices, limit) == present


@pytest.mark.parametrize(("strength", "expected"), [(2.0, [(0, 1), (0, 3), (1, 3)]), (1.0, [(0, 3)])])
def test_a_vertex_that_only_takes_is_joined_or_dropped_by_what_takes_less(
    strength: float, expected: list[tuple[int, int]]
) -> None:
    margins = {(0, 1): strength, (0, 2): -9.0, (1, 2): -9.0, (0, 3): 1.0, (1, 3): -1.5, (2, 3): -9.0}
    assert repaired_edges(margins, 4, 6) == expected


@pytest.mark.parametrize(("strength", "expected"), [(2.0, [(0, 2), (0, 3), (2, 3)]), (1.0, [(0, 3)])])
def test_a_vertex_that_only_gives_is_joined_or_dropped_by_what_takes_less(
    strength: float, expected: list[tuple[int, int]]
) -> None:
    margins = {(0, 1): -9.0, (0, 2): -1.5, (1, 2): -1.0, (0, 3): 1.0, (1, 3): -9.0, (2, 3): strength}
    assert repaired_edges(margins, 4, 6) == expected


@given(wanted(most_vertices=5))
def test_a_missing_path_is_added_with_the_least_margin(case: tuple) -> None:
    margins, vertices, _ = case
    present = [edge for edge, margin in margins.items() if margin > 0]
    if has_path(present, vertices):
        return
    edges = repaired_edges(margins, vertices, len(margins))
    cheapest = min(_cost(path, margins) for path in _paths(vertices))
    assert min(_cost(path, margins) for path in _paths(vertices) if set(path) <= set(edges)) == pytest.approx(cheapest)


def _paths(vertices: int) -> list[list[tuple[int, int]]]:
    inner = range(1, vertices - 1)
    stops = itertools.chain.from_iterable(itertools.combinations(inner, n) for n in range(vertices - 1))
    return [list(itertools.pairwise((0, *stop, vertices - 1))) for stop in stops]


def _cost(path: list[tuple[int, int]], margins: dict[tuple[int, int], float]) -> float:
    return sum(max(0.0, -margins[edge]) for edge in path)


def test_of_too_many_edges_the_weakest_goes() -> None:
    margins = {(0, 1): 3.0, (0, 2): 0.5, (1, 2): 2.0}
    assert repaired_edges(margins, 3, 2) == [(0, 1), (1, 2)]


def test_an_edge_whose_loss_would_prune_much_stays_though_it_is_weak() -> None:
    margins = {(0, 1): 0.5, (1, 2): 5.0, (0, 2): 1.0, (0, 3): 1.0, (1, 3): 5.0, (2, 3): 1.0}
    edges = repaired_edges(margins, 4, 5)
    assert (0, 1) in edges
    assert len(edges) == 5


def test_a_path_longer_than_the_limit_gets_a_shortcut() -> None:
    margins = {(x, y): 5.0 if y == x + 1 else -1.0 for y in range(1, 5) for x in range(y)}
    margins[0, 3] = -0.5
    assert repaired_edges(margins, 5, 2) == [(0, 3), (3, 4)]


def test_a_limit_of_one_edge_leaves_the_direct_one() -> None:
    margins = {(0, 1): 5.0, (0, 2): 5.0, (1, 2): -1.0, (0, 3): 1.0, (1, 3): -1.0, (2, 3): -1.0}
    assert repaired_edges(margins, 4, 1) == [(0, 3)]


def test_a_small_change_of_one_margin_changes_little() -> None:
    random_state = np.random.RandomState(3)
    changed: list[int] = []
    for _ in range(300):
        margins = dict(zip(NAS_BENCH_101.edges, random_state.normal(size=21).tolist(), strict=True))
        before = set(repaired_edges(margins, 7, 9))
        margins[NAS_BENCH_101.edges[random_state.randint(21)]] = random_state.normal()
        changed.append(len(before ^ set(repaired_edges(margins, 7, 9))))
    assert np.median(changed) <= 1
    assert np.mean(changed) < 2.5


def test_unused_vertices_are_left_out() -> None:
    margins = [1.0 if edge in {(0, 2), (2, 6)} else -1.0 for edge in NAS_BENCH_101.edges]
    operations = ["maxpool3x3", "conv1x1-bn-relu", *["maxpool3x3"] * 3]
    assert str(decode_vertices(NAS_BENCH_101, margins, operations)) == "0-1,1-2:conv1x1-bn-relu"


def test_a_native_cell_is_connected_by_its_least_unwanted_operation() -> None:
    margins = [-1.0, -1.0, -1.0, -3.0, -0.2, -0.1]
    names = ["skip_connect", "nor_conv_1x1", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3", "avg_pool_3x3"]
    cell = decode_edges(NAS_BENCH_201, margins, names)
    assert NAS_BENCH_201.format_native(cell) == ("|none~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|avg_pool_3x3~2|")


def test_a_native_cell_keeps_operations_that_lead_nowhere() -> None:
    space = SpaceDefinition("n", ("conv", "none"), max_vertices=3, operation_on="edge", absent="none")
    cell = decode_edges(space, [1.0, 1.0, -1.0], ["conv"] * 3)
    assert space.native_operations(cell) == ("conv", "conv", "none")


@given(st.lists(st.floats(), max_size=5))
def test_finite_makes_every_weight_a_number_that_can_be_summed(weights: list[float]) -> None:
    made = finite(weights)
    assert np.isfinite(made).all()
    assert np.isfinite(made.sum())


@settings(deadline=None)
@given(st.lists(MARGINS, min_size=21, max_size=21))
def test_decoding_twice_gives_the_same_numbering(margins: list[float]) -> None:
    operations = ["maxpool3x3"] * 5
    first = decode_vertices(NAS_BENCH_101, margins, operations)
    assert str(decode_vertices(NAS_BENCH_101, margins, operations)) == str(first)
    NAS_BENCH_101.check(first)
