"""The numbers behind :class:`~leti_opt.predictor.kernel_model.KernelPredictor`: a sum, and a smooth correction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.additive_fit import (
    AdditiveFit,
    Floats,
    Standardized,
    fit_additive,
    student_weights,
    with_ones,
)
from leti_opt.predictor.residual_process import (
    Conditioned,
    Scales,
    choose_scales,
    condition,
    matern,
    squared_distances,
)

Columns = Sequence[Sequence[int]]

_PART = 512
_ONE_SIGMA = 0.6827
_SLOPE_BOUNDS = (-1.0, 0.5)


class KernelRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A weighted sum of groups of features, corrected by a Gaussian process; robust against outliers.

    Where all targets are positive, relative errors count. A first sum over the main groups sets the scale; the process
    explains what it leaves, by uncertain weights of all groups and by a smooth function.

    Args:
        main: columns of each group that certainly matters; None for all columns in one group.
        details: columns of each group that may matter.
        metric: columns of each group of features by which the smooth part tells cells apart; None for one of all.
        max_points: the process keeps so many observations at most, drawn at random; the sum takes all.
        seed: of this draw.

    >>> X = np.arange(20.0)[:, np.newaxis]
    >>> model = KernelRegressor().fit(X, 5 + 2 * X[:, 0])
    >>> model.predict([[30.0]]).round().tolist()
    [65.0]
    """

    def __init__(
        self,
        main: Columns | None = None,
        details: Columns = (),
        metric: Columns | None = None,
        max_points: int = 1500,
        seed: int = 0,
    ) -> None:
        self.main = main
        self.details = details
        self.metric = metric
        self.max_points = max_points
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Fit to rows of features and one target each.

        Raises:
            ValueError: unusable numbers, as scikit-learn says it.
        """
        features, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weights = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        used = weights > 0
        if not used.any():
            raise InvalidInputError("every sample weight is zero; give a row that counts")
        features, targets, weights = features[used], np.asarray(targets, np.float64)[used], weights[used]
        weights = weights / weights.mean()
        self._fit_sums(features, targets, weights)
        self._fit_process(features, targets, weights)
        self.__dict__.pop("_conditioned", None)
        self.dual_ = self._conditioned.dual
        self._set_linear_weights()
        noise = self.noise_ / self._certainty(self._center_and_scale(self.features_.astype(np.float64))[1])
        scores = np.abs(self._conditioned.errors) / np.sqrt(self._conditioned.variances + noise)
        order = np.argsort(scores, kind="stable")
        self.scores_ = scores[order]
        self.score_shares_ = np.cumsum(self.point_weights_[order]) / (self.point_weights_.sum() * (1 + 1 / len(order)))
        return self

    def _fit_sums(self, features: Floats, targets: Floats, weights: Floats) -> None:
        every = [range(features.shape[1])]
        main = [np.array(group, np.int64) for group in (every if self.main is None else self.main)]
        groups = [*main, *(np.array(group, np.int64) for group in self.details)]
        self.standardized_ = [Standardized.of(features, group) for group in groups]
        self.metric_ = [
            Standardized.of(features, np.array(group, np.int64))
            for group in (every if self.metric is None else self.metric)
        ]
        self.main_groups_ = len(main)
        parts = [group(features) for group in self.standardized_]
        self.sum_: AdditiveFit = fit_additive(parts[: len(main)], targets, weights)
        whole = fit_additive(parts, targets, weights)
        split = sum(part.shape[1] for part in parts[: len(main)])
        self.variances_ = [
            np.append(whole.variances[:split], whole.variances[-1]),
            whole.variances[split:-1],
        ]

    def _fit_process(self, features: Floats, targets: Floats, sample_weight: Floats) -> None:
        rows = np.arange(len(targets))
        if len(rows) > self.max_points:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.max_points, replace=False))
        self.features_ = features[rows].astype(np.float32)
        points, wanted = self.features_.astype(np.float64), targets[rows] / self.sum_.unit
        center, scale = self._center_and_scale(points)
        self.residuals_ = (wanted - center) / scale
        linear, distances = self._linear_kernels(points, scale), self._distances(points)
        self.slope_ = _spread_slope(self.sum_.errors[rows], scale)
        certainty = self._certainty(scale)
        counts = sample_weight[rows] * certainty
        weights = student_weights(self.sum_.errors[rows] * np.sqrt(certainty)) * counts
        noise = self.sum_.noise
        scales = Scales(np.ones(len(linear)), noise, np.full(len(distances), 2.0), noise)
        for _ in range(2):
            scales = choose_scales(linear, distances, self.residuals_, weights, scales)
            covariance = self._covariance(linear, distances, scales)
            left_out = condition(covariance, self.residuals_, scales.noise / weights).errors
            weights = student_weights(left_out * np.sqrt(certainty)) * counts
        self.scales_ = scales
        self.noise_ = scales.noise
        self.point_weights_ = sample_weight[rows]
        self.point_noise_ = scales.noise / weights

    def _center_and_scale(self, features: Floats) -> tuple[Floats, Floats]:
        """The first sum, and what errors are relative to, in units of ``sum_.unit``."""
        columns = self._main_columns(features)
        center = np.maximum(columns @ self.sum_.coefficients, self.sum_.lowest)
        return center, self.sum_.scale(columns)

    def _certainty(self, scale: Floats) -> Floats:
        """How much an observation counts by its size: small latencies often have larger relative errors."""
        return np.asarray(scale ** (-2 * self.slope_))

    def _main_columns(self, features: Floats) -> Floats:
        parts = [group(features) for group in self.standardized_[: self.main_groups_]]
        return with_ones(np.hstack([*parts, np.zeros((len(features), 0))]))

    def _linear_parts(self, features: Floats, scale: Floats) -> list[Floats]:
        details = [group(features) for group in self.standardized_[self.main_groups_ :]]
        parts = [self._main_columns(features), np.hstack([*details, np.zeros((len(features), 0))])]
        deviations = [np.sqrt(variances) for variances in self.variances_]
        return [part * own / scale[:, np.newaxis] for part, own in zip(parts, deviations, strict=True)]

    def _linear_kernels(self, features: Floats, scale: Floats) -> list[Floats]:
        return [part @ part.T for part in self._linear_parts(features, scale)]

    def _distances(self, features: Floats) -> list[Floats]:
        parts = [group(features) / _width(group) for group in self.metric_]
        return [squared_distances(part, part) for part in parts]

    def _covariance(self, linear: Sequence[Floats], distances: Sequence[Floats], scales: Scales) -> Floats:
        squared = sum(
            (distance / length**2 for distance, length in zip(distances, scales.lengths, strict=True)),
            np.zeros(linear[0].shape),
        )
        covariance: Floats = scales.amplitude * matern(squared)
        for scale, kernel in zip(scales.linear, linear, strict=True):
            covariance += scale * kernel
        return covariance

    @cached_property
    def _conditioned(self) -> Conditioned:
        points = self.features_.astype(np.float64)
        linear = self._linear_kernels(points, self._center_and_scale(points)[1])
        covariance = self._covariance(linear, self._distances(points), self.scales_)
        return condition(covariance, self.residuals_, self.point_noise_)

    def _set_linear_weights(self) -> None:
        """What the process's linear parts come to: one weight for each feature, and the first sum's."""
        points = self.features_.astype(np.float64)
        parts = self._linear_parts(points, self._center_and_scale(points)[1])
        weights = [
            scale * np.sqrt(variances) * (part.T @ self.dual_)
            for scale, variances, part in zip(self.scales_.linear, self.variances_, parts, strict=True)
        ]
        main, details = self.standardized_[: self.main_groups_], self.standardized_[self.main_groups_ :]
        size = points.shape[1]
        self.linear_ = _plain_weights(
            size, [*main, *details], np.concatenate([weights[0][:-1], weights[1]]), weights[0][-1]
        )
        coefficients = self.sum_.coefficients
        self.first_ = _plain_weights(size, main, coefficients[:-1], coefficients[-1])

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:  # noqa: N803
        """Predict a target for each row; with ``return_std`` also half the width that two thirds of errors keep to."""
        check_is_fitted(self, "dual_")
        features = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        mean = self.predict_trusted(features.astype(np.float32, copy=False))
        return (mean, self.half_widths(features, _ONE_SIGMA)) if return_std else mean

    def half_widths(self, X: ArrayLike, coverage: float) -> Floats:  # noqa: N803
        """Half the width of an interval that holds this share, as errors of left-out observations say."""
        features: Floats = np.asarray(X, dtype=np.float64)
        rank = min(int(np.searchsorted(self.score_shares_, coverage)), len(self.scores_) - 1)
        widths = np.empty(len(features))
        for start in range(0, len(features), _PART):
            part = features[start : start + _PART]
            scale = self._center_and_scale(part)[1]
            relative = np.sqrt(self._latent_variance(part, scale) + self.noise_ / self._certainty(scale))
            widths[start : start + _PART] = self.sum_.unit * scale * relative
        return np.asarray(widths * self.scores_[rank])

    def _latent_variance(self, features: Floats, scale: Floats) -> Floats:
        points = self.features_.astype(np.float64)
        here = self._linear_parts(features, scale)
        there = self._linear_parts(points, self._center_and_scale(points)[1])
        covariance = self.scales_.amplitude * matern(squared_distances(self._placed(features), self._placed(points)))
        own = np.full(len(features), self.scales_.amplitude)
        for linear, one, other in zip(self.scales_.linear, here, there, strict=True):
            covariance += linear * (one @ other.T)
            own += linear * (one * one).sum(axis=1)
        explained = np.einsum("ij,ij->i", covariance @ self._conditioned.inverse, covariance)
        latent: Floats = np.maximum(own - explained, 0)
        return latent

    def _placed(self, features: NDArray[Any]) -> NDArray[Any]:
        """Features by which the smooth part tells cells apart, in units of the lengths."""
        columns, mean, factor = self._metric
        return np.asarray((features[:, columns] - mean.astype(features.dtype)) * factor.astype(features.dtype))

    @property
    def _metric(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        groups = list(zip(self.metric_, self.scales_.lengths, strict=True))
        return (
            np.concatenate([group.columns for group, _ in groups]),
            np.concatenate([group.mean for group, _ in groups]),
            np.concatenate([1 / (group.scale * length * _width(group)) for group, length in groups]),
        )

    def predict_trusted(self, features: NDArray[np.float32]) -> Floats:
        """As :meth:`predict`, for features that are known to be finite and complete."""
        columns, mean, factor = self._metric
        placed = (self.features_[:, columns] - mean.astype(np.float32)) * factor.astype(np.float32)
        dual = (self.scales_.amplitude * self.dual_).astype(np.float32)
        means = np.empty(len(features))
        (first, first_constant), (linear, linear_constant) = self.first_, self.linear_
        both = np.stack([first, linear], axis=1)
        for start in range(0, len(features), _PART):
            part = features[start : start + _PART]
            sums = part.astype(np.float64) @ both
            center = np.maximum(sums[:, 0] + first_constant, self.sum_.lowest)
            scale = center if np.isfinite(self.sum_.lowest) else np.ones(len(part))
            smooth = matern(squared_distances(self._placed(part), placed)) @ dual
            means[start : start + _PART] = center + scale * smooth + sums[:, 1] + linear_constant
        if np.isfinite(self.sum_.lowest):
            means = np.maximum(means, self.sum_.lowest)
        return means * self.sum_.unit


def _width(group: Standardized) -> float:
    """What distances of a group are divided by, so that groups of many columns count like others."""
    return float(np.sqrt(max(len(group.columns), 1)))


def _plain_weights(size: int, groups: Sequence[Standardized], weights: Floats, constant: float) -> tuple[Floats, float]:
    """Weights of all features themselves instead of the standardized ones of some groups."""
    plain, start = np.zeros(size), 0
    for group in groups:
        own = weights[start : start + len(group.columns)] / group.scale
        np.add.at(plain, group.columns, own)
        constant -= float(own @ group.mean)
        start += len(group.columns)
    return plain, float(constant)


def _spread_slope(errors: Floats, scale: Floats) -> float:
    """Power of the fitted value that the size of errors goes with; 0 where it goes with none."""
    centered = np.log(scale) - np.log(scale).mean()
    spread = float(centered @ centered)
    typical = float(np.median(np.abs(errors)))
    if spread <= 1e-9 or typical <= 0:
        return 0.0
    sizes = np.log(np.abs(errors) + typical / 4)
    slope = float(centered @ sizes) / spread
    doubt = float(np.std(sizes - sizes.mean() - slope * centered)) / np.sqrt(spread)
    return float(np.clip(np.sign(slope) * max(abs(slope) - doubt, 0.0), *_SLOPE_BOUNDS))
