"""The numbers behind :class:`~leti_opt.predictor.transfer.TransferPredictor`: a Gaussian process over devices.

A device's latency is the mean of what the sources take, plus an uncertain mixture of the sources, plus uncertain costs
of what is executed, plus a smooth function. How large each part is differs from device to device. Each source tells it
once, by being explained from the others; a new device gets a mixture of these answers, weighted by how likely each
makes its few latencies (empirical Bayes; Rasmussen and Williams, 2006, chapter 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.additive_fit import Floats, student_weights
from leti_opt.predictor.residual_process import (
    Conditioned,
    Scales,
    choose_scales,
    condition,
    matern,
    squared_distances,
)
from leti_opt.predictor.transfer_basis import AS_GIVEN, VIEWS, Parts

_BREADTHS = (1.0, 4.0, 16.0)
_NOISES = (1.0, 4.0)
"""A new device may differ from the sources more than they do from each other, or be noisier: variances times these."""
_LIKENESS = 0.25
"""The same for how a device differs from the one source that it resembles."""
_NEGLIGIBLE = 0.01
_ROUNDS = 2
_LOWEST_SHARE = 0.5
_FIRST_AMPLITUDE, _FIRST_LENGTH, _FIRST_NOISE = 0.002, 2.0, 0.01
_LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Hypothesis:
    """What a new device may be like.

    Args:
        view: whether it executes what leads nowhere.
        origin: what it differs from, as a position in what :meth:`Basis.origins` gives.
        scales: how large each part of the difference is.
    """

    view: int
    origin: int
    scales: Scales


def learned_scales(parts: Parts, latency_ms: Floats) -> Scales:
    """How large each part is for a source, explained from the others.

    Args:
        parts: at the source's cells, by the other sources alone.
        latency_ms: of these cells.
    """
    ratio = latency_ms / parts.center
    relative = ratio / np.exp(np.median(np.log(ratio))) - 1
    linear = [part / parts.center[:, np.newaxis] for part in parts.linear]
    kernels = _kernels(linear, linear)
    distances = [squared_distances(part, part) for part in parts.metric]
    weights = np.ones(len(relative))
    scales = Scales(np.ones(len(kernels)), _FIRST_AMPLITUDE, np.full(len(distances), _FIRST_LENGTH), _FIRST_NOISE)
    for _ in range(_ROUNDS):
        scales = choose_scales(kernels, distances, relative, weights, scales)
        weights = student_weights(
            condition(_covariance(scales, kernels, distances), relative, scales.noise / weights).errors
        )
    return scales


def hypotheses(learned: Sequence[Scales]) -> list[Hypothesis]:
    """What the sources say that a device may be like: in both views, and somewhat beyond.

    It differs from the sources' mean as one of them does from the others, or more; or it is nearly the same as one.

    Args:
        learned: of each source.
    """
    usual = _typical(learned)
    apart = [
        Hypothesis(view, view, _in_view(scales, view, breadth, noise))
        for scales, view, breadth, noise in product(learned, VIEWS, _BREADTHS, _NOISES)
    ]
    alike = [
        Hypothesis(view, len(VIEWS) + view * len(learned) + source, _in_view(usual, view, _LIKENESS, 1.0))
        for view, source in product(VIEWS, range(len(learned)))
    ]
    return apart + alike


def _typical(learned: Sequence[Scales]) -> Scales:
    """Geometric means over the sources."""
    linear, lengths, amplitude, noise = (
        np.exp(np.mean(np.log(part), axis=0))
        for part in (
            [scales.linear for scales in learned],
            [scales.lengths for scales in learned],
            [scales.amplitude for scales in learned],
            [scales.noise for scales in learned],
        )
    )
    return Scales(linear, float(amplitude), lengths, float(noise))


def _in_view(scales: Scales, view: int, breadth: float, noise: float) -> Scales:
    linear = scales.linear if view == AS_GIVEN else scales.linear[:-1]
    return Scales(breadth * linear, breadth * scales.amplitude, scales.lengths, noise * scales.noise)


@dataclass(frozen=True)
class _View:
    """A device's few cells in one view.

    Args:
        parts: at these cells.
        unit: the device's typical latency by the sources' mean, in milliseconds.
        scale: what errors are relative to at each cell, in this unit.
    """

    parts: Parts
    unit: float
    scale: Floats


@dataclass(frozen=True)
class _Explained:
    """A hypothesis after the few latencies were seen, and its share of the mixture."""

    hypothesis: Hypothesis
    share: float
    conditioned: Conditioned


class FewLatencies:
    """A device's few latencies, explained by a mixture of hypotheses.

    Errors are relative to the latency itself, which is not known before: a first round takes the sources' mean
    instead, the second what the first predicts.

    Args:
        views: what the process is made of at the few cells, by each origin.
        latency_ms: of these cells.
        weights: noise is divided by these.
        guesses: the hypotheses.
    """

    def __init__(
        self, views: Sequence[Parts], latency_ms: Floats, weights: Floats, guesses: Sequence[Hypothesis]
    ) -> None:
        self.lowest_ms = _LOWEST_SHARE * float(latency_ms.min())
        units = [float(np.exp(np.log(latency_ms / parts.center).mean())) for parts in views]
        self.rounds = [
            _Round(
                [_View(*view, view[0].center) for view in zip(views, units, strict=True)], latency_ms, weights, guesses
            )
        ]
        for _ in range(_ROUNDS - 1):
            size_ms = self.predict(views)[0]
            there = [_View(parts, unit, size_ms / unit) for parts, unit in zip(views, units, strict=True)]
            self.rounds.append(_Round(there, latency_ms, weights, guesses))

    def predict(self, views: Sequence[Parts]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of a latency that would be measured, in milliseconds, for each cell.

        Args:
            views: what the process is made of at these cells, by each origin.
        """
        size_ms: Floats | None = None
        for each in self.rounds:
            mean, deviation = each.predict(views, size_ms)
            size_ms = np.maximum(mean, self.lowest_ms)
        assert size_ms is not None, "there is a round"
        return size_ms, deviation

    @property
    def view_shares(self) -> Floats:
        """How likely each view is."""
        shares = np.zeros(len(VIEWS))
        for each in self.rounds[-1].explained:
            shares[each.hypothesis.view] += each.share
        return shares


