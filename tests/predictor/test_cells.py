from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import NAS_BENCH_101, NAS_BENCH_201, network_cost
from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor.cell_columns import CellColumns
from leti_opt.predictor.cells import CellRows, rows_of, table_of
from leti_opt.predictor.kernel_features import kernel_features
from tests.predictor.samples import NATIVE, small_table
from tests.reference.nasbench201_classes import EDGES, is_connected

OPERATIONS = NAS_BENCH_201.operations
choices = st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(
    lambda found: is_connected([OPERATIONS[place] for place in found])
)


@given(st.lists(choices, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_native_cells_are_lowered_as_the_definition_does(found: list[list[int]]) -> None:
    rows = CellRows.from_native(found, NAS_BENCH_201)
    for row, own in zip(rows, found, strict=True):
        expected = NAS_BENCH_201.lower([OPERATIONS[place] for place in own])
        assert row.operations == expected.operations
        assert np.array_equal(row.adjacency, expected.adjacency)


@given(st.lists(choices, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_native_cells_and_architectures_have_the_same_features_and_table(found: list[list[int]]) -> None:
    rows = CellRows.from_native(found, NAS_BENCH_201)
    cells = [NAS_BENCH_201.lower([OPERATIONS[place] for place in own]) for own in found]
    assert np.array_equal(kernel_features(rows, NATIVE).values, kernel_features(rows_of(cells), NATIVE).values)
    assert rows.table() == ArchitectureTable.from_architectures(cells)


@given(choices)
@settings(max_examples=40, deadline=None)
def test_ends_of_absent_edges_are_those_of_their_nodes(own: list[int]) -> None:
    rows = CellRows.from_native([own], NAS_BENCH_201)
    reached, leading = {0}, {3}
    for _ in range(3):
        for (source, target), place in zip(EDGES, own, strict=True):
            if place != 0:
                reached |= {target} if source in reached else set()
                leading |= {source} if target in leading else set()
    ends = CellColumns.of(rows).ends
    assert (ends[0][:, 0] > 0).tolist() == [source in reached for source, _ in EDGES]
    assert (ends[1][:, 0] > 0).tolist() == [target in leading for _, target in EDGES]


def test_a_cell_that_is_cut_off_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="row 1 is disconnected"):
        CellRows.from_native([[1] * 6, [0] * 6], NAS_BENCH_201)


@pytest.mark.parametrize("bad", [[[5] * 6], [[-1] * 6], [[1] * 5], [1] * 6, [[1.0] * 6]])
def test_choices_that_are_none_are_refused(bad: list[object]) -> None:
    with pytest.raises(InvalidInputError, match="choices"):
        CellRows.from_native(bad, NAS_BENCH_201)


def test_a_space_with_operations_on_vertices_has_no_native_rows() -> None:
    with pytest.raises(InvalidInputError, match="operations on vertices"):
        CellRows.from_native([[0]], NAS_BENCH_101)


def test_cells_of_unlike_sizes_stand_together() -> None:
    cells = list(small_table(20))
    rows = CellRows.from_architectures(cells)
    assert [row.canonical() for row in rows] == [cell.canonical() for cell in cells]
    assert table_of(cells) == ArchitectureTable.from_architectures(cells)


def test_cells_of_unlike_spaces_are_refused() -> None:
    cells = [Architecture.parse("0-1:"), Architecture.parse("0-1,1-2:a:a")]
    with pytest.raises(InvalidInputError, match="predict each space by"):
        rows_of(cells)


def test_unpruned_and_pruned_cells_cost_the_same() -> None:
    cell = NAS_BENCH_201.parse_native("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    assert len(cell.pruned()) < len(cell)
    table = rows_of(cell)
    assert isinstance(table, CellRows)
    costs = network_cost(table.table(), NATIVE)
    assert costs.flops.tolist() == [network_cost(cell, NATIVE).flops]


# The cheapest and the dearest cell as NAS-Bench-201 publishes them for CIFAR-10: millions of FLOPs, which are
# multiply-accumulates there, and of parameters. It counts the ten additions of the dense layer's bias too.
PUBLISHED_COSTS = {
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|": (
        7.78305,
        0.073306,
    ),
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|": (
        220.11969,
        1.531546,
    ),
}


@pytest.mark.parametrize(("text", "published"), PUBLISHED_COSTS.items())
def test_costs_are_the_published_ones(text: str, published: tuple[float, float]) -> None:
    cost = network_cost(NAS_BENCH_201.parse_native(text), NATIVE)
    assert (cost.flops / 2 + NATIVE.classes) / 1e6 == pytest.approx(published[0], abs=1e-9)
    assert cost.parameters / 1e6 == pytest.approx(published[1], abs=1e-9)
