"""The vectorized readings against slow ones, cell by cell."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from leti_opt import NAS_BENCH_201, NetworkConfig, build_layer_graph, enumerate_architectures
from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.network.layer_graph import LayerKind
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.kernel_features import kernel_features
from tests.predictor.samples import NATIVE, SMALL, small_table

ONE_CELL = NATIVE.changed(scope="cell", input_shape=(32, 32, 16))


@pytest.fixture(scope="module")
def native() -> ArchitectureTable:
    table = enumerate_architectures(NAS_BENCH_201)
    return table[np.sort(np.random.default_rng(3).choice(len(table), 150, replace=False))]


def feature(table: ArchitectureTable | CellRows, name: str, network: NetworkConfig = NATIVE) -> list[float]:
    found = kernel_features(table, network)
    return [float(value) for value in found.values[:, found.names.index(name)]]


def test_counts_are_those_of_the_cell(native: ArchitectureTable) -> None:
    for label in native.labels:
        assert feature(native, f"counts/{label}") == [cell.operations.count(label) for cell in native]


def test_additions_are_those_of_the_layer_graph(native: ArchitectureTable) -> None:
    expected = []
    for cell in native:
        kinds = Counter(layer.kind for layer in build_layer_graph(cell, ONE_CELL).layers)
        expected.append(kinds[LayerKind.ADD])
    assert feature(native, "sums/additions") == expected


def test_relus_apart_are_those_that_share_what_they_read(native: ArchitectureTable) -> None:
    """Of all layers but the cell's input, about which decides what comes before the cell."""
    for cell, apart, of_input in zip(
        native,
        feature(native, "activations/values_with_relu_apart"),
        feature(native, "activations/relus_apart_from_input"),
        strict=True,
    ):
        layers = build_layer_graph(cell, ONE_CELL).layers
        readers = Counter(source for layer in layers for source in layer.inputs)
        read_by_relus = {layer.inputs[0] for layer in layers if layer.kind is LayerKind.RELU} - {0}
        assert apart - of_input == sum(readers[place] > 1 for place in read_by_relus)


def test_longest_paths_are_those_of_a_plain_search(native: ArchitectureTable) -> None:
    def longest(cell: Architecture, vertex: int) -> int:
        own = int(cell.operations[vertex].startswith(("nor_conv", "avg_pool")))
        before = [longest(cell, other) for other in range(vertex) if cell.adjacency[other, vertex]]
        return own + max(before, default=0)

    assert feature(native, "paths/most_working") == [longest(cell, len(cell) - 1) for cell in native]


def test_pairs_look_through_skips() -> None:
    cell = NAS_BENCH_201.parse_native("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    rows = CellRows.from_architectures(cell)
    assert feature(rows, "pairs/nor_conv_3x3_to_avg_pool_3x3") == [1.0]
    assert feature(rows, "depths/avg_pool_3x3_at_2") == [1.0]


def test_what_leads_nowhere_is_counted_by_which_end_it_lacks() -> None:
    cell = NAS_BENCH_201.parse_native("|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|none~2|")
    rows = CellRows.from_architectures(cell)
    assert feature(rows, "dead/nor_conv_1x1_off_output") == [1.0]
    assert feature(rows, "dead/nor_conv_3x3_off_both_ends") == [1.0]
    assert feature(rows, "dead/avg_pool_3x3_off_input") == [1.0]
    assert feature(rows, "counts/nor_conv_1x1") == [0.0]
    assert feature(rows, "unpruned_counts/nor_conv_1x1") == [1.0]


def test_features_of_isomorphic_cells_are_the_same() -> None:
    one = NAS_BENCH_201.parse_native("|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_1x1~1|skip_connect~2|")
    other = NAS_BENCH_201.parse_native(
        "|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|nor_conv_1x1~2|"
    )
    values = kernel_features(CellRows.from_architectures([one, other]), NATIVE).values
    assert values[0].tolist() == values[1].tolist()


def test_work_is_that_of_the_layers_where_channels_differ() -> None:
    table = small_table(40)
    found = kernel_features(table, SMALL)
    columns = [place for place, name in enumerate(found.names) if name.startswith("work/macs")]
    for cell, macs in zip(table, found.values[:, columns].sum(axis=1), strict=True):
        graph = build_layer_graph(cell, SMALL)
        expected = sum(
            layer.kernel_size**2 * graph.layers[layer.inputs[0]].shape[-1] * int(np.prod(layer.shape))
            for layer in graph.layers
            if layer.kind is LayerKind.CONV and not layer.name.startswith("stem")
        )
        assert macs == pytest.approx(expected, rel=1e-6)


def test_parts_do_not_matter(monkeypatch: pytest.MonkeyPatch, native: ArchitectureTable) -> None:
    whole = kernel_features(native, NATIVE).values
    monkeypatch.setattr("leti_opt.predictor.kernel_features._PART", 7)
    assert np.array_equal(kernel_features(native, NATIVE).values, whole)
