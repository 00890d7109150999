"""Limits that networks must keep to, and which cells of a table keep to them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.table_cost import TableCost

_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Limits:
    """What a network must keep to; None does not matter.

    Args:
        vertices: of its cell, exactly.
        min_flops, max_flops: operations of one run.
        max_parameters: trainable ones.
        max_memory_bytes: at which its activations peak.
        gpu: rules of :func:`~leti_opt.network.gpu_support.gpu_support` that forecast it to fit a GPU whole.
    """

    vertices: int | None = None
    min_flops: float | None = None
    max_flops: float | None = None
    max_parameters: float | None = None
    max_memory_bytes: float | None = None
    gpu: str | None = None

    @property
    def about_costs(self) -> bool:
        """Whether costs must be known to choose."""
        costs = (self.min_flops, self.max_flops, self.max_parameters, self.max_memory_bytes)
        return any(limit is not None for limit in costs)


def within_limits(
    table: ArchitectureTable, config: NetworkConfig, limits: Limits, costs: bool = False
) -> tuple[NDArray[np.int64], TableCost | None]:
    """Rows of the cells whose networks keep to limits, ascending, and what these cost.

    Args:
        table: the cells.
        config: how they become networks.
        limits: what they must keep to.
        costs: whether costs are wanted though no limit needs them.

    Returns:
        The rows, and their costs; None where nobody needed them.

    Raises:
        InvalidInputError: there are no such rules.

    >>> from leti_opt.architecture import Architecture
    >>> cells = ArchitectureTable.from_architectures(map(Architecture.parse, ["0-1:", "0-1,1-2:maxpool3x3"]))
    >>> rows, cost = within_limits(cells, NetworkConfig.small(), Limits(vertices=3))
    >>> rows.tolist(), cost
    ([1], None)
    """
    rows = np.arange(len(table))
    if limits.vertices is not None:
        rows = rows[table.vertices == limits.vertices]
    if limits.gpu is not None:
        from leti_opt.network.table_gpu_support import gpu_support_mask

        rows = rows[gpu_support_mask(table[rows], config, limits.gpu)]
    if not (costs or limits.about_costs):
        return rows, None
    cost = network_cost(table[rows], config)
    keep = np.ones(len(rows), dtype=bool)
    for values, lowest, highest in (
        (cost.flops, limits.min_flops, limits.max_flops),
        (cost.parameters, None, limits.max_parameters),
        (cost.peak_memory_bytes, None, limits.max_memory_bytes),
    ):
        keep &= (values >= (lowest or 0)) & (values <= (np.inf if highest is None else highest))
    return rows[keep], cost[keep]


def quantity(text: str) -> float:
    """A number with a unit prefix.

    Raises:
        InvalidInputError: it is none.

    >>> quantity("1.5M"), quantity("2MiB"), quantity("3e9")
    (1500000.0, 2097152.0, 3000000000.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([A-Za-z]*)", text.strip())
    if not match or match[2] not in _FACTORS:
        raise InvalidInputError(f"{text!r} is no quantity; write for instance 500M, 2G or 2MiB")
    return float(match[1]) * _FACTORS[match[2]]
