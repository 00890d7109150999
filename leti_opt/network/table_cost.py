"""Costs of a whole table of cells, as ``cost`` has them for one network: equal to the bit, and many times faster.

FLOPs and parameters are sums over vertices (``table_work``). Peak memory needs the networks laid out
(``table_assembly``) and their operators planned (``table_liveness``), once for all rows whose layers differ in weights
only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable, EqualSized
from leti_opt.edge_bits import pack_edges
from leti_opt.errors import InvalidConfigError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.peak_memory import bytes_per_activation, peak_memory_bytes
from leti_opt.network.table_assembly import assemble, steps_without_weights
from leti_opt.network.table_layers import Integers
from leti_opt.network.table_liveness import OperatorColumns, peak_elements, plan_operators
from leti_opt.network.table_work import cell_places, cells_work, channels_of_vertices, projected_vertices

_EDGES = 2**22
"""Possible edges, rows times vertices squared, at a time: memory stays the same however long the table is."""
_VALUES = 2**21
"""Values, layers times rows, that are planned at a time."""
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class TableCost:
    """Costs of the networks of a table, one entry a row.

    Args:
        flops: as in :class:`~leti_opt.network.cost.NetworkCost`, and so the others; int64.
        parameters: see there.
        peak_memory_bytes: see there.
    """

    flops: Integers
    parameters: Integers
    peak_memory_bytes: Integers

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.flops)

    def __getitem__(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer[Any]]) -> TableCost:
        """The costs of some rows: a slice, a mask or positions."""
        return TableCost(self.flops[rows], self.parameters[rows], self.peak_memory_bytes[rows])


def table_cost(table: ArchitectureTable, config: NetworkConfig) -> TableCost:
    """Costs of each row's network; ``cost.network_cost`` is the way to call it.

    Raises:
        InvalidConfigError: the config does not fit a row; the message names the first.
        UnknownOperationError: an operation that the config does not know.
    """
    check_fits(table, config)
    work = np.zeros((len(table), 2), dtype=np.int64)
    peaks = np.zeros(len(table), dtype=np.int64)
    # An int8 file keeps sums of more than two in float32, between conversions that no layer stands for.
    mixed = config.precision == "int8" and not config.chained_adds
    for rows, group in chunks(table):
        work[rows] = cells_work(group, table.labels, config)
        distinct, member = without_weights(group, table.labels, config)
        if mixed:
            peaks[rows] = _peaks_one_by_one(table, rows, member, config)
        else:
            peaks[rows] = _peaks_together(distinct, table.labels, config)[member]
    return TableCost(2 * config.batch_size * work[:, 0], work[:, 1].copy(), peaks)


def _peaks_together(cells: EqualSized, labels: Sequence[str], config: NetworkConfig) -> Integers:
    elements = np.concatenate([peak_elements(part) for part in planned(cells, labels, config)])
    return elements * (config.batch_size * bytes_per_activation(config.precision))


def _peaks_one_by_one(
    table: ArchitectureTable, rows: Integers, member: NDArray[np.intp], config: NetworkConfig
) -> Integers:
    """The slow way, once for all rows that differ in weights only."""
    _, first = np.unique(member, return_index=True)
    graphs = (build_layer_graph(table[int(row)], config) for row in rows[first])
    return np.array([peak_memory_bytes(graph) for graph in graphs], dtype=np.int64)[member]


def chunks(table: ArchitectureTable) -> Iterator[tuple[Integers, EqualSized]]:
    """Parts of a table whose cells have the same number of vertices, with their rows in the table."""
    length = max(1, _EDGES // int(table.vertices.max(initial=2)) ** 2)
    for start in range(0, len(table), length):
        for group in table[start : start + length].by_vertices():
            yield group.rows + start, group


def without_weights(
    cells: EqualSized, labels: Sequence[str], config: NetworkConfig
) -> tuple[EqualSized, NDArray[np.intp]]:
    """Cells that are left once layers with weights are taken for the same, and for each row which of them it is."""
    steps = [steps_without_weights(label, config) for label in labels]
    same = np.array([steps.index(own) for own in steps], dtype=np.uint8)
    return distinct_cells(replace(cells, operations=same[cells.operations]), len(labels))


def distinct_cells(cells: EqualSized, labels: int) -> tuple[EqualSized, NDArray[np.intp]]:
    """Each different cell once, and for each row which of them it is."""
    keys = _packed(cells, labels)
    _, first, member = np.unique(keys, axis=None if keys.ndim == 1 else 0, return_index=True, return_inverse=True)
    return EqualSized(np.arange(len(first)), cells.adjacency[first], cells.operations[first]), member


def _packed(cells: EqualSized, labels: int) -> NDArray[np.uint64] | NDArray[np.uint32]:
    """A number for each cell, or several where 64 bits do not hold it."""
    words = pack_edges(cells.adjacency)
    bits = max(1, (labels - 1).bit_length())
    places = cells.vertices - 2
    if cells.vertices * (cells.vertices - 1) // 2 + bits * places > 64:
        return np.hstack([words, cells.operations.astype(np.uint32)])
    key = words[:, 0].astype(np.uint64)
    for number in range(1, words.shape[1]):
        key |= words[:, number].astype(np.uint64) << np.uint64(32 * number)
    for place in range(places):
        key = key << np.uint64(bits) | cells.operations[:, place]
    return key


def planned(cells: EqualSized, labels: Sequence[str], config: NetworkConfig) -> Iterator[OperatorColumns]:
    """The operators of the cells' networks, in order, as many rows at a time as memory should take."""
    for part in parts(cells, config):
        yield plan_operators(assemble(part, labels, config))


