"""One figure of the repeats of a training, of many cells at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, did_you_mean

STATISTICS = ("mean", "median", "min", "max")
"""How the repeats of a training become one figure."""


def over_repeats(figures: NDArray[np.floating[Any]], statistic: str) -> NDArray[np.float64]:
    """One figure of the repeats that are there.

    Args:
        figures: ``(repeats, cells)``, NaN where a repeat is missing.
        statistic: one of :data:`STATISTICS`.

    Returns:
        A figure for each cell, NaN where no repeat is there.

    Raises:
        InvalidInputError: an unknown statistic.

    >>> over_repeats(np.array([[0.75, np.nan], [np.nan, np.nan], [0.25, np.nan]]), "mean")
    array([0.5, nan])
    """
    checked_statistic(statistic)
    ordered = np.sort(figures.astype(np.float64), axis=0)  # NaN comes last
    counts = (~np.isnan(ordered)).sum(axis=0)
    if statistic == "mean":
        total = np.where(np.isnan(ordered), 0.0, ordered).sum(axis=0)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)
    last = np.maximum(counts - 1, 0)
    ranks = {"min": (0 * last, 0 * last), "max": (last, last), "median": (last // 2, counts // 2)}
    low, high = (np.take_along_axis(ordered, rank[None], axis=0)[0] for rank in ranks[statistic])
    middle: NDArray[np.float64] = (low + high) / 2
    return middle


def checked_statistic(statistic: str) -> None:
    """Refuse an unknown statistic.

    Raises:
        InvalidInputError: the message lists the known ones.
    """
    if statistic not in STATISTICS:
        raise InvalidInputError(f"unknown statistic {statistic!r}; {did_you_mean(str(statistic), STATISTICS)}")
