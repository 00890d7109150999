"""How far off a predictor is by the size of what it predicts: errors of a fit differ where there was little to learn.

What is learned from is rarely as large, on average, as what is asked: different cells are mostly large ones, while a
space has many small ones that stand for few networks. An interval that holds its share on average over what was
learned then fails among the small. So scores are told apart by size, as far as there are enough of a size, and what
few of them say is drawn towards what all say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SizeCalibration:
    """Scores of rows that were predicted without having been learned.

    Args:
        scores: errors in units of what was expected.
        sizes: of the rows.
        weights: how much each counts.
        prior: so many scores of a size weigh as much as what all scores say.
        doubt: by how much a scale is raised that one score told, as a share; it falls with their number.
        largest: a score counts as no more than so many times the median, so that one does not decide.
    """

    scores: Floats
    sizes: Floats
    weights: Floats
    prior: float = 5.0
    doubt: float = 2.0
    largest: float = 8.0

    def factor(self, sizes: Floats) -> Floats:
        """By how much errors of these sizes are larger than errors in general.

        >>> found = SizeCalibration(np.array([1.0] * 50 + [2.0] * 50), np.repeat([4.0, 2.0], 50), np.ones(100))
        >>> found.factor(np.array([4.0, 2.0, 9.0])).round(2).tolist()
        [0.72, 1.35, 1.4]
        """
        different, member = np.unique(sizes, return_inverse=True)
        here = self.sizes == different[:, np.newaxis]
        return self._drawn(here @ self._bounded, here.sum(axis=1))[member]

    def width(self, coverage: float) -> float:
        """By which factor times :meth:`factor` what is expected is multiplied to hold this share of errors.

        Infinite where so few scores cannot tell: nine can of 90 %, four of 80 %.
        """
        own = self.sizes == self.sizes[:, np.newaxis]
        np.fill_diagonal(own, False)
        ratios = self.scores / self._drawn(own @ self._bounded, own.sum(axis=1))
        order = np.argsort(ratios, kind="stable")
        shares = np.cumsum(self.weights[order]) / (self.weights.sum() * (1 + 1 / len(order)))
        rank = int(np.searchsorted(shares, coverage * (1 - 1e-12)))
        return float(ratios[order[rank]]) if rank < len(order) else np.inf

    @property
    def _bounded(self) -> Floats:
        bounded: Floats = np.minimum(self.scores, self.largest * np.median(self.scores))
        return bounded

    def _drawn(self, sums: Floats, counts: NDArray[np.int64]) -> Floats:
        """Means of some scores over that of all, drawn towards 1 and raised for their doubt."""
        mean = max(float(self._bounded.mean()), np.finfo(np.float64).tiny)
        drawn: Floats = (sums / mean + self.prior) / (counts + self.prior) * (1 + self.doubt / (counts + self.prior))
        return drawn
