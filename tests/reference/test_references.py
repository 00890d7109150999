"""The slow references against published figures, so that they can be trusted as a yardstick."""

from __future__ import annotations

import pytest

from tests.reference import nasbench101_network, nasbench201_network
from tests.reference.canonical import canonical_cell, edge_bits
from tests.reference.enumeration import labelled_cells, unique_cells
from tests.reference.graph_hash import graph_hash, prune
from tests.reference.network_listing import computation

CONV3, CONV1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"


def matrix_of(edges: str) -> list[list[int]]:
    pairs = [tuple(map(int, edge.split("-"))) for edge in edges.split()]
    size = max(target for _, target in pairs) + 1
    return [[int((x, y) in pairs) for y in range(size)] for x in range(size)]


# Two cells of the published data set with their hash or number of trainable parameters.
FIRST_EDGES = matrix_of("0-1 0-4 0-5 1-2 2-3 2-6 3-5 4-5 5-6")
FIRST_OPERATIONS = ["input", CONV3, POOL, CONV3, CONV3, CONV1, "output"]
SECOND_EDGES = matrix_of("0-1 0-2 0-3 0-5 1-6 2-6 3-4 4-6 5-6")
SECOND_OPERATIONS = ["input", CONV1, CONV3, CONV3, CONV3, POOL, "output"]


def test_graph_hash_of_the_published_cell() -> None:
    assert graph_hash(FIRST_EDGES, [-1, 0, 2, 0, 0, 1, -2]) == "00005c142e6f48ac74fdcf73e3439874"


@pytest.mark.parametrize(
    ("matrix", "operations", "parameters"),
    [(FIRST_EDGES, FIRST_OPERATIONS, 8_555_530), (SECOND_EDGES, SECOND_OPERATIONS, 2_694_282)],
)
def test_nasbench101_network_has_the_published_parameters(
    matrix: list[list[int]], operations: list[str], parameters: int
) -> None:
    assert nasbench101_network.stacked_network(matrix, operations).parameters == parameters


def test_nasbench201_network_has_the_published_parameters_and_multiply_accumulates() -> None:
    net = nasbench201_network.stacked_network(["nor_conv_3x3"] * 6)
    assert net.parameters == 1_531_546
    # 220.11969 M were published: that is this figure and the ten additions of the last layer's bias.
    assert net.flops == 2 * 220_119_680


def test_nasbench201_network_without_dangling_edges_is_smaller() -> None:
    dangling = ["nor_conv_3x3", "none", "none", "skip_connect", "none", "none"]
    kept = nasbench201_network.stacked_network(dangling, pruned=False)
    cut = nasbench201_network.stacked_network(dangling)
    assert kept.parameters - cut.parameters == 5 * sum(9 * c * c + 2 * c for c in (16, 32, 64))


def test_two_vertex_cell_is_the_projection_alone() -> None:
    net = nasbench101_network.single_cell(matrix_of("0-1"), ["input", "output"], filters=6, input_shape=(4, 4, 3))
    assert [layer.kind for layer in net.layers] == ["input", "conv", "batch_norm", "relu"]
    assert net.parameters == 3 * 6 + 2 * 6


def test_channels_are_shared_with_the_remainder_to_the_first() -> None:
    matrix = matrix_of("0-1 0-2 1-4 2-3 2-4 3-4")
    assert nasbench101_network.vertex_channels(matrix, 128) == {1: 43, 2: 43, 3: 42}
    net = nasbench101_network.single_cell(
        matrix, ["input", CONV3, POOL, CONV1, "output"], filters=128, input_shape=(8, 8, 128)
    )
    assert (net.count("slice_channels"), net.count("add"), net.count("concatenate")) == (1, 0, 1)


def test_pruning_removes_dead_ends_and_orphans() -> None:
    matrix = matrix_of("0-1 0-5 1-2 3-4 4-5")
    assert prune(matrix, [-1, 0, 1, 2, 0, -2]) == ([[0, 1], [0, 0]], [-1, -2])


def test_canonical_cell_is_the_smallest_relabeling() -> None:
    matrix = matrix_of("0-1 0-2 1-3 2-3")
    assert canonical_cell(matrix, [-1, 2, 0, -2]) == (matrix, [-1, 0, 2, -2])
    # A chain of two beside one vertex: of the orders (1,2,3), (1,3,2), (3,1,2) with bits 781, 787, 675 the last wins.
    chain = matrix_of("0-1 1-2 0-3 2-4 3-4")
    assert edge_bits(chain) == 781
    assert canonical_cell(chain, [-1, 0, 1, 2, -2]) == (matrix_of("0-1 0-2 2-3 1-4 3-4"), [-1, 2, 0, 1, -2])


def test_generator_counts_labelled_and_unique_cells() -> None:
    assert sum(1 for _ in labelled_cells(3, 9, 3)) == 7
    assert len(unique_cells(4, 9, 3, graph_hash)) == 91


def test_computation_ignores_order_of_terms_and_layers_but_not_of_branches() -> None:
    shape = (2, 2, 4)
    source = (("input", 0, 1, shape), ())
    pool = (("max_pool", 3, 1, shape), (0,))
    relu = (("relu", 0, 1, shape), (0,))
    add = ("add", 0, 1, shape)
    whole = computation([source, pool, relu, (add, (0, 1, 2))])
    chained = computation([source, relu, pool, (add, (2, 1)), (add, (3, 0))])
    assert whole == chained
    both = ("concatenate", 0, 1, (2, 2, 8))
    assert computation([source, pool, relu, (both, (1, 2))]) != computation([source, pool, relu, (both, (2, 1))])
