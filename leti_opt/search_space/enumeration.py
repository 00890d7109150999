"""Every unique cell of a search space."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.edge_bits import pack_edges, unpack_edges, words_for
from leti_opt.errors import InvalidDefinitionError, SpaceSizeWarning, SpaceTooLargeError
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition
from leti_opt.search_space.size import estimate_size, largest_size, real_operations, remedy
from leti_opt.search_space.structures import (
    MOST_MASK_VERTICES,
    Permutation,
    canonical_masks,
    smallest_connected,
    symmetries,
)
from leti_opt.search_space.table_cache import through_cache
from leti_opt.table_columns import NO_OPERATION

# With operations on edges. The one lowered cell of seven nodes with all edges takes most of a minute to be put into
# canonical order, and there are thousands with fewer edges.
_MOST_NODES = 6


def enumerate_architectures(definition: SpaceDefinition = NAS_BENCH_101, cache: bool = True) -> ArchitectureTable:
    """Every unique cell of a definition: pruned, in canonical order, each once.

    Rows ascend by (number of vertices, edge bits as a number, positions of the operations in ``definition.labels`` from
    the first vertex on). So the table is the same on every machine. Cells are told apart by their canonical form, never
    by their hash.

    Args:
        definition: with operations on vertices, or on edges; then a native cell that nothing leads through is no row,
            and native cells that prune to the same cell share one.
        cache: whether the table of a preset (``NAS_BENCH_101``, ``NAS_BENCH_201``) is kept in the user's cache folder,
            with its hashes once they are computed. The environment variable ``LETI_CACHE_DIR`` names another folder.

    Raises:
        InvalidDefinitionError: it is no SpaceDefinition.
        SpaceTooLargeError: it cannot fit into the memory that is available, or its cells have more than 11 vertices
            (6 nodes with operations on edges).

    Warns:
        SpaceSizeWarning: it may not fit.
        TableCacheWarning: the cache cannot be used, or held a damaged file.

    >>> table = enumerate_architectures(SpaceDefinition("tiny", ("conv", "pool"), max_vertices=4))
    >>> len(table), str(table[0]), str(table[-1])
    (43, '0-1::conv,pool', '0-1,0-2,0-3,1-2,1-3,2-3:pool,pool:conv,pool')
    """
    if not isinstance(definition, SpaceDefinition):
        raise InvalidDefinitionError(f"a SpaceDefinition such as NAS_BENCH_101 is needed, not {definition!r}")
    if cache and definition in (NAS_BENCH_101, NAS_BENCH_201):
        return through_cache(definition, lambda: _enumerated(definition))
    return _enumerated(definition)


def _enumerated(definition: SpaceDefinition) -> ArchitectureTable:
    _check_size(definition)
    structures = _vertex_structures(definition) if definition.operation_on == "vertex" else _edge_structures(definition)
    choices = real_operations(definition)
    parts = [_labelled(adjacency, choices) for adjacency in structures]
    largest = max(operations.shape[1] + 2 for _, operations in parts)
    rows = sum(len(operations) for _, operations in parts)
    vertices = np.empty(rows, dtype=np.uint8)
    edge_words = np.zeros((rows, words_for(largest)), dtype=np.uint32)
    all_operations = np.full((rows, largest - 2), NO_OPERATION, dtype=np.uint8)
    start = 0
    for words, operations in parts:
        end = start + len(operations)
        vertices[start:end] = operations.shape[1] + 2
        edge_words[start:end, : words.shape[1]] = words
        all_operations[start:end, : operations.shape[1]] = operations
        start = end
    return ArchitectureTable.trusted(vertices, edge_words, all_operations, definition.labels)


def _check_size(definition: SpaceDefinition) -> None:
    """Refuse or warn of a space that does not fit, before any work."""
    import psutil

    if len(definition.labels) > NO_OPERATION:
        raise SpaceTooLargeError(
            f"{definition.name} has {len(definition.labels)} operations; a table holds {NO_OPERATION}; leave some out"
        )
    size = estimate_size(definition)
    available = psutil.virtual_memory().available
    needs = f"{definition.name} has at least {_rounded(size.cells_at_least)} cells, which take at least"
    if size.bytes_at_least > available:
        raise SpaceTooLargeError(
            f"{needs} {_gigabytes(size.bytes_at_least)}; {_gigabytes(available)} are available; {remedy(definition)}"
        )
    _check_widths(definition)
    if size.bytes_at_most > available:
        warnings.warn(
            f"{needs} {_gigabytes(size.bytes_at_least)} and at most {_gigabytes(size.bytes_at_most)}; "
            f"{_gigabytes(available)} are available; if memory runs out, {remedy(definition)}",
            SpaceSizeWarning,
            stacklevel=4,
        )


def _check_widths(definition: SpaceDefinition) -> None:
    """Refuse cells that are too large to enumerate, however few there are."""
    nodes = largest_size(definition)
    most = MOST_MASK_VERTICES if definition.operation_on == "vertex" else _MOST_NODES
    if nodes > most:
        raise SpaceTooLargeError(
            f"the cells of {definition.name} have up to {nodes} vertices; {most} can be enumerated; "
            f"{remedy(definition)}"
        )


def _rounded(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"10^{len(str(count)) - 1}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 10**18 else f"10^{len(str(count)) - 10} GB"


def _vertex_structures(definition: SpaceDefinition) -> Iterator[NDArray[np.int8]]:
    """Adjacency of all structures of each size, in canonical order, ascending."""
    for vertices in range(2, largest_size(definition) + 1):
        yield _adjacency(vertices, definition.edge_limit)


def _adjacency(vertices: int, edge_limit: int) -> NDArray[np.int8]:
    masks = canonical_masks(vertices, edge_limit)
    return unpack_edges(masks.astype("<u8").view("<u4").reshape(-1, 2), vertices)


def _edge_structures(definition: SpaceDefinition) -> Iterator[NDArray[np.int8]]:
    """The same for cells with operations on edges: what native cells without useless edges are lowered to.

    Native cells that differ only in their nodes' order are lowered to the same cell, so those in canonical order are
    enough; and a lowered cell tells its native one but for this order, so that none comes twice.
    """
    by_size: dict[int, list[NDArray[np.int8]]] = {}
    for nodes in range(2, definition.max_vertices + 1):
        pattern = SpaceDefinition("pattern", ("there", "absent"), nodes, operation_on="edge", absent="absent")
        if definition.absent is None and nodes < definition.max_vertices:
            continue
        everything = np.triu(np.ones((1, nodes, nodes), dtype=np.int8), 1)
        natives = everything if definition.absent is None else _adjacency(nodes, nodes * (nodes - 1) // 2)
        for native in natives:
            names = ["there" if native[x, y] else "absent" for x, y in pattern.edges]
            lowered = pattern.lower(names).canonical().adjacency
            by_size.setdefault(len(lowered), []).append(lowered)
    for size in sorted(by_size):
        adjacency = np.stack(by_size[size])
        yield adjacency[np.lexsort(pack_edges(adjacency).T)]


def _labelled(adjacency: NDArray[np.int8], choices: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Edge words and operations of every cell with one of these structures.

    Of the labelings that a structure's automorphisms lead to each other, the smallest is kept.
    """
    known: dict[tuple[Permutation, ...], NDArray[np.uint8]] = {}
    inner = adjacency.shape[1] - 2
    operations = []
    for generators in symmetries(adjacency):
        if generators not in known:
            known[generators] = _labelings(inner, choices, generators)
        operations.append(known[generators])
    words = np.repeat(pack_edges(adjacency), [len(rows) for rows in operations], axis=0)
    return words, np.concatenate(operations)


def _labelings(inner: int, choices: int, generators: tuple[Permutation, ...]) -> NDArray[np.uint8]:
    """Operations of the inner vertices, ascending, without those that automorphisms make of smaller ones."""
    places = [choices**place for place in reversed(range(inner))]
    codes = np.arange(choices**inner)
    labels = np.empty((len(codes), inner), dtype=np.uint8)
    for vertex, place in enumerate(places):
        labels[:, vertex] = codes // place % choices
    moved = []
    for generator in generators:
        other = np.zeros_like(codes)
        for vertex, place in enumerate(places):
            other += labels[:, generator[vertex]].astype(np.int64) * place
        moved.append(other)
    return labels[smallest_connected(len(codes), moved)]
