"""A predictor that answers what a test told it."""

from __future__ import annotations

from typing import Any

import numpy as np

from leti_opt import Architecture, NetworkConfig
from leti_opt.predictor.predictor import LatencyPredictor
from tests.objective.cells import CONV, NETWORK, POOL


class FixedPredictor(LatencyPredictor):
    """Predicts what a test told it: the middle by the number of operations, the interval by a share."""

    def __init__(self, network: NetworkConfig = NETWORK, share: float = 0.05, offset: float = 0.0) -> None:
        super().__init__(network)
        self.share, self.offset = share, offset
        self.fit([POOL, CONV], [1.0, 1.0])

    def features(self, architectures: Any) -> Any:
        cells = [architectures] if isinstance(architectures, Architecture) else list(architectures)
        return np.array([[float(len(cell))] for cell in cells]), ("vertices",)

    def _fit(self, *_: Any) -> None:
        pass

    def _predict(self, features: Any) -> Any:
        return features[:, 0] + self.offset

    def _half_widths(self, features: Any, coverage: float) -> Any:
        return self.share * coverage / 0.9 * np.abs(self._predict(features))

    def _learned(self) -> dict[str, Any]:
        return {}

    def _restore(self, learned: dict[str, Any]) -> None:
        pass
