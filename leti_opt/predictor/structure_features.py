"""A cell by its structure alone: what tells cells apart where neither a network nor a predictor is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.cells import CellRows, Cells, parts_of, rows_of

Floats = NDArray[np.float64]

_PART = 4096


def structure_features(architectures: Cells) -> tuple[Floats, tuple[str, ...]]:
    """Operations, which feeds which, and size of each pruned cell, ``(cells, features)``, and names ``group/feature``.

    Args:
        architectures: the cells.

    Raises:
        InvalidInputError: something else is among them, labels differ, or there is none.

    >>> from leti_opt.architecture import Architecture
    >>> values, names = structure_features(Architecture.parse("0-1,0-2,1-2:maxpool3x3"))
    >>> {name: int(value) for name, value in zip(names, values[0]) if value}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'counts/maxpool3x3': 1, 'pairs/input-maxpool3x3': 1, 'pairs/input-output': 1, 'pairs/maxpool3x3-output': 1,
     'size/vertices': 3, 'size/edges': 3, 'size/depth': 2}
    """
    rows = rows_of(architectures)
    kinds = ("input", *rows.labels, "output")
    names = [f"counts/{label}" for label in rows.labels]
    names += [f"pairs/{source}-{target}" for source in kinds for target in kinds]
    names += ["size/vertices", "size/edges", "size/depth"]
    values = np.empty((len(rows), len(names)))
    for places, part in parts_of(rows, _PART):
        values[places] = _features(part)
    return values, tuple(names)


def _features(cells: CellRows) -> Floats:
    kinds = _kinds(cells)
    edges = cells.pruned_adjacency.astype(np.float64)
    pairs = kinds.transpose(0, 2, 1) @ edges @ kinds
    size = np.stack([cells.live.sum(axis=1), edges.sum(axis=(1, 2)), _depths(edges > 0)], axis=1)
    return np.hstack([kinds.sum(axis=1)[:, 1:-1], pairs.reshape(len(cells), -1), size])


def _kinds(cells: CellRows) -> Floats:
    """For each live vertex which kind it is of: input, a label's, output."""
    kinds = np.zeros((*cells.live.shape, len(cells.labels) + 2))
    kinds[:, 0, 0] = kinds[:, -1, -1] = 1
    for place in range(len(cells.labels)):
        kinds[:, 1:-1, place + 1] = cells.live[:, 1:-1] & (cells.operations == place)
    return kinds


def _depths(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Edges on the longest path to the output; vertices come after those that feed them."""
    depths = np.zeros(edges.shape[:2], dtype=np.int64)
    for vertex in range(1, edges.shape[1]):
        depths[:, vertex] = np.where(edges[:, :vertex, vertex], depths[:, :vertex] + 1, 0).max(axis=1)
    return depths[:, -1]
