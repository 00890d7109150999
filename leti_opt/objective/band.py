"""Where a device's canary usually is: a band of latencies, made of some looks. Pure functions of these looks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, pstdev

_MAD_TO_STD = 1.4826
_BAND_IN_STDS = 3.0
_LEVEL_WIDTH = 0.1
_LEVEL_SHARE = 0.15
_BAND_IN_FARTHEST = 1.25


@dataclass(frozen=True)
class Band:
    """Where a device's canary usually is.

    Args:
        centre_ms: its usual latency.
        width: the band is the centre plus and minus this share.
        looks: how many looks it stands on.
        wander: standard deviation of the looks within it, as a share of the centre.

    >>> band = Band.of([1.0, 1.01, 0.99, 1.0], least_width=0.03)
    >>> band.holds(1.02), band.holds(1.4)
    (True, False)
    """

    centre_ms: float
    width: float
    looks: int
    wander: float

    @classmethod
    def of(cls, looks_ms: Sequence[float], least_width: float) -> Band:
        """The band of some looks: their median, and somewhat more than how far any of them was from it.

        Some machines change between levels, so a standard deviation alone would call the rarer level a fault.
        """
        centre = median(looks_ms)
        farthest = max(max(look / centre, centre / look) - 1 for look in looks_ms)
        spread = _MAD_TO_STD * median(abs(look - centre) for look in looks_ms) / centre
        return cls(
            centre,
            max(least_width, _BAND_IN_STDS * spread, _BAND_IN_FARTHEST * farthest),
            len(looks_ms),
            _wander(looks_ms),
        )

    @classmethod
    def quickest(cls, looks_ms: Sequence[float], least_width: float) -> Band:
        """The band of the quickest level that a good part of the looks was at.

        >>> Band.quickest([1.0, 1.01, 1.02, 1.5, 1.5, 1.5, 1.5, 1.5], least_width=0.03).centre_ms
        1.01
        """
        looks = sorted(looks_ms)
        needed = max(3, math.ceil(_LEVEL_SHARE * len(looks)))
        for place, lowest in enumerate(looks):
            level = [look for look in looks[place:] if look <= lowest * (1 + _LEVEL_WIDTH)]
            if len(level) >= needed:
                break
        else:
            level = looks
        centre = median(level)
        spread = _MAD_TO_STD * median(abs(look - centre) for look in level) / centre
        width = min(max(least_width, _BAND_IN_STDS * spread), _LEVEL_WIDTH)
        return cls(centre, max(least_width, width), len(looks), _wander(level))

    def holds(self, latency_ms: float) -> bool:
        """Whether a check lies within the band. Twice as fast is as far as twice as slow."""
        ratio = latency_ms / self.centre_ms
        return max(ratio, 1 / ratio) <= 1 + self.width


def _wander(looks_ms: Sequence[float]) -> float:
    return pstdev(looks_ms) / median(looks_ms)
