"""A latency as a sum over what is executed: fitted so that relative errors count and outliers do not.

Each group of features has its own prior variance, which the data choose by MacKay's evidence updates (1992), so a group
that explains nothing fades out. Observations far off lose weight as under Student's distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DEGREES_OF_FREEDOM = 4.0
"""Of Student's distribution: how heavy the tails are taken to be."""

_ROUNDS = 30
_INTERCEPT_VARIANCE = 100.0
_PRECISION_BOUNDS = (1e-2, 1e8)
_LEAST_NOISE = 1e-7
"""As a variance; without a least one, targets that fit perfectly would make the equations singular."""
_LOWEST_SHARE = 0.3
"""A prediction is no smaller than this share of the smallest target."""
_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class Standardized:
    """How features become columns of comparable size.

    Args:
        columns: positions of the features that vary.
        mean: of these.
        scale: their standard deviation.
    """

    columns: NDArray[np.int64]
    mean: Floats
    scale: Floats

    @classmethod
    def of(cls, features: Floats, columns: NDArray[np.int64]) -> Standardized:
        """Of some columns, without those that are the same in all rows."""
        chosen = features[:, columns]
        scale = chosen.std(axis=0)
        varies = scale > 1e-9 * np.maximum(np.abs(chosen).max(axis=0, initial=1.0), 1.0)
        return cls(columns[varies], chosen[:, varies].mean(axis=0), scale[varies])

    def __call__(self, features: Floats) -> Floats:
        """The standardized columns."""
        standardized: Floats = (features[:, self.columns] - self.mean) / self.scale
        return standardized


@dataclass(frozen=True)
class AdditiveFit:
    """What a fit found; the last of ``coefficients`` and ``variances`` is the intercept's.

    Args:
        coefficients: one for each column, in units of ``unit``.
        variances: prior variance of each.
        unit: what targets were divided by.
        lowest: no prediction is smaller, in units of ``unit``; minus infinity where targets may be negative.
        errors: of each row, had it been left out; relative to the fitted value where targets are positive.
        weights: of each row, low for outliers.
        noise: variance of the relative errors.
    """

    coefficients: Floats
    variances: Floats
    unit: float
    lowest: float
    errors: Floats
    weights: Floats
    noise: float

    def scale(self, columns: Floats) -> Floats:
        """Fitted values in units of ``unit``, for columns with a last one of ones; errors are relative to these."""
        if not np.isfinite(self.lowest):
            return np.ones(len(columns))
        fitted: Floats = np.maximum(columns @ self.coefficients, self.lowest)
        return fitted


def with_ones(columns: Floats) -> Floats:
    """Columns with a last one of ones, for the intercept."""
    return np.hstack([columns, np.ones((len(columns), 1))])


def student_weights(errors: Floats) -> Floats:
    """How much each observation counts, by its distance from what was expected."""
    spread = max(_MAD_TO_STD * float(np.median(np.abs(errors))), 1e-9)
    weights: Floats = (DEGREES_OF_FREEDOM + 1) / (DEGREES_OF_FREEDOM + (errors / spread) ** 2)
    return weights


def student_unlikeliness(errors: Floats) -> Floats:
    """Minus the logarithm of how likely each error is, in units of their spread, but for a constant.

    >>> student_unlikeliness(np.zeros(2)).tolist()
    [0.0, 0.0]
    """
    halves = (DEGREES_OF_FREEDOM + 1) / 2
    unlikely: Floats = halves * np.log1p(errors**2 / DEGREES_OF_FREEDOM)
    return unlikely


def fit_additive(groups: Sequence[Floats], targets: Floats, sample_weight: Floats) -> AdditiveFit:
    """Fit a weighted sum of all groups' columns.

    Args:
        groups: standardized columns, group by group.
        targets: if all are positive, relative errors count, otherwise plain ones.
        sample_weight: how much each row counts; the mean is 1.
    """
    columns = with_ones(np.hstack([*groups, np.zeros((len(targets), 0))]))
    member = np.repeat(np.arange(len(groups)), [group.shape[1] for group in groups])
    positive = bool((targets > 0).all())
    unit = float(np.median(targets)) if positive else max(float(np.abs(targets).mean()), 1e-12)
    wanted = targets / unit
    lowest = _LOWEST_SHARE * float(wanted.min()) if positive else -np.inf
    precision, noise = np.ones(len(groups)), 0.05**2
    fitted = wanted if positive else np.ones(len(wanted))
    robust = np.ones(len(wanted))
    for _ in range(_ROUNDS):
        weights = sample_weight * robust / (fitted**2 * noise)
        prior = np.append(precision[member], 1 / _INTERCEPT_VARIANCE)
        covariance = np.linalg.inv(columns.T @ (weights[:, np.newaxis] * columns) + np.diag(prior))
        coefficients = covariance @ (columns.T @ (weights * wanted))
        values = np.maximum(columns @ coefficients, lowest)
        fitted = values if positive else fitted
        residuals = (wanted - values) / fitted
        known = 1 - prior[:-1] * np.diag(covariance)[:-1]
        effective = np.bincount(member, known, minlength=len(groups))
        sizes = np.bincount(member, coefficients[:-1] ** 2, minlength=len(groups))
        precision = np.clip(np.maximum(effective, 1e-6) / np.maximum(sizes, 1e-12), *_PRECISION_BOUNDS)
        robust = student_weights(residuals)
        free = max(len(wanted) - float(effective.sum()) - 1, len(wanted) / 20)
        noise = max(float((sample_weight * robust * residuals**2).sum()) / free, _LEAST_NOISE)
    leverage = np.einsum("ij,jk,ik->i", columns, covariance, columns) * weights
    return AdditiveFit(
        coefficients=coefficients,
        variances=np.append(1 / precision[member], _INTERCEPT_VARIANCE),
        unit=unit,
        lowest=lowest,
        errors=residuals / np.maximum(1 - leverage, 0.05),
        weights=robust,
        noise=noise,
    )


def held_out_errors(groups: Sequence[Floats], targets: Floats, sample_weight: Floats, folds: int, seed: int) -> Floats:
    """Errors of each row by a sum that was fitted to the other folds; relative where all targets are positive.

    Args:
        groups: standardized columns, group by group.
        targets: as for :func:`fit_additive`.
        sample_weight: how much each row counts.
        folds: how many parts; fewer where there are fewer rows.
        seed: of the shuffle.
    """
    columns, errors = with_ones(np.hstack(groups)), np.empty(len(targets))
    order = np.random.default_rng(seed).permutation(len(targets))
    for fold in np.array_split(order, min(folds, len(targets))):
        rest = np.setdiff1d(order, fold)
        weights = sample_weight[rest] / sample_weight[rest].mean()
        fitted = fit_additive([group[rest] for group in groups], targets[rest], weights)
        scale = fitted.scale(columns[fold])
        values = np.maximum(columns[fold] @ fitted.coefficients, fitted.lowest)
        errors[fold] = (targets[fold] / fitted.unit - values) / scale
    return errors
