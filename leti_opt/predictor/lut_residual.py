"""What a sum of kernels misses, as a constant for each kernel and each transfer between two.

A kernel that is measured alone pays for a run of its own, which a network pays once; and it finds its input where it
left it, in the cache, while in the network other kernels ran in between. The first makes the sum too long, the second
too short. So the constants may have either sign, and are fitted without a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError

Floats = NDArray[np.float64]

MIN_MODELS = 2
"""As many as there are constants: fewer could not tell one from the other."""

_SMALLEST_MS = 1e-9


@dataclass(frozen=True)
class ResidualCase:
    """A network that was measured whole and as a sum of kernels; times in milliseconds.

    Args:
        name: what people call it.
        direct_ms: measured whole.
        sum_ms: of its kernels, each measured alone.
        kernels: how many it has.
        transfers: how often one of them reads what another one wrote.
    """

    name: str
    direct_ms: float
    sum_ms: float
    kernels: int
    transfers: int


@dataclass(frozen=True)
class Residual:
    """Two constants, in milliseconds, to be added to a sum of kernels.

    Args:
        per_kernel_ms: for each kernel.
        per_transfer_ms: for each time that a kernel reads what another one wrote.
        fitted_on: the networks that they stand on.

    >>> residual = Residual(-0.01, 0.03, ("a", "b"))
    >>> round(residual.corrected(10.0, kernels=100, transfers=120), 3)
    12.6
    """

    per_kernel_ms: float
    per_transfer_ms: float
    fitted_on: tuple[str, ...]

    def corrected(self, sum_ms: float, kernels: int, transfers: int) -> float:
        """A sum with its residual; below 0 where the network is nothing like those that it was fitted on."""
        return sum_ms + self.per_kernel_ms * kernels + self.per_transfer_ms * transfers


def fit_residual(cases: Sequence[ResidualCase]) -> Residual:
    """Least squares of the relative errors, so that a slow network counts no more than a quick one.

    Where the networks cannot tell the two constants apart (all have as many transfers a kernel), the smallest pair of
    those that fit equally well is taken.

    Raises:
        InvalidInputError: fewer networks than constants.

    >>> cases = [ResidualCase("a", 12.0, 10.0, 100, 150), ResidualCase("b", 5.5, 5.0, 50, 50)]
    >>> found = fit_residual(cases)
    >>> round(found.per_kernel_ms, 3), round(found.per_transfer_ms, 3)
    (-0.01, 0.02)
    """
    if len(cases) < MIN_MODELS:
        raise InvalidInputError(
            f"a residual has {MIN_MODELS} constants and needs as many networks measured whole, not {len(cases)}; "
            "add networks"
        )
    direct = np.array([case.direct_ms for case in cases])
    missed = direct - np.array([case.sum_ms for case in cases])
    counts = np.array([[case.kernels, case.transfers] for case in cases], dtype=np.float64)
    per_kernel, per_transfer = fitted_constants(counts, missed, direct, np.ones(len(cases))).tolist()
    return Residual(per_kernel, per_transfer, tuple(case.name for case in cases))


def fitted_constants(counts: Floats, missed_ms: Floats, direct_ms: Floats, weights: Floats) -> Floats:
    """A constant for each column of counts, by least squares of the errors relative to the direct figures.

    Args:
        counts: how often each network has what a constant stands for, ``(networks, constants)``.
        missed_ms: the direct figure less the sum.
        direct_ms: of each network.
        weights: how much each network counts.
    """
    scale = np.sqrt(weights) / np.maximum(np.abs(direct_ms), _SMALLEST_MS)
    return np.asarray(np.linalg.lstsq(counts * scale[:, None], missed_ms * scale, rcond=None)[0], np.float64)
