"""Predictors for search spaces that have no cells: a network is a vector of features, whatever these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.predictor.boosted_trees import BoostedTreesRegressor, restored_trees, tree_arrays
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.kernel_state import regressor_arrays, restored_regressor
from leti_opt.predictor.plain import PlainRowPredictor
from leti_opt.predictor.row_predictor import Floats, RowPredictor
from leti_opt.predictor.vectors import VectorRows, Vectors, groups_of, vectors_of

_MOST_FEATURES = 32


class VectorPredictor(RowPredictor[VectorRows]):
    """Predicts latencies of networks that are described by vectors.

    It takes :class:`~leti_opt.predictor.vectors.Vectors` or a plain array, one network a row. What the features are is
    up to the caller: :mod:`~leti_opt.predictor.choice_vectors` makes them of choices in blocks,
    :mod:`~leti_opt.predictor.once_for_all` of once-for-all's settings. ``VectorPredictor.load`` reads any of its kinds.
    """

    def rows(self, asked: VectorRows) -> Vectors:
        """The vectors."""
        return vectors_of(asked)

    def features(self, asked: VectorRows) -> tuple[NDArray[Any], tuple[str, ...]]:
        """The features as they are."""
        vectors = vectors_of(asked)
        return vectors.values, vectors.names


class KernelVectorPredictor(VectorPredictor):
    """Latency as a weighted sum over all features, corrected by a Gaussian process; it knows how far it is off.

    How much freedom the weights of each group of features get is learned, so groups that explain nothing do little
    harm. See :class:`~leti_opt.predictor.kernel_regressor.KernelRegressor`.

    Args:
        details: groups that may matter, beside the others that certainly do: they correct the sum, they do not make it.
            None for all of more than 32 features, if there is a smaller one: few networks cannot tell so many apart.
        metric: groups by which the correction tells networks apart. None for all of up to 32 features but the details,
            or all others if none is that small: by many features, most of them zero, all networks are equally far
            apart.
        max_points: the correction is learned from so many networks at most, drawn at random.
        seed: of this draw.

    Raises:
        InvalidInputError: a setting is out of range.

    >>> draw = np.random.default_rng(0)
    >>> layers = draw.integers(1, 5, (40, 3))
    >>> latency_ms = 2.0 + layers @ [1.0, 2.0, 0.5]
    >>> predictor = KernelVectorPredictor().fit(Vectors(layers, ("wide", "wider", "narrow")), latency_ms)
    >>> predictor.predict(Vectors([[1, 1, 2]], ("wide", "wider", "narrow"))).round(1).tolist()
    [6.0]
    """

    settings = ("details", "metric", "max_points", "seed")

    def __init__(
        self,
        details: Sequence[str] | None = None,
        metric: Sequence[str] | None = None,
        max_points: int = 1500,
        seed: int = 0,
    ) -> None:
        if max_points < 2:
            raise InvalidInputError(f"max_points must be 2 or more, not {max_points!r}")
        self.details = None if details is None else tuple(details)
        self.metric = None if metric is None else tuple(metric)
        self.max_points = max_points
        self.seed = seed

    def _fit(
        self, features: NDArray[Any], names: tuple[str, ...], latency_ms: Floats, sample_weight: Floats | None
    ) -> None:
        groups = groups_of(names)
        large = [group for group, columns in groups.items() if len(columns) > _MOST_FEATURES]
        details = (large if len(large) < len(groups) else []) if self.details is None else self.details
        for group in (*details, *(self.metric or ())):
            if group not in groups:
                raise InvalidInputError(f"the features have no group {group!r}; {did_you_mean(group, groups)}")
        main = [group for group in groups if group not in details]
        if not main:
            raise InvalidInputError("all groups of features are details; leave one that makes the sum")
        small = [group for group in main if group not in large] or main
        regressor = KernelRegressor(
            main=[groups[group] for group in main],
            details=[groups[group] for group in details],
            metric=[groups[group] for group in (small if self.metric is None else self.metric)],
            max_points=self.max_points,
            seed=self.seed,
        )
        self.regressor_ = regressor.fit(features, latency_ms, sample_weight=sample_weight)

    def _predict(self, features: NDArray[Any]) -> Floats:
        return self.regressor_.predict_trusted(features.astype(np.float32))

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        return self.regressor_.half_widths(features, coverage)

    def _learned(self) -> dict[str, NDArray[Any]]:
        return regressor_arrays(self.regressor_)

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        self.regressor_ = restored_regressor(learned)


class BoostedTreesVectorPredictor(PlainRowPredictor[VectorRows], VectorPredictor):
    """XGBoost on the features; its intervals are as wide, relative to the prediction, as held-out errors were.

    Args:
        trees: how many.
        depth: of each.
        learning_rate: share of each tree's answer that is taken.
        log_target: fit the latency's logarithm instead of the latency.
    """

    settings = ("trees", "depth", "learning_rate", "log_target")

    def __init__(self, trees: int = 300, depth: int = 5, learning_rate: float = 0.05, log_target: bool = True) -> None:
        self.trees = trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.log_target = log_target

    def _new_regressor(self) -> BoostedTreesRegressor:
        return BoostedTreesRegressor(self.trees, self.depth, self.learning_rate, self.log_target)

    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        return tree_arrays(self.regressor_)

    def _restored_regressor(self, learned: dict[str, NDArray[Any]]) -> BoostedTreesRegressor:
        return restored_trees(self._new_regressor(), learned)
