"""What every predictor of cells' latencies promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import CellRows, Cells, rows_of
from leti_opt.predictor.networks import Network, NetworkPredictions
from leti_opt.predictor.predictor_file import Content
from leti_opt.predictor.row_predictor import Floats as Floats
from leti_opt.predictor.row_predictor import RowPredictor


class LatencyPredictor(RowPredictor[Cells]):
    """Predicts the latency of cells' networks in milliseconds, once it was fitted to measured ones.

    See :class:`~leti_opt.predictor.row_predictor.RowPredictor` for what it promises. It takes
    :class:`~leti_opt.architecture.Architecture` objects, an
    :class:`~leti_opt.architecture_table.ArchitectureTable`, or :class:`~leti_opt.predictor.cells.CellRows`.

    Args:
        network: how cells become the networks that were measured.
    """

    row_name = "cell"

    def __init__(self, network: NetworkConfig) -> None:
        if not isinstance(network, NetworkConfig):
            raise InvalidInputError(f"a predictor needs the NetworkConfig of the measured networks, not {network!r}")
        self.network = network

    def rows(self, asked: Cells) -> CellRows | ArchitectureTable:
        """The cells, as arrays."""
        return rows_of(asked)

    def network_features(self, networks: Sequence[Network]) -> NDArray[Any]:  # noqa: ARG002
        """What the predictor sees of networks that no cell describes, in the columns of :meth:`features`.

        Raises:
            InvalidInputError: it sees cells only, or a network is none that it can read.
        """
        raise InvalidInputError(
            f"a {type(self).__name__} sees cells, not files or layer graphs; use one that sees costs or kernels alone: "
            "FlopsPredictor, BetterFlopsPredictor, or a LutPredictor over kernels"
        )

    def predict_networks(self, networks: Sequence[Network], coverage: float = 0.9) -> NetworkPredictions:
        """Predict networks that no cell describes, such as a user's own ``.tflite`` files.

        They are predicted like the cells that were learned; networks unlike these may be farther off than intervals
        say.

        Args:
            networks: layer graphs, or paths or contents of ``.tflite`` files.
            coverage: share of measured latencies that the intervals should hold, between 0 and 1.

        Raises:
            InvalidInputError: the predictor was not fitted, sees cells only, or a network is none or of another
                precision.
            InvalidModelError: a file cannot be read.
        """
        self._check_fitted()
        if not 0 < coverage < 1:
            raise InvalidInputError(f"coverage is a share between 0 and 1, not {coverage!r}")
        features = self.network_features(networks)
        mean, half = self._predict(features), self._half_widths(features, coverage)
        return NetworkPredictions(mean, np.maximum(mean - half, 0), mean + half)

    def content(self) -> Content:
        """What :meth:`save` writes, with the network's settings."""
        return replace(super().content(), network=self.network.settings)

    @classmethod
    def _unfitted(cls, content: Content) -> Self:
        return cls(NetworkConfig(**(content.network or {})), **content.settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name, as scikit-learn asks for them."""
        return {"network": self.network, **super().get_params(deep)}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)
        return f"{type(self).__name__}(network={self.network.digest[:12]}{', ' if given else ''}{given})"


def load_predictor(path: str | Path) -> LatencyPredictor:
    """Read a predictor that :meth:`LatencyPredictor.save` wrote.

    Raises:
        PredictorFileError: there is no such file, it is no predictor's, it is damaged, or of another version.
    """
    return LatencyPredictor.load(path)