class _Round:
    """The mixture for given sizes of errors."""

    def __init__(
        self, views: Sequence[_View], latency_ms: Floats, weights: Floats, guesses: Sequence[Hypothesis]
    ) -> None:
        self.views = views
        self.linear = [[part / view.scale[:, np.newaxis] for part in view.parts.linear] for view in views]
        kernels = [_kernels(own, own) for own in self.linear]
        distances = [[squared_distances(part, part) for part in view.parts.metric] for view in views]
        found, evidence = [], np.empty(len(guesses))
        for place, guess in enumerate(guesses):
            view = views[guess.origin]
            wanted = (latency_ms / view.unit - view.parts.center) / view.scale
            covariance = _covariance(guess.scales, kernels[guess.origin], distances[guess.origin])
            given = condition(covariance, wanted, guess.scales.noise / weights)
            spread = np.linalg.slogdet(given.inverse)[1]
            evidence[place] = 0.5 * (spread - wanted @ given.dual) - np.log(view.unit * view.scale).sum()
            found.append(given)
        shares = np.exp(evidence - evidence.max())
        shares[shares < _NEGLIGIBLE] = 0
        shares /= shares.sum()
        self.explained = [
            _Explained(guess, float(share), given)
            for guess, share, given in zip(guesses, shares, found, strict=True)
            if share
        ]

    def predict(self, views: Sequence[Parts], size_ms: Floats | None) -> tuple[Floats, Floats]:
        """Mean and standard deviation; errors are relative to the sizes, or else to the sources' mean."""
        count = len(views[AS_GIVEN].center)
        mean, square = np.zeros(count), np.zeros(count)
        for number in sorted({each.hypothesis.origin for each in self.explained}):
            few, parts = self.views[number], views[number]
            scale = parts.center if size_ms is None else size_ms / few.unit
            here = [part / scale[:, np.newaxis] for part in parts.linear]
            kernels = _kernels(here, self.linear[number])
            own = [(part * part).sum(axis=1) for part in here]
            distances = [squared_distances(*pair) for pair in zip(parts.metric, few.parts.metric, strict=True)]
            for each in self.explained:
                if each.hypothesis.origin == number:
                    relative, variance = _posterior(each, kernels, own, distances)
                    expected = few.unit * (parts.center + scale * relative)
                    mean += each.share * expected
                    square += each.share * (expected**2 + variance * (few.unit * scale) ** 2)
        return mean, np.sqrt(np.maximum(square - mean**2, _LEAST_VARIANCE))


def _posterior(
    each: _Explained, kernels: Sequence[Floats], own: Sequence[Floats], distances: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Mean and variance, noise included, of the relative difference from the sources' mean."""
    scales = each.hypothesis.scales
    covariance = _covariance(scales, kernels, distances)
    prior = scales.amplitude + sum(scale * part for scale, part in zip(scales.linear, own, strict=True))
    explained = np.einsum("ij,ij->i", covariance @ each.conditioned.inverse, covariance)
    return covariance @ each.conditioned.dual, np.maximum(prior - explained, 0) + scales.noise


def _kernels(one: Sequence[Floats], other: Sequence[Floats]) -> list[Floats]:
    return [here @ there.T for here, there in zip(one, other, strict=True)]


def _covariance(scales: Scales, kernels: Sequence[Floats], distances: Sequence[Floats]) -> Floats:
    squared: NDArray[np.float64] = np.zeros_like(distances[0])
    for distance, length in zip(distances, scales.lengths, strict=True):
        squared += distance / length**2
    covariance: Floats = scales.amplitude * matern(squared)
    for scale, kernel in zip(scales.linear, kernels, strict=True):
        covariance += scale * kernel
    return covariance
