"""Which cells a campaign measures, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.campaign.sections import Cells, Filter
from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.network.limits import within_limits
from leti_opt.network.table_cost import TableCost
from leti_opt.search_space.enumeration import enumerate_architectures
from leti_opt.search_space.named import named_space
from leti_opt.table_columns import NO_OPERATION

FLOPS_RANGES = 10
MEMORY_RANGES = 5
"""A stratified sample takes equal shares of so many ranges of FLOPs, each cut into so many of memory."""


def chosen_cells(definition: CampaignDefinition) -> ArchitectureTable:
    """The cells of a campaign, in the order in which they are measured: a shuffle by the campaign's seed.

    Any first part of them is a fair sample of the whole, and a device's drift does not line up with size.

    Raises:
        InvalidInputError: no such space or rules, no cell that keeps to the filter, or fewer than the sample.
        TableFileError: the table cannot be read.
        AccuracyFileError: the accuracies cannot be read.
    """
    table = _all_cells(definition.cells)
    config = definition.configs[0]
    for each in definition.configs:
        _check_operations(table, each)
    rows, cost = _filtered(table, config, definition.cells)
    if not len(rows):
        raise InvalidInputError(f"none of the {len(table):,} cells keeps to cells.filter; loosen it")
    wanted = definition.cells.sample
    if wanted is not None and wanted > len(rows):
        raise InvalidInputError(
            f"cells.sample is {wanted:,}, and only {len(rows):,} of {len(table):,} cells keep to cells.filter; "
            f"write {len(rows)} or less"
        )
    random = np.random.default_rng(definition.seed)
    if wanted is None or definition.cells.method == "random":
        rows = rows[random.permutation(len(rows))[:wanted]]
    else:
        assert cost is not None
        rows = rows[random.permutation(stratified(cost, wanted, random))]
    if 2 * len(rows) > len(table):
        _ = table.graph_digests  # kept with the space; those of a shuffle would be computed again by every command
    chosen: ArchitectureTable = table[rows]
    return chosen


def _check_operations(table: ArchitectureTable, config: NetworkConfig) -> None:
    used = np.unique(table.operations[table.operations != NO_OPERATION])
    for label in (table.labels[place] for place in used.tolist()):
        if label not in config.operation_table:
            raise InvalidInputError(
                f"cells have the operation {label!r}, for which the network {config.digest[:12]} knows no layers; "
                f"{did_you_mean(label, config.operation_table)}"
            )


def stratified(cost: TableCost, wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Places of a sample with equal shares of every range of FLOPs and, in each, of memory.

    Ranges hold equally many networks. A range that has fewer than its share gives all it has, and the others more.

    Args:
        cost: of the networks.
        wanted: how many; not more than there are.
        random: draws within a range.

    Returns:
        The places, ascending.
    """
    members = _ranges(cost)
    for places in members:
        random.shuffle(places)
    shares = _shares([len(places) for places in members], wanted, random)
    return np.sort(np.concatenate([places[:share] for places, share in zip(members, shares, strict=True)]))


def _ranges(cost: TableCost) -> list[NDArray[np.int64]]:
    """Places of the networks of each range."""
    by_flops = np.argsort(cost.flops, kind="stable")
    found: list[NDArray[np.int64]] = []
    for places in np.array_split(by_flops, FLOPS_RANGES):
        by_memory = places[np.argsort(cost.peak_memory_bytes[places], kind="stable")]
        found += [part.copy() for part in np.array_split(by_memory, MEMORY_RANGES) if len(part)]
    return found


def _shares(sizes: list[int], wanted: int, random: np.random.Generator) -> list[int]:
    """How many each range gives: as equal as their sizes allow, what is left over to ranges drawn by lot."""
    shares = [0] * len(sizes)
    while (left := wanted - sum(shares)) > 0:
        room = [place for place, size in enumerate(sizes) if shares[place] < size]
        each, rest = divmod(left, len(room))
        lucky = set(random.permutation(room)[:rest].tolist())
        for place in room:
            shares[place] = min(sizes[place], shares[place] + each + (place in lucky))
    return shares


def _all_cells(cells: Cells) -> ArchitectureTable:
    if cells.table is not None:
        return _distinct(ArchitectureTable.load(cells.table))
    return enumerate_architectures(named_space(cells.space, cells.max_vertices, cells.max_edges, cells.operations))


def _distinct(table: ArchitectureTable) -> ArchitectureTable:
    """Each cell once, where it stands first."""
    columns = (table.vertices[:, None], table.edge_words.view(np.uint8), table.operations)
    _, first = np.unique(np.hstack(columns), axis=0, return_index=True)
    found: ArchitectureTable = table if len(first) == len(table) else table[np.sort(first)]
    return found


def _filtered(
    table: ArchitectureTable, config: NetworkConfig, cells: Cells
) -> tuple[NDArray[np.int64], TableCost | None]:
    needs_costs = cells.sample is not None and cells.method == "stratified"
    rows, cost = within_limits(table, config, cells.filter.limits, needs_costs)
    if cells.filter.min_accuracy is None:
        return rows, cost
    keep = _accurate(table[rows], cells.filter)
    return rows[keep], None if cost is None else cost[keep]


def _accurate(table: ArchitectureTable, chosen: Filter) -> NDArray[np.bool_]:
    """Cells of which the file says enough accuracy; those that it does not hold are left out."""
    from leti_opt.accuracy.nasbench101 import NasBench101Accuracies

    assert chosen.accuracy is not None
    accuracies = NasBench101Accuracies.load(chosen.accuracy).of(table, epochs=chosen.epochs)
    return np.nan_to_num(accuracies, nan=-1.0) >= float(chosen.min_accuracy or 0)
