"""Features of a cell's network, by the groups that a latency is thought to be made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import UnknownOperationError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.network.peak_memory import bytes_per_activation
from leti_opt.network.table_work import CellPlace, cell_places, channels_of_vertices, operation_work, projected_vertices
from leti_opt.predictor.cell_readings import (
    LabelFacts,
    Numbers,
    Sums,
    Values,
    hashed_neighbourhoods,
    longest_paths,
    looked_through,
)
from leti_opt.predictor.cells import CellRows, parts_of

CORE_GROUPS = ("counts", "work", "sums", "paths", "activations")
"""What every latency is made of."""
DETAIL_GROUPS = ("pairs", "depths", "neighbourhoods")
"""What may matter, as long as the data say so."""
UNPRUNED_GROUPS = ("unpruned_counts", "unpruned_sums", "dead")
"""The cell as it was handed in."""

_DEEPEST = 5
_PLACES = 256
_PART = 4096


@dataclass(frozen=True)
class FeatureTable:
    """Features of some cells.

    Args:
        values: float32, ``(cells, features)``.
        names: ``group/feature`` for each column.
    """

    values: Numbers
    names: tuple[str, ...]

    def columns_of(self, *groups: str) -> NDArray[np.int64]:
        """Positions of the columns of these groups."""
        return columns_of(self.names, *groups)


def columns_of(names: tuple[str, ...], *groups: str) -> NDArray[np.int64]:
    """Positions of the names of these groups.

    >>> columns_of(("counts/conv", "sums/additions", "counts/pool"), "counts").tolist()
    [0, 2]
    """
    return np.array([place for place, name in enumerate(names) if name.split("/")[0] in groups], dtype=np.int64)


def kernel_features(cells: CellRows | ArchitectureTable, config: NetworkConfig) -> FeatureTable:
    """Features of each cell's network; columns depend on the labels and the config alone.

    Raises:
        UnknownOperationError: a live vertex has an operation that the config does not know.
    """
    facts = LabelFacts.of(cells.labels, config)
    values: Numbers | None = None
    names: list[str] = []
    for places, part in parts_of(cells, _PART):
        _check_known(part, config)
        found = _features(part, facts, config)
        names = [f"{group}/{name}" for group, _, own in found for name in own]
        if values is None:
            values = np.zeros((len(cells), len(names)), dtype=np.float32)
        values[places] = np.hstack([columns for _, columns, _ in found])
    assert values is not None, "there is a cell"
    return FeatureTable(values, tuple(names))


def _check_known(cells: CellRows, config: NetworkConfig) -> None:
    unknown = np.array([label not in config.operation_table for label in cells.labels])
    if not unknown.any():
        return
    lost = np.append(unknown, False)[np.minimum(cells.operations, len(unknown))] & cells.live[:, 1:-1]
    if lost.any():
        label = cells.labels[int(cells.operations[lost][0])]
        raise UnknownOperationError(
            f"the network config knows no layers for operation {label!r}; "
            f"{did_you_mean(label, config.operation_table)}. Hand your own to NetworkConfig(operations=...)"
        )


Group = tuple[str, Numbers, list[str]]


def _features(cells: CellRows, facts: LabelFacts, config: NetworkConfig) -> list[Group]:
    labels = list(cells.labels)
    adjacency, live = cells.pruned_adjacency, cells.live
    sums = Sums.of(adjacency, config)
    every = one_hot(cells.operations, len(labels))
    own = every if live.all() else every * live[:, 1:-1, np.newaxis]
    working = np.flatnonzero(facts.working)
    sum_counts = np.hstack([sums.counts(), _terms(cells, own, sums)])
    sum_names = ["additions", "of_two", "of_more", "of_input", *(f"of_{label}" for label in labels)]
    passing = np.pad(facts.at(~facts.working, cells.operations), ((0, 0), (1, 1))) & live
    ways = looked_through(adjacency, passing)
    lengths = _lengths(cells, own, facts, working)
    path_names = [f"most_{labels[number]}" for number in working] + ["most_working", "most_weighted", "most_heaviness"]
    values, value_names = Values.of(cells, facts, sums).counts()
    return [
        ("counts", own.sum(axis=1), labels),
        *_work(cells, own, config),
        ("sums", sum_counts, sum_names),
        ("paths", lengths[:, -1].T, path_names),
        ("activations", values, value_names),
        ("pairs", *_pairs(ways, own, working, labels)),
        ("depths", *_depths(lengths, own, working, labels)),
        ("neighbourhoods", *_neighbourhoods(ways, cells, facts)),
        *_unpruned(cells, every, sums, config),
    ]


def one_hot(operations: NDArray[np.uint8], labels: int) -> Numbers:
    """1 where a vertex has an operation, ``(cells, vertices - 2, labels)``."""
    same: Numbers = (operations[:, :, np.newaxis] == np.arange(labels, dtype=np.uint8)).astype(np.float32)
    return same


def _terms(cells: CellRows, own: Numbers, sums: Sums) -> Numbers:
    """What is added up: the input, and results of each operation."""
    adjacency = cells.pruned_adjacency.astype(np.float32)
    feeding = np.matmul(adjacency, (sums.terms > 1)[:, :, np.newaxis].astype(np.float32))[:, :, 0]
    by_label = np.matmul(feeding[:, np.newaxis, 1:-1], own)[:, 0]
    return np.hstack([feeding[:, :1], by_label])


def _work(cells: CellRows, own: Numbers, config: NetworkConfig) -> list[Group]:
    """Multiply-accumulates and bytes of each operation, where channels differ from vertex to vertex."""
    if config.cell_output == "sum" and config.projection is None:
        return []
    count, adjacency = len(cells.labels), cells.pruned_adjacency
    projected = projected_vertices(adjacency, config)
    operations = np.minimum(cells.operations, count)
    element = bytes_per_activation(config.precision)
    channels = {place.filters: channels_of_vertices(adjacency, config, place.filters) for place in cell_places(config)}
    work = np.zeros((len(cells), 2 * count + 4))
    for place in cell_places(config):
        here, area = channels[place.filters], place.cells * place.image[0] * place.image[1]
        inner = here[:, 1:-1]
        macs, projection_macs = _macs_by_channels(cells.labels, config, place)
        work[:, :count] += place.cells * np.matmul(macs[operations, inner][:, np.newaxis], own)[:, 0]
        work[:, count:-4] += area * element * np.matmul(inner[:, np.newaxis].astype(np.float32), own)[:, 0]
        work[:, -4] += place.cells * (projection_macs[here] * projected).sum(axis=1)
        work[:, -3] += area * element * (here * projected).sum(axis=1)
        if config.cell_output == "concatenate":
            work[:, -2] += place.cells * _slices(adjacency, here)
    work[:, -1] = projected.sum(axis=1)
    names = [f"macs_{label}" for label in cells.labels] + [f"bytes_{label}" for label in cells.labels]
    return [("work", work.astype(np.float32), [*names, "macs_projection", "bytes_projection", "slices", "projections"])]


def _macs_by_channels(
    labels: tuple[str, ...], config: NetworkConfig, place: CellPlace
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Multiply-accumulates of each operation for each number of channels, and those of the projection."""
    channels = np.arange(place.filters + 1)
    macs = np.zeros((len(labels) + 1, len(channels)))
    for number, label in enumerate(labels):
        if label in config.operation_table:
            macs[number] = operation_work(config.operation_table[label], channels, channels, place.image)[:, 0]
    projection = np.zeros(len(channels))
    if config.projection is not None:
        operation = config.operation_table[config.projection]
        projection[:] = operation_work(operation, place.depth, channels, place.image)[:, 0]
    return macs, projection


