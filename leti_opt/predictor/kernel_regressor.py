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
)
from leti_opt.predictor.mean_function import MeanFunction
from leti_opt.predictor.process_kernel import ProcessKernel
from leti_opt.predictor.residual_process import (
    Conditioned,
    Scales,
    choose_scales,
    condition,
    left_out,
    matern,
    squared_distances,
)
from leti_opt.predictor.size_calibration import SizeCalibration
from leti_opt.predictor.support_points import support

Columns = Sequence[Sequence[int]]

_PART = 512
_FOLDS = 5
_TOLERANCE = 0.05
"""How far the smooth part may be off for the sake of speed, as a share of the noise."""
_SHORTFALL = 45.0
"""No prediction is below the smallest of n targets by more than a share of this over n: further rows that are quicker
than all are one in n + 1, while a sum of what costs little among much often comes out too small where there is
little. Chosen on other devices than those reported (benchmarks/predictors/choice.py)."""
_USUAL_NOISE = 0.02
"""Where targets scatter less than this share, sums are known better, and the bound is lower in proportion."""
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
        size: columns whose sum is a row's size: how wide intervals are is told by rows of the same size. None for no
            difference.
        max_points: the process keeps so many observations at most, drawn at random; the sum takes all.
        seed: of this draw, and of the folds that say how wide intervals are.

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
        size: Sequence[int] = (),
        max_points: int = 1500,
        seed: int = 0,
    ) -> None:
        self.main = main
        self.details = details
        self.metric = metric
        self.size = size
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
        self.size_ = np.array(self.size, dtype=np.int64)
        self._fit_sums(features, targets, weights)
        rows = self._fit_process(features, targets, weights)
        for known in ("_conditioned", "_placed_points"):
            self.__dict__.pop(known, None)
        self.least_ = self._least(targets)
        self.mean_ = self._mean_function()
        scores = self._held_out_scores(targets[rows], weights[rows])
        self.calibration_ = SizeCalibration(scores, self._sizes(self.features_), weights[rows])
        return self

    def _fit_sums(self, features: Floats, targets: Floats, weights: Floats) -> None:
        def groups_of(columns: Columns | None) -> list[Standardized]:
            some = [range(features.shape[1])] if columns is None else columns
            return [Standardized.of(features, np.array(group, np.int64)) for group in some]

        main, details = groups_of(self.main), groups_of(self.details)
        parts = [group(features) for group in (*main, *details)]
        self.sum_: AdditiveFit = fit_additive(parts[: len(main)], targets, weights)
        whole = fit_additive(parts, targets, weights)
        split = sum(part.shape[1] for part in parts[: len(main)])
        variances = [np.append(whole.variances[:split], whole.variances[-1]), whole.variances[split:-1]]
        self.kernel_ = ProcessKernel(main, details, groups_of(self.metric), variances)

    def _fit_process(self, features: Floats, targets: Floats, sample_weight: Floats) -> NDArray[np.int64]:
        rows = np.arange(len(targets))
        if len(rows) > self.max_points:
            rows = np.sort(np.random.default_rng(self.seed).choice(rows, self.max_points, replace=False))
        self.features_ = features[rows].astype(np.float32)
        points, wanted = self.features_.astype(np.float64), targets[rows] / self.sum_.unit
        center, scale = self._center_and_scale(points)
        self.residuals_ = (wanted - center) / scale
        linear, distances = self.kernel_.linear_kernels(points, scale), self.kernel_.distances(points)
        self.slope_ = _spread_slope(self.sum_.errors[rows], scale)
        certainty = self._certainty(scale)
        counts = sample_weight[rows] * certainty
        weights = student_weights(self.sum_.errors[rows] * np.sqrt(certainty)) * counts
        noise = self.sum_.noise
        scales = Scales(np.ones(len(linear)), noise, np.full(len(distances), 2.0), noise)
        for _ in range(2):
            scales = choose_scales(linear, distances, self.residuals_, weights, scales)
            covariance = self.kernel_.covariance(linear, distances, scales)
            errors = condition(covariance, self.residuals_, scales.noise / weights).errors
            weights = student_weights(errors * np.sqrt(certainty)) * counts
        self.scales_ = scales
        self.noise_ = scales.noise
        self.point_noise_ = scales.noise / weights
        return rows

    def _least(self, targets: Floats) -> float:
        """The smallest prediction, in units of ``sum_.unit``; minus infinity where targets may be negative."""
        shortfall = _SHORTFALL / len(targets) * max(1.0, _USUAL_NOISE / float(np.sqrt(self.noise_)))
        bound = (1 - shortfall) * float(targets.min()) / self.sum_.unit
        return max(bound, self.sum_.lowest) if np.isfinite(self.sum_.lowest) else -np.inf

    def _held_out_scores(self, targets: Floats, sample_weight: Floats) -> Floats:
        """Errors of the process's observations, each had its fold been unknown, in units of what was expected.

        The scales are kept, and the sum is fitted anew: a fold that helped to fit it would seem too easy.
        """
        points = self.features_.astype(np.float64)
        columns, count = self.kernel_.main_columns(points), len(targets)
        parts = [group(points) for group in self.kernel_.main]
        wanted, distances = targets / self.sum_.unit, self.kernel_.distances(points)
        scores = np.ones(count)
        order = np.random.default_rng(self.seed).permutation(count)
        for fold in np.array_split(order, min(_FOLDS, count)):
            rest = np.setdiff1d(order, fold)
            if not len(rest):
                continue
            fitted = fit_additive(
                [part[rest] for part in parts], targets[rest], sample_weight[rest] / sample_weight[rest].mean()
            )
            center = np.maximum(columns @ fitted.coefficients * (fitted.unit / self.sum_.unit), self.sum_.lowest)
            scale = center if np.isfinite(self.sum_.lowest) else np.ones(count)
            covariance = self.kernel_.covariance(self.kernel_.linear_kernels(points, scale), distances, self.scales_)
            errors, variances = left_out(covariance, (wanted - center) / scale, self.point_noise_, fold, rest)
            scores[fold] = np.abs(errors) / np.sqrt(variances + self.noise_ / self._certainty(scale[fold]))
        return scores

    def _sizes(self, features: NDArray[Any]) -> Floats:
        sizes: Floats = features[:, self.size_].sum(axis=1, dtype=np.float64)
        return sizes

    def _center_and_scale(self, features: Floats) -> tuple[Floats, Floats]:
        """The first sum, and what errors are relative to, in units of ``sum_.unit``."""
        columns = self.kernel_.main_columns(features)
        center = np.maximum(columns @ self.sum_.coefficients, self.sum_.lowest)
        return center, self.sum_.scale(columns)

    def _certainty(self, scale: Floats) -> Floats:
        """How much an observation counts by its size: small latencies often have larger relative errors."""
        return np.asarray(scale ** (-2 * self.slope_))

    @cached_property
    def _conditioned(self) -> Conditioned:
        points = self.features_.astype(np.float64)
        linear = self.kernel_.linear_kernels(points, self._center_and_scale(points)[1])
        covariance = self.kernel_.covariance(linear, self.kernel_.distances(points), self.scales_)
        return condition(covariance, self.residuals_, self.point_noise_)

    def _mean_function(self) -> MeanFunction:
        """What the process's linear parts come to as weights of the features, and its smooth part with fewer points."""
        points = self.features_.astype(np.float64)
        parts = self.kernel_.linear_parts(points, self._center_and_scale(points)[1])
        dual = self._conditioned.dual
        added = [
            scale * np.sqrt(variances) * (part.T @ dual)
            for scale, variances, part in zip(self.scales_.linear, self.kernel_.variances, parts, strict=True)
        ]
        sums = [
            self.kernel_.plain_weights(points.shape[1], self.sum_.coefficients),
            self.kernel_.plain_weights(points.shape[1], *added),
        ]
        placed = self.kernel_.placed(points, self.scales_)
        smooth = matern(squared_distances(placed, placed))
        tolerance = _TOLERANCE * float(np.sqrt(self.noise_))
        rows, weights = support(smooth, self.scales_.amplitude * dual, tolerance)
        columns, mean, factor = self.kernel_.places(self.scales_)
        return MeanFunction(
            sums=np.stack(sums, axis=1),
            columns=columns,
            places=np.stack([mean, factor]),
            points=placed[rows].astype(np.float32),
            weights=weights.astype(np.float32),
            lowest=self.sum_.lowest,
            least=self.least_,
            unit=self.sum_.unit,
        )

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:  # noqa: N803
        """Predict a target for each row; with ``return_std`` also half the width that two thirds of errors keep to."""
        check_is_fitted(self, "mean_")
        features = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        mean = self.predict_trusted(features.astype(np.float32, copy=False))
        return (mean, self.half_widths(features, _ONE_SIGMA)) if return_std else mean

    def half_widths(self, X: ArrayLike, coverage: float) -> Floats:  # noqa: N803
        """Half the width of an interval that holds this share, as errors of held-out observations say."""
        features: Floats = np.asarray(X, dtype=np.float64)
        widths = np.empty(len(features))
        for start in range(0, len(features), _PART):
            part = features[start : start + _PART]
            scale = self._center_and_scale(part)[1]
            relative = np.sqrt(self._latent_variance(part, scale) + self.noise_ / self._certainty(scale))
            widths[start : start + _PART] = self.sum_.unit * scale * relative
        return widths * self.calibration_.factor(self._sizes(features)) * self.calibration_.width(coverage)

    def _latent_variance(self, features: Floats, scale: Floats) -> Floats:
        points, there = self._placed_points
        here = self._linear(features, scale)
        covariance = matern(squared_distances(self.kernel_.placed(features, self.scales_), points))
        covariance *= self.scales_.amplitude
        covariance += here @ there.T
        own = self.scales_.amplitude + (here * here).sum(axis=1)
        explained = np.einsum("ij,ij->i", covariance @ self._conditioned.inverse, covariance)
        latent: Floats = np.maximum(own - explained, 0)
        return latent

    @cached_property
    def _placed_points(self) -> tuple[Floats, Floats]:
        """What the process keeps, as its smooth and its linear parts see it."""
        points = self.features_.astype(np.float64)
        return self.kernel_.placed(points, self.scales_), self._linear(points, self._center_and_scale(points)[1])

    def _linear(self, features: Floats, scale: Floats) -> Floats:
        """Columns whose products are the linear kernels, scaled."""
        parts = self.kernel_.linear_parts(features, scale)
        return np.hstack([np.sqrt(own) * part for own, part in zip(self.scales_.linear, parts, strict=True)])

    def predict_trusted(self, features: NDArray[np.float32]) -> Floats:
        """As :meth:`predict`, for features that are known to be finite and complete."""
        return self.mean_(features)


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
