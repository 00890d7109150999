"""Features of a cell's network, by the groups that a latency is thought to be made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import UnknownOperationError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cell_columns import CellColumns, LabelFacts, Numbers, Small, summed
from leti_opt.predictor.cell_hashes import add_hashed_neighbourhoods
from leti_opt.predictor.cell_readings import Sums, Values, Ways, longest_paths, looked_through
from leti_opt.predictor.cell_work import CellWork
from leti_opt.predictor.cells import CellRows, parts_of

CORE_GROUPS = ("counts", "work", "sums", "paths", "activations")
"""What every latency is made of."""
DETAIL_GROUPS = ("pairs", "depths", "neighbourhoods")
"""What may matter, as long as the data say so."""
UNPRUNED_GROUPS = ("unpruned_counts", "unpruned_sums", "dead")
"""The cell as it was handed in."""

_DEEPEST = 5
_PLACES = 256
_PART = 8192


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
    has_work = config.cell_output != "sum" or config.projection is not None
    work = CellWork(cells.labels, config) if has_work else None
    values: Numbers | None = None
    names: list[str] = []
    for places, part in parts_of(cells, _PART):
        columns = CellColumns.of(part)
        _check_known(columns, config)
        reading = _Reading.of(columns, facts, config)
        groups = reading.groups(work)
        names = [f"{group}/{name}" for group, _, own in groups for name in own]
        if values is None:
            values = np.zeros((len(cells), len(names) + _PLACES), dtype=np.float32)
        found = np.zeros((len(part), values.shape[1]), dtype=np.float32)
        start = 0
        for _, own, _ in groups:
            for column in own:
                found[:, start] = column
                start += 1
        add_hashed_neighbourhoods(found[:, start:], reading.ways, reading.kinds())
        values[places] = found
    assert values is not None, "there is a cell"
    return FeatureTable(values, (*names, *(f"neighbourhoods/{place}" for place in range(_PLACES))))


def _check_known(cells: CellColumns, config: NetworkConfig) -> None:
    unknown = np.array([label not in config.operation_table for label in cells.labels])
    if not unknown.any():
        return
    lost = cells.own[:, unknown].any(axis=(0, 2))
    if lost.any():
        label = np.array(cells.labels)[unknown][int(lost.argmax())]
        raise UnknownOperationError(
            f"the network config knows no layers for operation {str(label)!r}; "
            f"{did_you_mean(str(label), config.operation_table)}. Hand your own to NetworkConfig(operations=...)"
        )


Group = tuple[str, Iterable[NDArray[Any]], list[str]]


@dataclass(frozen=True)
class _Reading:
    """What was read off some cells of equal size.

    Args:
        cells: these.
        facts: of their labels.
        config: how they become networks.
        sums: which they compute.
        ways: from vertex to vertex over those that execute nothing.
        working: labels that execute something.
    """

    cells: CellColumns
    facts: LabelFacts
    config: NetworkConfig
    sums: Sums
    ways: Ways
    working: NDArray[np.int64]

    @classmethod
    def of(cls, cells: CellColumns, facts: LabelFacts, config: NetworkConfig) -> _Reading:
        passing = np.zeros_like(cells.live)
        passing[1:-1] = facts.at(~facts.working, cells.operations) & cells.live[1:-1]
        ways = looked_through(cells.edges, passing)
        return cls(cells, facts, config, Sums.of(cells.edges, config), ways, np.flatnonzero(facts.working))

    def groups(self, work: CellWork | None) -> list[Group]:
        """Columns and their names, without the neighbourhoods; work counts where channels differ."""
        cells, labels = self.cells, list(self.cells.labels)
        lengths = self._lengths()
        working = [labels[number] for number in self.working]
        path_names = [f"most_{label}" for label in working] + ["most_working", "most_weighted", "most_heaviness"]
        sum_names = ["additions", "of_two", "of_more", "of_input", *(f"of_{label}" for label in labels)]
        return [
            ("counts", summed(cells.own), labels),
            *([] if work is None else [("work", *work(cells))]),
            ("sums", [*self.sums.counts(), *self._terms()], sum_names),
            ("paths", lengths[:, -1], path_names),
            ("activations", *Values.of(cells, self.facts, self.sums).counts()),
            ("pairs", *self._pairs(working)),
            ("depths", *self._depths(lengths, working)),
            *self._unpruned(labels),
        ]

    def kinds(self) -> Small:
        """A number for each vertex's kind; 0 for those that execute nothing or lead nowhere."""
        kinds = np.zeros_like(self.cells.live)
        kinds[0], kinds[-1] = 1, 2
        kinds[1:-1] = (self.cells.operations + 3) * self.facts.at(self.facts.working, self.cells.operations)
        return kinds * self.cells.live

    def _terms(self) -> list[Small]:
        """What is added up: the input, and results of each operation."""
        feeding = summed((self.cells.edges & (self.sums.terms > 1)).transpose(1, 0, 2))
        return [feeding[0], *summed(feeding[1:-1, np.newaxis] * self.cells.own)]

    def _lengths(self) -> Numbers:
        """Longest ways to each vertex: by each working label, all of them, those with weights, and heaviness."""
        cells, facts = self.cells, self.facts
        weights = np.zeros((len(self.working) + 3, *cells.live.shape), dtype=np.float32)
        inner = weights[:, 1:-1]
        inner[:-3] = cells.own[:, self.working].transpose(1, 0, 2)
        for place, fact in enumerate((facts.working, facts.weighted, facts.heaviness), start=len(self.working)):
            inner[place] = facts.at(fact, cells.operations) * cells.live[1:-1]
        return longest_paths(cells.edges, weights)

    def _depths(self, lengths: Numbers, working: list[str]) -> tuple[list[Small], list[str]]:
        """How many operations of each kind stand at which distance from the input, in working operations."""
        depth = np.minimum(lengths[-3, 1:-1], _DEEPEST).astype(np.uint8)
        own = self.cells.own[:, self.working]
        columns: list[Small] = []
        for at in range(1, _DEEPEST + 1):
            columns.extend(summed((depth == at).view(np.uint8)[:, np.newaxis] & own))
        return columns, [f"{label}_at_{at}" for at in range(1, _DEEPEST + 1) for label in working]

    def _pairs(self, working: list[str]) -> tuple[Iterable[Ways], list[str]]:
        """Which kind of vertex feeds which."""
        vertices, count = self.cells.vertices, self.cells.count
        kinds = len(self.working)
        own = self.cells.own[:, self.working]
        pairs = np.zeros((kinds + 2, kinds + 2, count), dtype=np.uint32)
        for vertex in range(vertices - 1):
            fed = np.zeros((kinds + 2, count), dtype=np.uint32)
            for other in range(vertex + 1, vertices - 1):
                fed[:kinds] += self.ways[vertex, other] * own[other - 1]
            fed[-1] = self.ways[vertex, -1]
            if vertex == 0:
                pairs[-2] += fed
            else:
                for kind in range(kinds):
                    pairs[kind] += fed * own[vertex - 1, kind]
        names = [*working, "input", "output"]
        return pairs.reshape(-1, count), [f"{one}_to_{other}" for one in names for other in names]

    def _unpruned(self, labels: list[str]) -> list[Group]:
        """The cell as it was handed in: what a runtime that prunes nothing executes."""
        cells, sums = self.cells, self.sums
        dead = np.zeros((3, len(labels), cells.count), dtype=np.uint8)
        if not cells.all_live:
            sums = Sums.of(cells.whole, self.config)
            reached, leading = cells.ends
            for state, lacking in enumerate(
                ((1 - reached) & (1 - leading), reached & (1 - leading), (1 - reached) & leading)
            ):
                dead[state] = summed(lacking[:, np.newaxis] & cells.every)
        names = ["off_both_ends", "off_output", "off_input"]
        return [
            ("unpruned_counts", summed(cells.every), labels),
            ("unpruned_sums", sums.counts(), ["additions", "of_two", "of_more"]),
            ("dead", dead.reshape(-1, cells.count), [f"{label}_{name}" for name in names for label in labels]),
        ]
