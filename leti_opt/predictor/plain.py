"""What the paper's three predictors share: a plain regressor on a table of inputs, and errors on held-out rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.cells import Cells
from leti_opt.predictor.held_out import half_width_share, held_out_scores
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.row_predictor import Asked, Floats, RowPredictor

_FOLDS = 5
_SEED = 0


class PlainRowPredictor(RowPredictor[Asked]):
    """A predictor whose intervals are as wide, relative to the prediction, as errors on held-out rows were."""

    @abstractmethod
    def _new_regressor(self) -> Any:
        """The unfitted regressor."""

    @abstractmethod
    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        """What the fitted regressor learned, as arrays."""

    @abstractmethod
    def _restored_regressor(self, learned: dict[str, NDArray[Any]]) -> Any:
        """A regressor that predicts as the saved one did."""

    def _fit(
        self,
        features: NDArray[Any],
        names: tuple[str, ...],  # noqa: ARG002
        latency_ms: Floats,
        sample_weight: Floats | None,
    ) -> None:
        self.scores_ = held_out_scores(self._new_regressor(), features, latency_ms, sample_weight, _FOLDS, _SEED)
        self.regressor_ = self._new_regressor().fit(features, latency_ms, sample_weight=sample_weight)

    def _predict(self, features: NDArray[Any]) -> Floats:
        return np.asarray(self.regressor_.predict(features), dtype=np.float64)

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        return np.abs(self._predict(features)) * half_width_share(self.scores_, coverage)

    def _learned(self) -> dict[str, NDArray[Any]]:
        return {"scores": self.scores_, **self._regressor_state()}

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        self.scores_ = learned["scores"]
        self.regressor_ = self._restored_regressor(learned)


class PlainPredictor(PlainRowPredictor[Cells], LatencyPredictor):
    """Such a predictor of cells."""