def _slices(adjacency: NDArray[np.int8], channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges between inner vertices at which channels are cut off, for each cell."""
    found = np.zeros(len(adjacency), dtype=np.int64)
    for target in range(2, adjacency.shape[1] - 1):
        for source in range(1, target):
            found += (adjacency[:, source, target] > 0) & (channels[:, source] > channels[:, target])
    return found


def _lengths(cells: CellRows, own: Numbers, facts: LabelFacts, working: NDArray[np.int64]) -> Numbers:
    """Longest ways to each vertex: by each working label, by all of them, by those with weights, and by heaviness."""
    kinds = np.zeros((len(working) + 3, own.shape[2]), dtype=np.float32)
    kinds[np.arange(len(working)), working] = 1
    kinds[-3:] = facts.working, facts.weighted, facts.heaviness
    weights = np.zeros((len(kinds), cells.adjacency.shape[1], len(cells)), dtype=np.float32)
    weights[:, 1:-1] = np.tensordot(kinds, own, axes=(1, 2)).transpose(0, 2, 1)
    return longest_paths(cells.pruned_adjacency, weights)


def _depths(lengths: Numbers, own: Numbers, working: NDArray[np.int64], labels: list[str]) -> tuple[Numbers, list[str]]:
    """How many operations of each kind stand at which distance from the input, in working operations."""
    depth = np.minimum(lengths[-3, 1:-1].T, _DEEPEST)
    at_depth = (depth[:, :, np.newaxis] == np.arange(1, _DEEPEST + 1)).astype(np.float32)
    counts = np.matmul(at_depth.transpose(0, 2, 1), own[:, :, working])
    names = [f"{labels[number]}_at_{at}" for at in range(1, _DEEPEST + 1) for number in working]
    return counts.reshape(len(own), -1), names


def _pairs(ways: Numbers, own: Numbers, working: NDArray[np.int64], labels: list[str]) -> tuple[Numbers, list[str]]:
    """Which kind of vertex feeds which."""
    kinds = np.zeros((*ways.shape[:2], len(working) + 2), dtype=np.float32)
    kinds[:, 1:-1, :-2] = own[:, :, working]
    kinds[:, 0, -2] = kinds[:, -1, -1] = 1
    counts = np.matmul(kinds.transpose(0, 2, 1), np.matmul(ways, kinds))
    names = [*(labels[number] for number in working), "input", "output"]
    return counts.reshape(len(ways), -1), [f"{one}_to_{other}" for one in names for other in names]


def _neighbourhoods(ways: Numbers, cells: CellRows, facts: LabelFacts) -> tuple[Numbers, list[str]]:
    kinds = np.zeros(ways.shape[:2], dtype=np.int64)
    kinds[:, 1:-1] = facts.at(facts.working, cells.operations) * (cells.operations.astype(np.int64) + 3)
    kinds *= cells.live
    kinds[:, 0], kinds[:, -1] = 1, 2
    return hashed_neighbourhoods(ways, kinds, _PLACES), [str(place) for place in range(_PLACES)]


def _unpruned(cells: CellRows, every: Numbers, sums: Sums, config: NetworkConfig) -> list[Group]:
    """The cell as it was handed in: what a runtime that prunes nothing executes."""
    labels = list(cells.labels)
    reached, leading = cells.ends
    dead = np.zeros((3, len(cells), len(labels)), dtype=np.float32)
    if not cells.live.all():
        sums = Sums.of(cells.adjacency, config)
        for state, lacking in enumerate((~reached & ~leading, reached & ~leading, ~reached & leading)):
            dead[state] = np.matmul(lacking[:, np.newaxis].astype(np.float32), every)[:, 0]
    names = ["off_both_ends", "off_output", "off_input"]
    return [
        ("unpruned_counts", every.sum(axis=1), labels),
        ("unpruned_sums", sums.counts(), ["additions", "of_two", "of_more"]),
        ("dead", np.hstack(list(dead)), [f"{label}_{name}" for name in names for label in labels]),
    ]
