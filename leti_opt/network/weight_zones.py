"""Zones of random numbers that networks take their weights from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.int8_noise import draw_integers
from leti_opt.network.noise import NoiseSource
from leti_opt.network.weights import SMALL_SHIFT

_SEED = 0
_CHUNK = 1 << 20
_KINDS = ("kernel", "factor", "shift", "bias")
_STEPS_TO_TWICE = 2


class Zone(NamedTuple):
    """A part of a block that holds numbers of one kind.

    Args:
        kind: ``kernel``, ``factor`` (about 1, for batch norms) or ``shift`` (small, for biases). In a block of int8,
            whose scales are in the header: ``kernel``, ``factor`` or ``bias`` (in int32).
        step: of kernels of real numbers, on a geometric grid: their standard deviation is ``2 ** (step / 2)``.
    """

    kind: str
    step: int = 0

    @property
    def std(self) -> float:
        """Standard deviation of its numbers."""
        if self.kind == "kernel":
            return float(2.0 ** (self.step / _STEPS_TO_TWICE))
        return 0.1 if self.kind == "factor" else SMALL_SHIFT

    @property
    def mean(self) -> float:
        """Mean of its numbers."""
        return 1.0 if self.kind == "factor" else 0.0


def nearest_zone(std: float) -> Zone:
    """The zone of kernels whose standard deviation is nearest.

    >>> nearest_zone(0.1).std
    0.08838834764831845
    """
    return _kernels(round(_STEPS_TO_TWICE * math.log2(std)))


@cache
def _kernels(step: int) -> Zone:
    return Zone("kernel", step)


def zone_values(precision: str, zone: Zone, count: int) -> Iterator[NDArray[Any]]:
    """The numbers of a zone, in parts; a longer zone begins with the same."""
    noise = NoiseSource([_SEED, _KINDS.index(zone.kind), zone.step % 2**32])
    kind = zone_type(precision, zone)
    for start in range(0, count, _CHUNK):
        part = min(_CHUNK, count - start)
        if precision == "int8":
            yield draw_integers(noise, zone.kind, part)
        else:
            yield noise.draw(part, zone.std, zone.mean).astype(kind, copy=False)


def zone_type(precision: str, zone: Zone) -> np.dtype[Any]:
    """Type of a zone's numbers."""
    return np.dtype("int32" if precision == "int8" and zone.kind == "bias" else precision)
