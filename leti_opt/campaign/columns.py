"""A table of cells as Arrow columns: hash, text, adjacency and operations, as the LETI paper's data set has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import INPUT, OUTPUT
from leti_opt.architecture_table import ArchitectureTable

if TYPE_CHECKING:
    import pyarrow as pa


def cell_columns(table: ArchitectureTable) -> dict[str, pa.Array]:
    """Columns of a table's cells, in its order.

    ``adjacency`` is a list of rows of 0 and 1, ``operations`` the list of the vertices' operations, input and output
    included; ``cell`` says the same in one text, which ``Architecture.parse`` reads.

    >>> from leti_opt.architecture import Architecture
    >>> columns = cell_columns(ArchitectureTable.from_architectures([Architecture.parse("0-1,1-2:maxpool3x3")]))
    >>> columns["adjacency"][0].as_py(), columns["operations"][0].as_py(), columns["cell"][0].as_py()
    ([[0, 1, 0], [0, 0, 1], [0, 0, 0]], ['input', 'maxpool3x3', 'output'], '0-1,1-2:maxpool3x3')
    """
    import pyarrow as pa

    hexadecimal = np.ascontiguousarray(table.graph_digests).tobytes().hex()
    places: list[NDArray[np.int64]] = []
    texts, adjacencies, operations = [], [], []
    for group in table.by_vertices():
        places.append(group.rows)
        texts.append(_texts(group.adjacency, group.operations, table.labels))
        adjacencies.append(_matrices(group.adjacency))
        operations.append(_names(group.operations, table.labels))
    order = np.argsort(np.concatenate(places)) if places else np.zeros(0, dtype=np.int64)

    def joined(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
        return pa.concat_arrays(parts).take(pa.array(order)) if parts else pa.array([], type=kind)

    names = pa.list_(pa.string())
    return {
        "graph_hash": pa.array([hexadecimal[start : start + 32] for start in range(0, len(hexadecimal), 32)]),
        "cell": joined(texts, pa.string()),
        "adjacency": joined(adjacencies, pa.list_(pa.list_(pa.int8()))),
        "operations": joined(operations, names),
    }


def _matrices(adjacency: NDArray[np.int8]) -> pa.Array:
    import pyarrow as pa

    cells, size, _ = adjacency.shape
    values = pa.array(np.ascontiguousarray(adjacency, dtype=np.int8).reshape(-1))
    rows = pa.ListArray.from_arrays(pa.array(np.arange(cells * size + 1, dtype=np.int32) * size), values)
    return pa.ListArray.from_arrays(pa.array(np.arange(cells + 1, dtype=np.int32) * size), rows)


def _names(operations: NDArray[np.uint8], labels: tuple[str, ...]) -> pa.Array:
    import pyarrow as pa

    cells, inner = operations.shape
    whole = np.empty((cells, inner + 2), dtype=np.int32)
    whole[:, 0], whole[:, -1] = len(labels), len(labels) + 1
    whole[:, 1:-1] = operations
    known = pa.array([*labels, INPUT, OUTPUT])
    offsets = pa.array(np.arange(cells + 1, dtype=np.int32) * (inner + 2))
    return pa.ListArray.from_arrays(offsets, known.take(pa.array(whole.reshape(-1))))


def _texts(adjacency: NDArray[np.int8], operations: NDArray[np.uint8], labels: tuple[str, ...]) -> pa.Array:
    """The cells' texts; each distinct matrix and each distinct list of operations is put into words once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = adjacency.shape[1]
    matrices, which = np.unique(np.packbits(adjacency.reshape(len(adjacency), -1), axis=1), axis=0, return_inverse=True)
    unpacked = np.unpackbits(matrices, axis=1, count=size * size).reshape(-1, size, size)
    edges = pa.array([",".join(f"{x}-{y}" for x, y in zip(*np.nonzero(one), strict=True)) for one in unpacked])
    lists, chosen = np.unique(operations, axis=0, return_inverse=True)
    names = pa.array([",".join(labels[place] for place in row) for row in lists])
    return pc.binary_join_element_wise(
        edges.take(pa.array(which.reshape(-1))), names.take(pa.array(chosen.reshape(-1))), ":"
    )
