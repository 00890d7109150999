"""Which few cells to measure on a new device, so that they tell much about all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells, rows_of
from leti_opt.predictor.kernel_features import CORE_GROUPS, UNPRUNED_GROUPS, columns_of, kernel_features
from leti_opt.predictor.space_filling import farthest_first, standardized_points


def spread_cells(cells: Cells, network: NetworkConfig, count: int) -> NDArray[np.int64]:
    """Rows of cells that lie far from each other, by what a runtime executes; dead ends are looked at too.

    The first is the one nearest to the mean of all, each next one the farthest from those before.

    Args:
        cells: that may be measured.
        network: how they become networks.
        count: how many to choose.

    Raises:
        InvalidInputError: there are fewer cells than that.

    >>> from leti_opt import NAS_BENCH_101, enumerate_architectures
    >>> cells = enumerate_architectures(NAS_BENCH_101)[:50]
    >>> len(set(spread_cells(cells, NetworkConfig.small(), 10).tolist()))
    10
    """
    rows = rows_of(cells)
    if not 0 < count <= len(rows):
        raise InvalidInputError(f"{count} of {len(rows)} cells cannot be chosen; ask for 1 to {len(rows)}")
    found = kernel_features(rows, network)
    columns = columns_of(found.names, *CORE_GROUPS, *UNPRUNED_GROUPS)
    points = standardized_points(found.values[:, columns], tuple(found.names[column] for column in columns))
    return farthest_first(points, count, first=int((points * points).sum(axis=1).argmin()))
