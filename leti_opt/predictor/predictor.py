"""What every predictor of latencies promises."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells, rows_of
from leti_opt.predictor.predictor_file import Content, read_predictor, write_predictor

Floats = NDArray[np.float64]


class LatencyPredictor(ABC):
    """Predicts the latency of cells' networks in milliseconds, once it was fitted to measured ones.

    It works as scikit-learn's regressors do: settings go into the constructor, what was learned ends in an underscore,
    :meth:`fit` returns the predictor and forgets what was learned before. The same data and settings give the same
    predictor. It takes :class:`~leti_opt.architecture.Architecture` objects, an
    :class:`~leti_opt.architecture_table.ArchitectureTable`, or
    :class:`~leti_opt.predictor.cells.CellRows`, and knows nothing of devices: a predictor is good for the device that
    its latencies come from.

    Args:
        network: how cells become the networks that were measured.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    """Names of the constructor's arguments besides ``network``; each is an attribute that JSON can hold."""

    def __init__(self, network: NetworkConfig) -> None:
        if not isinstance(network, NetworkConfig):
            raise InvalidInputError(f"a predictor needs the NetworkConfig of the measured networks, not {network!r}")
        self.network = network

    @abstractmethod
    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """What the predictor sees of each cell, ``(cells, features)``, and the features' names."""

    @abstractmethod
    def _fit(
        self, features: NDArray[Any], names: tuple[str, ...], latency_ms: Floats, sample_weight: Floats | None
    ) -> None:
        """Learn from features with these names."""

    @abstractmethod
    def _predict(self, features: NDArray[Any]) -> Floats:
        """Predict from features."""

    @abstractmethod
    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        """Half the width of the interval around each prediction that holds this share."""

    @abstractmethod
    def _learned(self) -> dict[str, NDArray[Any]]:
        """All that was learned, as arrays without Python objects."""

    @abstractmethod
    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        """Take over what :meth:`_learned` gave."""

    def fit(self, architectures: Cells, latency_ms: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from measured cells.

        Args:
            architectures: the cells.
            latency_ms: one figure a cell, in milliseconds.
            sample_weight: how much each cell counts; None for all the same.

        Raises:
            InvalidInputError: lengths differ, a latency is no positive number, or a weight is negative or no number.
        """
        cells = rows_of(architectures)
        latencies = self._checked(latency_ms, len(cells), "latency_ms")
        if not (latencies > 0).all():
            row = int((latencies <= 0).argmax())
            raise InvalidInputError(
                f"latency_ms[{row}] is {latencies[row]}; latencies are positive, so leave out what was not measured"
            )
        weights = None if sample_weight is None else self._checked(sample_weight, len(cells), "sample_weight")
        if weights is not None and (weights.min() < 0 or weights.max() <= 0):
            raise InvalidInputError("sample_weight has negative values, or none above 0; give each cell its weight")
        features, names = self.features(cells)
        self._fit(features, names, latencies, weights)
        self.feature_names_ = names
        self.training_size_ = len(latencies)
        self.training_digest_ = _digest(features, latencies, weights)
        return self

    def predict(self, architectures: Cells, return_std: bool = False) -> Any:
        """Predict each cell's latency in milliseconds.

        Args:
            architectures: the cells.
            return_std: also give, for each, half the width that about two thirds of errors keep to.

        Raises:
            InvalidInputError: the predictor was not fitted, or the cells do not fit what it learned from.
        """
        features = self._known_features(architectures)
        mean = self._predict(features)
        return (mean, self._half_widths(features, 0.6827)) if return_std else mean

    def predict_interval(self, architectures: Cells, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """The interval around each prediction that should hold a share of measured latencies.

        Args:
            architectures: the cells.
            coverage: this share, between 0 and 1.

        Returns:
            Lower and upper ends in milliseconds; a lower end is not below 0.
        """
        if not 0 < coverage < 1:
            raise InvalidInputError(f"coverage is a share between 0 and 1, not {coverage!r}")
        features = self._known_features(architectures)
        mean, half = self._predict(features), self._half_widths(features, coverage)
        return np.maximum(mean - half, 0), mean + half

    def save(self, path: str | Path) -> None:
        """Write the fitted predictor to one file; :func:`load_predictor` reads it. The file is whole or as it was.

        Raises:
            InvalidInputError: the predictor was not fitted.
            PredictorFileError: the file cannot be written.
        """
        self._check_fitted()
        content = Content(
            predictor=type(self).__name__,
            settings={name: getattr(self, name) for name in self.settings},
            network=self.network.settings,
            feature_names=self.feature_names_,
            training_size=self.training_size_,
            training_digest=self.training_digest_,
            learned=self._learned(),
        )
        write_predictor(Path(path), content)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """The settings by name, as scikit-learn asks for them."""
        return {"network": self.network, **{name: getattr(self, name) for name in self.settings}}

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)
        return f"{type(self).__name__}(network={self.network.digest[:12]}{', ' if given else ''}{given})"

    def _known_features(self, architectures: Cells) -> NDArray[Any]:
        self._check_fitted()
        features, names = self.features(architectures)
        if names != self.feature_names_:
            raise InvalidInputError(
                f"these cells have {len(names)} features, the {self.training_size_} fitted ones "
                f"{len(self.feature_names_)}, or others; hand in cells of the same space"
            )
        return features

    def _check_fitted(self) -> None:
        if not hasattr(self, "feature_names_"):
            raise InvalidInputError(f"this {type(self).__name__} has learned nothing yet; call fit first")

    @staticmethod
    def _checked(values: ArrayLike, length: int, name: str) -> Floats:
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{name} holds something else than numbers: {error}") from error
        if numbers.shape != (length,):
            raise InvalidInputError(f"{name} has the shape {numbers.shape} for {length} cells; give one number a cell")
        if not np.isfinite(numbers).all():
            row = int((~np.isfinite(numbers)).argmax())
            raise InvalidInputError(f"{name}[{row}] is {numbers[row]}; leave out cells without a figure")
        return numbers


def load_predictor(path: str | Path) -> LatencyPredictor:
    """Read a predictor that :meth:`LatencyPredictor.save` wrote.

    Raises:
        PredictorFileError: there is no such file, it is no predictor's, it is damaged, or of another version.
    """
    from leti_opt.predictor.kinds import predictor_class

    content = read_predictor(Path(path))
    kind = predictor_class(content.predictor, Path(path))
    predictor = kind(NetworkConfig(**content.network), **content.settings)
    predictor._restore(content.learned)
    predictor.feature_names_ = content.feature_names
    predictor.training_size_ = content.training_size
    predictor.training_digest_ = content.training_digest
    return predictor


def _digest(features: NDArray[Any], latencies: Floats, weights: Floats | None) -> str:
    """Hexadecimal SHA-256 of what a predictor learned from."""
    sha256 = hashlib.sha256()
    for array in (features, latencies, weights):
        if array is not None:
            sha256.update(f"{array.dtype}{array.shape}".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()
