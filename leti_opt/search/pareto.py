"""Which points nothing else beats in every loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def pareto_indices(losses: ArrayLike) -> list[int]:
    """Positions of the points that no other dominates, ordered by the last loss.

    A point dominates another if it is nowhere worse and somewhere better. Of equal points the first is kept.

    Args:
        losses: (points, losses), all to be small.

    >>> pareto_indices([[0.1, 5.0], [0.2, 3.0], [0.3, 4.0]])
    [1, 0]
    """
    table = np.asarray(losses, dtype=float)
    if table.size == 0:
        return []
    kept = [
        position
        for position, point in enumerate(table)
        if not np.any((table <= point).all(axis=1) & (table < point).any(axis=1))
        and not (table[:position] == point).all(axis=1).any()
    ]
    return sorted(kept, key=lambda position: tuple(table[position][::-1].tolist()))
