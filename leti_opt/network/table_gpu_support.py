"""The forecast of ``gpu_support`` for a whole table of cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.gpu_rules import rule_set
from leti_opt.network.gpu_support import gpu_support
from leti_opt.network.table_cost import check_fits, chunks, planned, without_weights
from leti_opt.network.table_liveness import operator_kinds


def gpu_support_mask(
    table: ArchitectureTable, config: NetworkConfig, rules: str = "tflite-current"
) -> NDArray[np.bool_]:
    """Rows whose whole network a phone's GPU delegate is forecast to take.

    Within a config, rules tell networks of ours apart by the kinds of their operators alone: whatever their channels
    and images, all of them have tensors of the same type and number of dimensions. So one network is asked about for
    each set of kinds that occurs.

    Args:
        table: the cells.
        config: how they become networks.
        rules: as for :func:`~leti_opt.network.gpu_support.gpu_support`.

    Raises:
        InvalidInputError: no such rules.
        InvalidConfigError: the config does not fit a cell.

    >>> from leti_opt.architecture import Architecture
    >>> cells = ["0-1:", "0-1,0-2,0-3,1-3,2-3,3-4:conv1x1-bn-relu,conv1x1-bn-relu,maxpool3x3"]
    >>> table = ArchitectureTable.from_architectures(map(Architecture.parse, cells))
    >>> gpu_support_mask(table, NetworkConfig.small(chained_adds=False)).tolist()
    [True, False]
    """
    rule_set(rules)
    check_fits(table, config)
    verdicts: dict[int, bool] = {}
    mask = np.zeros(len(table), dtype=np.bool_)
    for rows, group in chunks(table):
        distinct, member = without_weights(group, table.labels, config)
        kinds = np.concatenate([operator_kinds(part) for part in planned(distinct, table.labels, config)])[member]
        found, first = np.unique(kinds, return_index=True)
        for one, row in zip(found.tolist(), rows[first].tolist(), strict=True):
            if one not in verdicts:
                verdicts[one] = gpu_support(build_layer_graph(table[row], config), rules).supported
        mask[rows] = np.isin(kinds, [one for one in found.tolist() if verdicts[one]])
    return mask
