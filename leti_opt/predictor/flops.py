"""The LETI paper's first predictor: a line over FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.cells import Cells
from leti_opt.predictor.features import cost_features
from leti_opt.predictor.line import Line, LineRegressor
from leti_opt.predictor.networks import Network, network_costs
from leti_opt.predictor.plain import PlainPredictor


class FlopsPredictor(PlainPredictor):
    """Latency as a line over FLOPs.

    Args:
        network: how cells become the networks that were measured.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.config import NetworkConfig
    >>> kinds = "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu"
    >>> cells = [Architecture.parse(f"0-1,1-2:{kind}") for kind in kinds]
    >>> predictor = FlopsPredictor(NetworkConfig.small()).fit(cells, [1.0, 2.0, 10.0])
    >>> predictor.predict(cells[2]).round(1).tolist()
    [10.0]
    """

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """FLOPs."""
        values, names = cost_features(architectures, self.network)
        return values[:, :1], names[:1]

    def network_features(self, networks: Sequence[Network]) -> NDArray[Any]:
        """FLOPs."""
        return network_costs(networks, self.network.precision)[:, :1]

    def _new_regressor(self) -> LineRegressor:
        return LineRegressor()

    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        line = self.regressor_.line_
        return {"line": np.array([line.slope, line.intercept])}

    def _restored_regressor(self, learned: dict[str, NDArray[Any]]) -> LineRegressor:
        regressor = LineRegressor()
        regressor.line_ = Line(*learned["line"].tolist())
        regressor.n_features_in_ = 1
        return regressor
