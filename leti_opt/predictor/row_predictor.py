"""What every predictor of latencies promises, whatever describes the networks: cells, or vectors of features."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError, PredictorFileError
from leti_opt.predictor.predictor_file import Content, read_predictor, write_predictor
from leti_opt.predictor.training_data import TrainingStory

Floats = NDArray[np.float64]
Asked = TypeVar("Asked", contravariant=True)
"""What a predictor takes."""


class Rows(Protocol):
    """Networks as arrays, one a row."""

    def __len__(self) -> int: ...

    def take(self, rows: ArrayLike) -> Any:
        """Some of the networks, by positions."""


class RowPredictor(ABC, Generic[Asked]):
    """Predicts latencies in milliseconds of networks that are rows of something, once it was fitted to measured ones.

    It works as scikit-learn's regressors do: settings go into the constructor, what was learned ends in an underscore,
    :meth:`fit` returns the predictor and forgets what was learned before. The same data and settings give the same
    predictor. It knows nothing of devices: a predictor is good for the device that its latencies come from.
    """

    settings: ClassVar[tuple[str, ...]] = ()
    """Names of the constructor's arguments besides ``network``; each is an attribute that JSON can hold."""

    row_name: ClassVar[str] = "network"
    """What a row is called in messages."""

    @abstractmethod
    def rows(self, asked: Asked) -> Rows:
        """What was handed in, as arrays.

        Raises:
            InvalidInputError: it is nothing of the kind, or empty.
        """

    @abstractmethod
    def features(self, asked: Asked) -> tuple[NDArray[Any], tuple[str, ...]]:
        """What the predictor sees of each row, ``(rows, features)``, and the features' names."""

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

    def fit(self, asked: Asked, latency_ms: ArrayLike, *, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from measured networks.

        Args:
            asked: the networks, as :meth:`predict` takes them.
            latency_ms: one figure a row, in milliseconds.
            sample_weight: how much each row counts; None for all the same.

        Raises:
            InvalidInputError: lengths differ, a latency is no positive number, or a weight is negative or no number.
        """
        rows = self.rows(asked)
        latencies = self._checked(latency_ms, len(rows), "latency_ms")
        if not (latencies > 0).all():
            row = int((latencies <= 0).argmax())
            raise InvalidInputError(
                f"latency_ms[{row}] is {latencies[row]}; latencies are positive, so leave out what was not measured"
            )
        weights = None if sample_weight is None else self._checked(sample_weight, len(rows), "sample_weight")
        if weights is not None and (weights.min() < 0 or weights.max() <= 0):
            raise InvalidInputError(
                f"sample_weight has negative values, or none above 0; give each {self.row_name} its weight"
            )
        features, names = self.features(rows)  # type: ignore[arg-type]
        self._fit(features, names, latencies, weights)
        self.feature_names_ = names
        self.training_size_ = len(latencies)
        self.training_digest_ = _digest(features, latencies, weights)
        self.story_: TrainingStory | None = None
        return self

    def predict(self, asked: Asked, return_std: bool = False) -> Any:
        """Predict each row's latency in milliseconds.

        Args:
            asked: the networks.
            return_std: also give, for each, half the width that about two thirds of errors keep to.

        Raises:
            InvalidInputError: the predictor was not fitted, or the rows do not fit what it learned from.
        """
        features = self._known_features(asked)
        mean = self._predict(features)
        return (mean, self._half_widths(features, 0.6827)) if return_std else mean

    def predict_interval(self, asked: Asked, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """The interval around each prediction that should hold a share of measured latencies.

        Args:
            asked: the networks.
            coverage: this share, between 0 and 1.

        Returns:
            Lower and upper ends in milliseconds; a lower end is not below 0.
        """
        if not 0 < coverage < 1:
            raise InvalidInputError(f"coverage is a share between 0 and 1, not {coverage!r}")
        features = self._known_features(asked)
        mean, half = self._predict(features), self._half_widths(features, coverage)
        return np.maximum(mean - half, 0), mean + half

    def was_fitted_to(self, asked: Asked, latency_ms: ArrayLike) -> bool:
        """Whether it learned just these networks and latencies, so that it must not be judged by them.

        Nothing is fitted for it. A predictor that learned them with weights did not learn just these.

        Args:
            asked: the networks, in their order.
            latency_ms: of each, in milliseconds.

        Raises:
            InvalidInputError: the predictor was not fitted, or lengths differ.
        """
        self._check_fitted()
        rows = self.rows(asked)
        latencies = self._checked(latency_ms, len(rows), "latency_ms")
        if len(rows) != self.training_size_:
            return False
        features, names = self.features(rows)  # type: ignore[arg-type]
        return names == self.feature_names_ and _digest(features, latencies, None) == self.training_digest_

    def save(self, path: str | Path) -> None:
        """Write the fitted predictor to one file; :meth:`load` reads it. The file is whole or as it was.

        Raises:
            InvalidInputError: the predictor was not fitted.
            PredictorFileError: the file cannot be written.
        """
        write_predictor(Path(path), self.content())

    def content(self) -> Content:
        """What :meth:`save` writes.

        Raises:
            InvalidInputError: the predictor was not fitted.
        """
        self._check_fitted()
        return Content(
            predictor=type(self).__name__,
            settings={name: getattr(self, name) for name in self.settings},
            network=None,
            feature_names=self.feature_names_,
            training_size=self.training_size_,
            training_digest=self.training_digest_,
            story=self.story_,
            learned=self._learned(),
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a predictor of this kind that :meth:`save` wrote, with the story that its file tells.

        Raises:
            PredictorFileError: there is no such file, it is no predictor's, it is damaged, of another version, or it
                holds a predictor of another kind.
        """
        from leti_opt.predictor.kinds import predictor_class

        file = Path(path)
        content = read_predictor(file)
        kind = predictor_class(content.predictor, file)
        if not issubclass(kind, cls):
            raise PredictorFileError(
                f"{file} holds a {kind.__name__}, which is no {cls.__name__}; read it with {kind.__name__}.load"
            )
        try:
            predictor = kind._unfitted(content)
            predictor._restore(content.learned)
        except (KeyError, TypeError, ValueError) as error:
            raise PredictorFileError(
                f"{file} does not hold what a {kind.__name__} needs ({error}); save the predictor again"
            ) from error
        predictor.feature_names_ = content.feature_names
        predictor.training_size_ = content.training_size
        predictor.training_digest_ = content.training_digest
        predictor.story_ = content.story
        return predictor

    @classmethod
    def _unfitted(cls, content: Content) -> Self:
        """A predictor with a file's settings."""
        return cls(**content.settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """The settings by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in self.settings}

    def fresh(self) -> Self:
        """An unfitted predictor with the same settings.

        What is known before any latency was seen (another device's, say) is shared and not learned again.
        """
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.settings)})"

    def _known_features(self, asked: Asked) -> NDArray[Any]:
        self._check_fitted()
        features, names = self.features(asked)
        if names != self.feature_names_:
            raise InvalidInputError(
                f"these {self.row_name}s have {len(names)} features, the {self.training_size_} fitted ones "
                f"{len(self.feature_names_)}, or others; hand in {self.row_name}s of the same space"
            )
        return features

    def _check_fitted(self) -> None:
        if not hasattr(self, "feature_names_"):
            raise InvalidInputError(f"this {type(self).__name__} has learned nothing yet; call fit first")

    @classmethod
    def _checked(cls, values: ArrayLike, length: int, name: str) -> Floats:
        row_name = cls.row_name
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{name} holds something else than numbers: {error}") from error
        if numbers.shape != (length,):
            raise InvalidInputError(
                f"{name} has the shape {numbers.shape} for {length} {row_name}s; give one number a {row_name}"
            )
        if not np.isfinite(numbers).all():
            row = int((~np.isfinite(numbers)).argmax())
            raise InvalidInputError(f"{name}[{row}] is {numbers[row]}; leave out {row_name}s without a figure")
        return numbers


def _digest(features: NDArray[Any], latencies: Floats, weights: Floats | None) -> str:
    """Hexadecimal SHA-256 of what a predictor learned from."""
    sha256 = hashlib.sha256()
    for array in (features, latencies, weights):
        if array is not None:
            sha256.update(f"{array.dtype}{array.shape}".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()
