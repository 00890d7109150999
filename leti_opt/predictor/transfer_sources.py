"""What devices that are known teach about one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.additive_fit import Floats
from leti_opt.predictor.residual_process import Scales
from leti_opt.predictor.transfer_basis import AS_GIVEN, LINEAR_GROUPS, SOURCE, SOURCE_PRUNED, Basis
from leti_opt.predictor.transfer_process import learned_scales

_REFERENCE_POINTS = 1000


@dataclass(frozen=True)
class SourceKnowledge:
    """What the sources teach.

    Args:
        reference: features of some of their cells.
        names: of the features.
        basis: made from these.
        scales: how large each part of the process is for each source, explained from the others.
    """

    reference: NDArray[np.float32]
    names: tuple[str, ...]
    basis: Basis
    scales: list[Scales]

    @classmethod
    def of(
        cls,
        samples: Sequence[tuple[NDArray[np.float32], Floats]],
        names: tuple[str, ...],
        linear_groups: Sequence[Sequence[str]] = LINEAR_GROUPS,
    ) -> Self:
        """From features and latencies of some cells of each source."""
        every = np.concatenate([features for features, _ in samples])
        places = np.linspace(0, len(every) - 1, min(len(every), _REFERENCE_POINTS)).astype(np.int64)
        basis = Basis.of(every[places].astype(np.float64), names, linear_groups)
        scales = []
        for own, (features, latency_ms) in enumerate(samples):
            others = [place for place in range(len(samples)) if place != own]
            scales.append(learned_scales(basis.parts(features.astype(np.float64), AS_GIVEN, others), latency_ms))
        return cls(every[places], names, basis, scales)

    @property
    def own_names(self) -> tuple[str, ...]:
        """Features of the cells themselves, the sources' predictions left out."""
        predicted = (SOURCE, SOURCE_PRUNED)
        return tuple(name for name in self.names if name.split("/")[0] not in predicted)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it, as arrays."""
        return {
            "reference": self.reference,
            "names": np.array(self.names),
            "linear": np.array([scales.linear for scales in self.scales]),
            "lengths": np.array([scales.lengths for scales in self.scales]),
            "variances": np.array([(scales.amplitude, scales.noise) for scales in self.scales]),
        }

    @classmethod
    def restored(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What :meth:`arrays` gave."""
        names = tuple(arrays["names"].tolist())
        scales = [
            Scales(linear, float(amplitude), lengths, float(noise))
            for linear, lengths, (amplitude, noise) in zip(
                arrays["linear"], arrays["lengths"], arrays["variances"], strict=True
            )
        ]
        return cls(arrays["reference"], names, Basis.of(arrays["reference"].astype(np.float64), names), scales)