def parts(cells: EqualSized, config: NetworkConfig) -> Iterator[EqualSized]:
    """The cells in order, as many at a time as memory should take once they are laid out."""
    layers = sum(place.cells for place in cell_places(config)) * cells.vertices * (cells.vertices + 3)
    length = max(64, _VALUES // layers)
    for start in range(0, len(cells.rows), length):
        part = slice(start, start + length)
        yield EqualSized(cells.rows[part], cells.adjacency[part], cells.operations[part])


def check_fits(table: ArchitectureTable, config: NetworkConfig) -> None:
    """Refuse a table before any work on it.

    Raises:
        InvalidConfigError: a row's network cannot be built, or sizes are beyond 64 bits.
        UnknownOperationError: an operation that the config does not know.
    """
    unfit = unfit_rows(table, config)
    if unfit.size:
        first = int(unfit[0])
        cell = table[first]
        try:
            build_layer_graph(cell, config)
        except InvalidConfigError as error:
            raise type(error)(f"row {first}, {cell}: {error}") from None
    bound = _bound(int(table.vertices.max(initial=2)), config)
    if bound > _LARGEST:
        raise InvalidConfigError(
            f"costs may reach {bound:.1e}, which 64 bits do not hold; lower filters, stacks, batch_size or input_shape"
        )


def unfit_rows(table: ArchitectureTable, config: NetworkConfig) -> NDArray[np.int64]:
    """Rows whose networks cannot be built, ascending."""
    unfit = [rows[_unfit(group, table.labels, config)] for rows, group in chunks(table)]
    return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *unfit]))


def _unfit(cells: EqualSized, labels: Sequence[str], config: NetworkConfig) -> NDArray[np.bool_]:
    """Rows whose networks cannot be built."""
    table = config.operation_table
    unknown = np.array([label not in table for label in labels])
    unfit = np.zeros(len(cells.rows), dtype=np.bool_)
    unfit |= unknown[cells.operations].any(axis=1)
    if config.cell_output == "concatenate":
        unfit |= cells.adjacency[:, 1:-1, -1].sum(axis=1) > config.filters
    if config.scope == "stacked" and _keeps_channels(config, config.stem) and config.input_shape[2] != config.filters:
        unfit[:] = True
    if _keeps_channels(config, config.projection):
        projected = projected_vertices(cells.adjacency, config)
        for place in cell_places(config):
            other = channels_of_vertices(cells.adjacency, config, place.filters) != place.depth
            unfit |= (projected & other).any(axis=1)
    return unfit


def _keeps_channels(config: NetworkConfig, label: str | None) -> bool:
    """Whether an operation gives as many channels as it gets."""
    steps = () if label is None else config.operation_table[label].steps
    return all(step.kind is not LayerKind.CONV for step in steps)


def _bound(vertices: int, config: NetworkConfig) -> int:
    """More than any cost of such a cell's network, and than any sum on the way."""
    heaviest = max(
        sum(step.kernel_size**2 + 1 for step in operation.steps) for operation in config.operation_table.values()
    )
    deepest = max(config.input_shape[2], config.classes)
    layers = vertices * (vertices + 2 * heaviest)
    return sum(
        4
        * config.batch_size
        * place.image[0]
        * place.image[1]
        * place.filters
        * max(place.filters, deepest)
        * layers
        * (place.cells + 4)
        for place in cell_places(config)
    )
