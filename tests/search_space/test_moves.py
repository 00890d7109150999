"""Moves: every one leads to a valid cell and changes what its name says, nothing else."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leti_opt.architecture import Architecture
from leti_opt.search_space import moves
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from tests.search_space.spaces import ALL, ONE_CELL, ORDINARY, cells, name_of

VERTEX_KIND = [definition for definition in ORDINARY if definition.operation_on == "vertex"]
EDGE_KIND = [definition for definition in ORDINARY if definition.operation_on == "edge"]
CHAIN = Architecture.parse("0-1,1-2,2-3:conv3x3-bn-relu,maxpool3x3")


def inner(cell: Architecture) -> Counter[str]:
    return Counter(cell.operations[1:-1])


def moved(move: moves.Move, definition: SpaceDefinition, count: int = 60) -> list[tuple[Architecture, Architecture]]:
    """Pairs of a cell and where the move led from it; the move must be possible for some."""
    random_state = np.random.RandomState(5)
    pairs = []
    for cell in cells(definition, count):
        after = move(cell, definition, random_state)
        if after is not None:
            definition.check(after)
            pairs.append((cell, after))
    return pairs


@pytest.mark.parametrize("definition", ORDINARY, ids=name_of)
def test_every_move_leads_to_a_valid_cell_and_some_move_is_possible(definition: SpaceDefinition) -> None:
    found = [pair for move in moves.moves_of(definition) for pair in moved(move, definition, 20)]
    assert found
    if definition.operation_on == "vertex":
        assert all(len(after.pruned()) == len(after) for _, after in found)
    assert all(before is not after for before, after in found)


def test_add_edge_adds_one_edge_and_nothing_else() -> None:
    pairs = moved(moves.add_edge, SpaceDefinition("wide", ("a", "b"), max_vertices=6))
    assert pairs
    for before, after in pairs:
        assert set(before.edges) < set(after.edges)
        assert len(after.edges) == len(before.edges) + 1
        assert after.operations == before.operations


def test_add_edge_keeps_the_limit_of_edges() -> None:
    full = Architecture.parse("0-1,0-2,0-3,0-4,1-2,1-3,2-3,2-4,3-4:" + ",".join(["maxpool3x3"] * 3))
    assert moves.add_edge(full, NAS_BENCH_101, np.random.RandomState(0)) is None


def test_add_edge_is_impossible_when_all_vertices_are_joined() -> None:
    full = Architecture.parse("0-1,0-2,1-2:maxpool3x3")
    assert moves.add_edge(full, NAS_BENCH_101, np.random.RandomState(0)) is None


def test_remove_edge_takes_one_edge_and_what_is_then_on_no_path() -> None:
    pairs = moved(moves.remove_edge, NAS_BENCH_101)
    assert pairs
    for before, after in pairs:
        without = [_without(before, edge).pruned() for edge in before.edges if _without(before, edge) is not None]
        assert str(after) in {str(option) for option in without}


def _without(cell: Architecture, edge: tuple[int, int]) -> Architecture | None:
    matrix = cell.adjacency.copy()
    matrix[edge] = 0
    try:
        return Architecture(matrix, cell.operations, cell.labels)
    except ValueError:
        return None


def test_remove_edge_never_breaks_the_only_path() -> None:
    assert moves.remove_edge(CHAIN, NAS_BENCH_101, np.random.RandomState(0)) is None


def test_rewire_edge_moves_one_end_of_one_edge() -> None:
    pairs = moved(moves.rewire_edge, NAS_BENCH_101)
    same_size = [(before, after) for before, after in pairs if len(before) == len(after)]
    assert len(same_size) > 10
    for before, after in same_size:
        gone, new = set(before.edges) - set(after.edges), set(after.edges) - set(before.edges)
        assert len(new) == 1
        assert any((old[0] == edge[0]) != (old[1] == edge[1]) for edge in new for old in gone)
        assert after.operations == before.operations
    assert all(len(after.edges) <= len(before.edges) for before, after in pairs)


def test_relabel_vertex_changes_one_operation_and_no_edge() -> None:
    pairs = moved(moves.relabel_vertex, NAS_BENCH_101)
    assert pairs
    for before, after in pairs:
        assert after.edges == before.edges
        assert sum(a != b for a, b in zip(before.operations, after.operations, strict=True)) == 1


def test_insert_vertex_splits_one_edge() -> None:
    pairs = moved(moves.insert_vertex, SpaceDefinition("wide", ("a", "b"), max_vertices=12, max_edges=60), 30)
    assert pairs
    for before, after in pairs:
        assert len(after) == len(before) + 1
        assert len(after.edges) == len(before.edges) + 1
        assert sum((inner(after) - inner(before)).values()) == 1
        assert not inner(before) - inner(after)


def test_insert_and_bypass_undo_each_other() -> None:
    random_state = np.random.RandomState(0)
    direct = Architecture.parse("0-1:")
    longer = moves.insert_vertex(direct, NAS_BENCH_101, random_state)
    assert longer is not None
    assert len(longer) == 3
    assert moves.bypass_vertex(longer, NAS_BENCH_101, random_state) == direct


def test_bypass_vertex_joins_what_it_was_between() -> None:
    pairs = moved(moves.bypass_vertex, NAS_BENCH_101)
    assert pairs
    for before, after in pairs:
        assert len(after) == len(before) - 1
        assert sum((inner(before) - inner(after)).values()) == 1
        assert not inner(after) - inner(before)


@pytest.mark.parametrize("definition", EDGE_KIND, ids=name_of)
def test_native_moves_change_what_they_promise(definition: SpaceDefinition) -> None:
    absent = definition.absent
    for move, expected in {
        moves.add_operation: lambda a, b: a == absent != b,
        moves.remove_operation: lambda a, b: a != absent == b,
        moves.replace_operation: lambda a, b: a != b and absent not in (a, b),
    }.items():
        for before, after in moved(move, definition):
            names = zip(definition.native_operations(before), definition.native_operations(after), strict=True)
            changed = [(a, b) for a, b in names if a != b]
            assert len(changed) == 1
            assert expected(*changed[0])


def test_move_operation_keeps_the_operations_and_a_shared_node() -> None:
    pairs = moved(moves.move_operation, NAS_BENCH_201)
    assert pairs
    for before, after in pairs:
        old, new = NAS_BENCH_201.native_operations(before), NAS_BENCH_201.native_operations(after)
        places = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        assert Counter(old) == Counter(new)
        assert len(places) == 2
        assert set(NAS_BENCH_201.edges[places[0]]) & set(NAS_BENCH_201.edges[places[1]])


@pytest.mark.parametrize("definition", ORDINARY, ids=name_of)
def test_mutated_is_another_valid_cell(definition: SpaceDefinition) -> None:
    random_state = np.random.RandomState(1)
    for cell in cells(definition, 30):
        after = moves.mutated(cell, definition, random_state)
        definition.check(after)
        assert after != cell


@pytest.mark.parametrize("definition", ONE_CELL, ids=name_of)
def test_mutated_is_the_same_cell_where_there_is_no_other(definition: SpaceDefinition) -> None:
    (cell,) = cells(definition, 1)
    assert moves.mutated(cell, definition, np.random.RandomState(0)) == cell


@pytest.mark.parametrize("definition", ORDINARY, ids=name_of)
def test_moves_and_grafts_repeat_with_the_same_seed(definition: SpaceDefinition) -> None:
    first, second = cells(definition, 2)
    runs = []
    for _ in range(2):
        random_state = np.random.RandomState(4)
        runs.append(
            [str(moves.mutated(first, definition, random_state)) for _ in range(20)]
            + [str(moves.graft(first, second, definition, random_state)) for _ in range(20)]
        )
    assert runs[0] == runs[1]


@pytest.mark.parametrize("definition", ALL, ids=name_of)
def test_a_graft_is_valid_and_of_a_cell_with_itself_that_cell(definition: SpaceDefinition) -> None:
    random_state = np.random.RandomState(2)
    population = cells(definition, 20)
    for first, second in zip(population, reversed(population), strict=True):
        definition.check(moves.graft(first, second, definition, random_state))
        assert moves.graft(first, first, definition, random_state) == first


def test_a_graft_takes_its_beginning_from_one_cell_and_its_end_from_the_other() -> None:
    wide = SpaceDefinition("wide", ("a", "b"), max_vertices=5)
    first = Architecture.parse("0-1,1-2,2-3,3-4:a,a,a:a,b")
    second = Architecture.parse("0-1,0-2,0-3,1-2,2-3,3-4:b,b,b:a,b")
    grafts = {str(moves.graft(first, second, wide, np.random.RandomState(seed))) for seed in range(40)}
    assert grafts == {
        "0-1,0-2,0-3,1-2,2-3,3-4:a,b,b:a,b",
        "0-1,0-3,1-2,2-3,3-4:a,a,b:a,b",
        "0-1,1-2,2-3,3-4:a,a,a:a,b",
    }


def test_a_graft_of_native_cells_is_one_cut() -> None:
    first = NAS_BENCH_201.lower(["nor_conv_3x3"] * 6)
    second = NAS_BENCH_201.lower(["skip_connect"] * 6)
    random_state = np.random.RandomState(0)
    for _ in range(20):
        names = NAS_BENCH_201.native_operations(moves.graft(first, second, NAS_BENCH_201, random_state))
        assert names == tuple(sorted(names))
        assert len(set(names)) == 2
