"""A Gaussian process over what a sum leaves unexplained, with additive parts whose weights are uncertain too.

The covariance is ``sum of scale_i L_i + amplitude M + noise / weights``: ``L`` linear kernels, ``M`` a Matern 3/2
kernel whose distance has a length for each group of features. Scales are chosen by the marginal likelihood (Rasmussen
and Williams, 2006, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Real = TypeVar("_Real", np.float32, np.float64)

_LINEAR_BOUNDS = (-3.0, 3.0)
_AMPLITUDE_BOUNDS = (-14.0, -3.0)
_LENGTH_BOUNDS = (-1.0, 4.0)
_NOISE_BOUNDS = (-12.0, 0.0)
_USUAL_LENGTH = float(np.log(2.0))
_ITERATIONS = 25
_JITTER = 1e-9


@dataclass(frozen=True)
class Scales:
    """What the marginal likelihood chooses.

    Args:
        linear: of each linear kernel.
        amplitude: variance of the smooth part.
        lengths: for each group of features the distance over which the smooth part changes.
        noise: variance of an observation of weight 1.
    """

    linear: Floats
    amplitude: float
    lengths: Floats
    noise: float


@dataclass(frozen=True)
class Conditioned:
    """A process given its observations.

    Args:
        dual: what kernel rows are multiplied with to predict.
        inverse: of the covariance of the observations.
        errors: of each observation, had it been left out.
        variances: of these predictions, noise not included.
    """

    dual: Floats
    inverse: Floats
    errors: Floats
    variances: Floats


def squared_distances(one: NDArray[_Real], other: NDArray[_Real]) -> NDArray[_Real]:
    """Of every row of one to every row of the other; in the precision of the arrays."""
    squares = one @ other.T
    squares *= -2
    squares += (one * one).sum(axis=1)[:, np.newaxis]
    squares += (other * other).sum(axis=1)
    np.maximum(squares, 0, out=squares)
    return squares


def matern(squared: NDArray[_Real]) -> NDArray[_Real]:
    """Matern 3/2 of squared distances in units of the length; overwrites them."""
    squared *= 3
    roots = np.sqrt(squared, out=squared)
    covariance = np.exp(-roots)
    roots += 1
    covariance *= roots
    return covariance


def choose_scales(
    linear: Sequence[Floats], distances: Sequence[Floats], residuals: Floats, weights: Floats, start: Scales
) -> Scales:
    """Climb the marginal likelihood from a start, with a prior that keeps lengths ordinary.

    Args:
        linear: linear kernels among the observations.
        distances: squared distances among them, for each group of features.
        residuals: what was observed.
        weights: noise is divided by these.
        start: where to begin.
    """
    from scipy.optimize import minimize

    likelihood = _NegativeLikelihood(linear, distances, residuals, weights)
    bounds = [_LINEAR_BOUNDS] * len(linear) + [_AMPLITUDE_BOUNDS] + [_LENGTH_BOUNDS] * len(distances) + [_NOISE_BOUNDS]
    lowest, highest = np.array(bounds).T
    first = np.clip(_logarithms(start), lowest, highest)
    found = minimize(likelihood, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS})
    values = np.exp(found.x)
    return Scales(values[: len(linear)], float(values[len(linear)]), values[len(linear) + 1 : -1], float(values[-1]))


def _logarithms(scales: Scales) -> Floats:
    logarithms: Floats = np.log(np.concatenate([scales.linear, [scales.amplitude], scales.lengths, [scales.noise]]))
    return logarithms


class _NegativeLikelihood:
    """Value and gradient by the logarithms of the scales."""

    def __init__(
        self, linear: Sequence[Floats], distances: Sequence[Floats], residuals: Floats, weights: Floats
    ) -> None:
        self.linear, self.distances, self.residuals, self.weights = linear, distances, residuals, weights

    def __call__(self, logarithms: Floats) -> tuple[float, Floats]:
        from scipy.linalg import lapack

        values, count = np.exp(logarithms), len(self.linear)
        amplitude, lengths, noise = values[count], values[count + 1 : -1], values[-1] / self.weights
        squared = sum(
            (distance / length**2 for distance, length in zip(self.distances, lengths, strict=True)),
            np.zeros((len(self.residuals), len(self.residuals))),
        )
        roots = np.sqrt(3 * squared)
        decay = np.exp(-roots)
        smooth = amplitude * (1 + roots) * decay
        covariance = smooth + np.diag(noise + _JITTER)
        for scale, kernel in zip(values, self.linear, strict=False):
            covariance += scale * kernel
        factor, failed = lapack.dpotrf(covariance, lower=1)
        if failed:
            return 1e10, np.zeros(len(values))
        dual = lapack.dpotrs(factor, self.residuals, lower=1)[0]
        inverse = _mirrored(lapack.dpotri(factor, lower=1)[0])
        outer = np.outer(dual, dual) - inverse
        steep = outer * decay * (3 * amplitude)
        gradient = np.array(
            [
                *(-0.5 * scale * np.vdot(outer, kernel) for scale, kernel in zip(values, self.linear, strict=False)),
                -0.5 * np.vdot(outer, smooth),
                *(
                    -0.5 * np.vdot(steep, distance) / length**2
                    for distance, length in zip(self.distances, lengths, strict=True)
                ),
                -0.5 * float(np.diag(outer) @ noise),
            ]
        )
        unusual = logarithms[count + 1 : -1] - _USUAL_LENGTH
        gradient[count + 1 : -1] += unusual
        value = 0.5 * self.residuals @ dual + np.log(np.diag(factor)).sum() + 0.5 * unusual @ unusual
        return float(value), gradient


def condition(covariance: Floats, residuals: Floats, noise: Floats) -> Conditioned:
    """The process given residuals.

    Args:
        covariance: of the process at the observations, without noise.
        residuals: what was observed.
        noise: variance of each observation.
    """
    from scipy.linalg import lapack

    factor, failed = lapack.dpotrf(covariance + np.diag(noise + _JITTER), lower=1)
    if failed:
        raise np.linalg.LinAlgError("the covariance of the observations is not positive definite")
    dual = lapack.dpotrs(factor, residuals, lower=1)[0]
    inverse = _mirrored(lapack.dpotri(factor, lower=1)[0])
    left_out = 1 / np.diag(inverse)
    return Conditioned(dual, inverse, dual * left_out, np.maximum(left_out - noise, 0.0))


def left_out(
    covariance: Floats, residuals: Floats, noise: Floats, some: NDArray[np.int64], rest: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Errors of some observations, and their variances without noise, given the rest alone.

    Args:
        covariance: of the process at all observations, without noise.
        residuals: what was observed.
        noise: variance of each observation.
        some: rows that are predicted.
        rest: rows that are known.
    """
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(covariance[np.ix_(rest, rest)] + np.diag(noise[rest] + _JITTER), lower=True)
    across = covariance[np.ix_(some, rest)]
    errors = residuals[some] - across @ cho_solve(factor, residuals[rest])
    explained = np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
    return errors, np.maximum(np.diag(covariance)[some] - explained, 0.0)


def _mirrored(lower: Floats) -> Floats:
    whole: Floats = np.tril(lower) + np.tril(lower, -1).T
    return whole
