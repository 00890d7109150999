"""Multiply-accumulates and bytes of each operation of a cell, where channels differ from vertex to vertex.

They depend on the edges and the operations; what depends on the edges is worked out once for each different set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.edge_bits import pack_edges
from leti_opt.network.config import NetworkConfig
from leti_opt.network.peak_memory import bytes_per_activation
from leti_opt.network.table_work import CellPlace, cell_places, channels_of_vertices, operation_work, projected_vertices
from leti_opt.predictor.cell_columns import CellColumns

Floats = NDArray[np.float64]
Edges = NDArray[np.int8]


class CellWork:
    """Works it out for cells of these labels; what depends on neither edges nor cells is looked up.

    Args:
        labels: names of the operations.
        config: how cells become networks.
    """

    def __init__(self, labels: tuple[str, ...], config: NetworkConfig) -> None:
        self.labels, self.config = labels, config
        self.by_channels = [(place, *_macs_by_channels(labels, config, place)) for place in cell_places(config)]

    def __call__(self, cells: CellColumns) -> tuple[Floats, list[str]]:
        """For each operation its work and its results' bytes, then those of projections; ``(columns, cells)``, names.

        Args:
            cells: what is looked at.
        """
        labels = self.labels
        work = np.zeros((2 * len(labels) + 4, cells.count))
        adjacency, member = different_edges(np.ascontiguousarray(cells.edges.transpose(2, 0, 1)).view(np.int8))
        by_edges = self._by_edges(adjacency)
        for vertex in range(cells.vertices - 2):
            written = by_edges.written[vertex].take(member)
            for number in range(len(labels)):
                own = cells.own[vertex, number]
                work[number] += own * by_edges.macs[number, vertex].take(member)
                work[len(labels) + number] += own * written
        work[-4:] = by_edges.projections[:, member]
        names = [f"macs_{label}" for label in labels] + [f"bytes_{label}" for label in labels]
        return work, [*names, "macs_projection", "bytes_projection", "slices", "projections"]

    def _by_edges(self, adjacency: Edges) -> _WorkByEdges:
        """Summed up over all places of the network."""
        config = self.config
        projected = projected_vertices(adjacency, config)
        element = bytes_per_activation(config.precision)
        inner = adjacency.shape[1] - 2
        macs, written = np.zeros((len(self.labels), inner, len(adjacency))), np.zeros((inner, len(adjacency)))
        projections = np.zeros((4, len(adjacency)))
        channels = {
            filters: channels_of_vertices(adjacency, config, filters)
            for filters in {place.filters for place, _, _ in self.by_channels}
        }
        for place, by_label, by_projection in self.by_channels:
            here = channels[place.filters]
            area = place.cells * place.image[0] * place.image[1] * element
            macs += place.cells * by_label[:, here[:, 1:-1].T]
            written += area * here[:, 1:-1].T
            projections[0] += place.cells * (by_projection[here] * projected).sum(axis=1)
            projections[1] += area * (here * projected).sum(axis=1)
            if config.cell_output == "concatenate":
                projections[2] += place.cells * _slices(adjacency, here)
        projections[3] = projected.sum(axis=1)
        return _WorkByEdges(macs, written, projections)


def different_edges(adjacency: Edges) -> tuple[Edges, NDArray[np.int64]]:
    """Each different set of edges once, and which of them each cell has.

    >>> edges, member = different_edges(np.array([[[0, 1], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=np.int8))
    >>> len(edges), member.tolist()
    (2, [1, 0, 1])
    """
    words = pack_edges(adjacency)
    key: NDArray[Any] = words[:, 0] if words.shape[1] == 1 else words
    axis = None if words.shape[1] == 1 else 0
    _, first, member = np.unique(key, axis=axis, return_index=True, return_inverse=True)
    return adjacency[first], member.reshape(-1)


@dataclass(frozen=True)
class _WorkByEdges:
    """What depends on a cell's edges.

    Args:
        macs: of each operation, did it stand at an inner vertex; ``(labels, vertices - 2, sets of edges)``.
        written: bytes of each inner vertex's result.
        projections: their multiply-accumulates and bytes; where channels are cut off; how many projections.
    """

    macs: Floats
    written: Floats
    projections: Floats


def _macs_by_channels(labels: tuple[str, ...], config: NetworkConfig, place: CellPlace) -> tuple[Floats, Floats]:
    """Multiply-accumulates of each operation for each number of channels, and those of the projection."""
    channels = np.arange(place.filters + 1)
    macs = np.zeros((len(labels), len(channels)))
    for number, label in enumerate(labels):
        if label in config.operation_table:
            macs[number] = operation_work(config.operation_table[label], channels, channels, place.image)[:, 0]
    projection = np.zeros(len(channels))
    if config.projection is not None:
        operation = config.operation_table[config.projection]
        projection[:] = operation_work(operation, place.depth, channels, place.image)[:, 0]
    return macs, projection


def _slices(adjacency: Edges, channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges between inner vertices at which channels are cut off, for each cell."""
    found = np.zeros(len(adjacency), dtype=np.int64)
    for target in range(2, adjacency.shape[1] - 1):
        for source in range(1, target):
            found += (adjacency[:, source, target] > 0) & (channels[:, source] > channels[:, target])
    return found
