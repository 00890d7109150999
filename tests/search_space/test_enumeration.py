"""Every unique cell of a definition: against brute force, and kept on disk."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import (
    NAS_BENCH_101,
    NAS_BENCH_201,
    Architecture,
    ArchitectureTable,
    SpaceDefinition,
    bulk_hash,
    enumerate_architectures,
    estimate_size,
)
from leti_opt.errors import DisconnectedArchitectureError, InvalidDefinitionError, SpaceSizeWarning, SpaceTooLargeError
from tests.reference.canonical import canonical_cell, edge_bits
from tests.reference.enumeration import labelled_cells, unique_cells
from tests.reference.strategies import label_indices
from tests.search_space.spaces import ALL, OPERATIONS, name_of

pytestmark = pytest.mark.usefixtures("own_cache")

# Of the sorted hashes, joined by newlines. The slow test derives each hash from its definition.
NAS_BENCH_101_HASHES = "a7f10bf770c1b5b8a221e37824e42b3b1a237a5d21ccf545bbe8e23abd933403"


@pytest.fixture(scope="module")
def nasbench101() -> ArchitectureTable:
    return enumerate_architectures(NAS_BENCH_101, cache=False)


def rows_of(table: ArchitectureTable) -> list[tuple[list[list[int]], list[int]]]:
    return [(cell.adjacency.tolist(), label_indices(cell)) for cell in table]


def place_of(cell: Architecture) -> tuple[int, int, list[int]]:
    """What rows ascend by."""
    return len(cell), edge_bits(cell.adjacency.tolist()), label_indices(cell)


def brute_force(max_vertices: int, max_edges: int, operations: int) -> list[tuple[list[list[int]], list[int]]]:
    """Each labelled cell brought into canonical order, in the order in which the generator first meets them."""
    return list(
        unique_cells(
            max_vertices, max_edges, operations, lambda matrix, labels: str(canonical_cell(matrix, labels))
        ).values()
    )


def test_cells_of_up_to_five_vertices_are_those_of_brute_force() -> None:
    table = enumerate_architectures(SpaceDefinition("five", OPERATIONS, max_vertices=5, max_edges=9))
    assert rows_of(table) == brute_force(5, 9, 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 10) | st.none(), st.integers(1, 3))
def test_small_definitions_are_those_of_brute_force(vertices: int, edges: int | None, operations: int) -> None:
    if vertices == 5:
        operations = min(operations, 2)
    definition = SpaceDefinition("small", OPERATIONS[:operations], vertices, edges)
    table = enumerate_architectures(definition)
    assert rows_of(table) == brute_force(vertices, definition.edge_limit, operations)
    assert table.labels == definition.labels


def native_cells(definition: SpaceDefinition) -> Iterator[Architecture]:
    for names in product(definition.operations, repeat=len(definition.edges)):
        try:
            yield definition.lower(names)
        except DisconnectedArchitectureError:
            continue


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 3), st.integers(1, 3), st.sampled_from([None, 0, -1]))
def test_small_definitions_with_operations_on_edges(nodes: int, operations: int, absent: int | None) -> None:
    names = OPERATIONS[: operations + (absent is not None)]
    definition = SpaceDefinition(
        "edges", names, nodes, operation_on="edge", absent=None if absent is None else names[absent]
    )
    expected = sorted({cell.canonical() for cell in native_cells(definition)}, key=place_of)
    assert [str(cell) for cell in enumerate_architectures(definition)] == [str(cell.canonical()) for cell in expected]


def test_nasbench201_is_brute_force_over_all_native_cells() -> None:
    table = enumerate_architectures(NAS_BENCH_201, cache=False)
    pruned = {str(cell.pruned()): cell for cell in native_cells(NAS_BENCH_201)}
    expected = sorted({cell.canonical() for cell in pruned.values()}, key=place_of)
    assert len(table) == 8764
    assert [str(cell) for cell in table] == [str(cell.canonical()) for cell in expected]
    assert all(cell in NAS_BENCH_201 for cell in table[::50])


@pytest.mark.parametrize("definition", [one for one in ALL if one.max_vertices < 10], ids=name_of)
def test_any_definition_has_ascending_rows_of_its_cells(definition: SpaceDefinition) -> None:
    table = enumerate_architectures(definition, cache=False)
    sample = [table[row] for row in np.unique(np.linspace(0, len(table) - 1, 40).astype(int))]
    places = [place_of(cell) for cell in sample]
    assert places == sorted(places)
    for cell in sample:
        assert cell in definition
        assert str(Architecture(cell.adjacency, cell.operations, cell.labels).canonical()) == str(cell)


@pytest.mark.parametrize(("vertices", "cells"), [(2, 1), (3, 7), (4, 91), (5, 2532), (6, 64542), (7, 423624)])
def test_published_numbers_of_cells(vertices: int, cells: int) -> None:
    definition = SpaceDefinition("part", NAS_BENCH_101.operations, vertices, NAS_BENCH_101.max_edges)
    assert len(enumerate_architectures(definition)) == cells


def test_nasbench101_ascends_strictly(nasbench101: ArchitectureTable) -> None:
    interior = nasbench101.operations.astype(np.uint64) + np.uint64(1)
    interior[nasbench101.operations == 255] = 0
    number = nasbench101.vertices.astype(np.uint64) << np.uint64(21) | nasbench101.edge_words[:, 0]
    for place in range(interior.shape[1]):
        number = number << np.uint64(2) | interior[:, place]
    assert (number[1:] > number[:-1]).all()
    assert nasbench101.edge_counts.max() == 9


def test_nasbench101_hashes_tell_all_cells_apart(nasbench101: ArchitectureTable) -> None:
    hashes = sorted(nasbench101.graph_hashes.tolist())
    assert len(set(hashes)) == 423624
    assert sha256("\n".join(hashes).encode()).hexdigest() == NAS_BENCH_101_HASHES


def test_nasbench101_hashes_do_not_depend_on_workers(
    nasbench101: ArchitectureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_hash, "_FEWEST_FOR_A_WORKER", 1000)
    part = nasbench101[np.random.RandomState(1).permutation(len(nasbench101))[:20000]]
    one, two = part.hashed(workers=1), part.hashed(workers=2)
    assert np.array_equal(one, two)
    assert np.array_equal(one, part.graph_digests)


def test_nasbench101_rows_are_architectures_made_the_checked_way(nasbench101: ArchitectureTable) -> None:
    rows = np.sort(np.random.RandomState(2).permutation(len(nasbench101))[:1500])
    check_rows(nasbench101[rows])


@pytest.mark.slow
def test_every_nasbench101_row_is_an_architecture_made_the_checked_way(nasbench101: ArchitectureTable) -> None:
    check_rows(nasbench101)


@pytest.mark.slow
def test_nasbench101_hashes_by_one_worker_are_the_same(nasbench101: ArchitectureTable) -> None:
    assert np.array_equal(nasbench101.hashed(workers=1), nasbench101.graph_digests)


def check_rows(table: ArchitectureTable) -> None:
    for cell, graph_hash in zip(table, table.graph_hashes.tolist(), strict=True):
        checked = Architecture(cell.adjacency, cell.operations, cell.labels)
        assert checked.graph_hash == graph_hash
        assert str(checked.canonical()) == str(cell) == str(checked)


SMALL = [
    SpaceDefinition("vertex", OPERATIONS, 4, 4),
    SpaceDefinition("vertex-unlimited", OPERATIONS[:2], 4),
    SpaceDefinition("few-edges", OPERATIONS, 9, 3),
    SpaceDefinition("one", OPERATIONS, 2),
]


@pytest.mark.parametrize("definition", SMALL, ids=name_of)
def test_labelled_cells_are_counted_exactly(definition: SpaceDefinition) -> None:
    size = estimate_size(definition)
    vertices = min(definition.max_vertices, 4)
    counted = sum(1 for _ in labelled_cells(vertices, definition.edge_limit, len(definition.operations)))
    assert size.labelled_cells == counted
    assert size.cells_at_least <= len(enumerate_architectures(definition)) <= size.cells_at_most


@pytest.mark.parametrize(
    "definition",
    [
        NAS_BENCH_201,
        SpaceDefinition("four", ("none", "conv"), 4, operation_on="edge", absent="none"),
        SpaceDefinition("full", OPERATIONS, 3, operation_on="edge"),
    ],
    ids=name_of,
)
def test_native_cells_are_counted_exactly(definition: SpaceDefinition) -> None:
    counted = 0
    for cell in native_cells(definition):
        present = sum(name != definition.absent for name in cell.operations[1:-1])
        counted += len(cell.pruned()) - 2 == present
    size = estimate_size(definition)
    assert size.labelled_cells == counted
    assert size.cells_at_least <= len(enumerate_architectures(definition, cache=False)) <= size.cells_at_most


def test_nasbench101_has_so_many_labelled_cells() -> None:
    assert estimate_size(NAS_BENCH_101).labelled_cells == 1_293_208


@pytest.mark.parametrize(
    "definition",
    [
        NAS_BENCH_101,
        SpaceDefinition("many operations", tuple("abcdefgh"), 6, 7),
        SpaceDefinition("no limit", ("conv",), 6),
        SpaceDefinition("five nodes", ("none", "conv"), 5, operation_on="edge", absent="none"),
    ],
    ids=name_of,
)
def test_memory_is_within_the_estimate(definition: SpaceDefinition) -> None:
    enumerate_architectures(definition, cache=False)
    tracemalloc.start()
    try:
        enumerate_architectures(definition, cache=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = estimate_size(definition)
    assert size.bytes_at_least <= peak <= size.bytes_at_most


def available(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=count))


def test_a_space_that_may_not_fit_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    size = estimate_size(NAS_BENCH_101)
    available(monkeypatch, (size.bytes_at_least + size.bytes_at_most) // 2)
    with pytest.warns(SpaceSizeWarning, match="lower max_edges") as caught:
        table = enumerate_architectures(NAS_BENCH_101, cache=False)
    assert len(table) == 423624
    assert Path(caught[0].filename).name == Path(__file__).name
    available(monkeypatch, size.bytes_at_most)
    assert len(enumerate_architectures(NAS_BENCH_101, cache=False)) == 423624


def test_a_space_that_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    available(monkeypatch, estimate_size(NAS_BENCH_101).bytes_at_least - 1)
    with pytest.raises(SpaceTooLargeError, match="lower max_edges"):
        enumerate_architectures(NAS_BENCH_101, cache=False)


@pytest.mark.parametrize(
    "definition",
    [
        SpaceDefinition("ten", OPERATIONS, max_vertices=10),
        SpaceDefinition("thirty", OPERATIONS, max_vertices=30, max_edges=60),
        SpaceDefinition("sixty", OPERATIONS, max_vertices=60),
        SpaceDefinition("thousand", OPERATIONS, max_vertices=1000),
        SpaceDefinition("twelve", ("conv",), max_vertices=12, max_edges=11),
        SpaceDefinition("ten nodes", ("none", *OPERATIONS), 10, operation_on="edge", absent="none"),
        SpaceDefinition("eight nodes", ("conv",), 8, operation_on="edge"),
        SpaceDefinition("operations", tuple(f"op{number}" for number in range(256)), max_vertices=3),
    ],
    ids=name_of,
)
def test_really_large_definitions_are_refused_with_a_remedy(definition: SpaceDefinition) -> None:
    with pytest.raises(SpaceTooLargeError, match=r"lower max_|leave some out") as caught:
        enumerate_architectures(definition)
    assert isinstance(caught.value, InvalidDefinitionError)
    assert len(str(caught.value)) < 400


def test_a_name_is_no_definition() -> None:
    with pytest.raises(InvalidDefinitionError, match="SpaceDefinition such as NAS_BENCH_101"):
        enumerate_architectures("nasbench101")  # type: ignore[arg-type]
