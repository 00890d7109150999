"""Our predictor: what the runtime executes, summed up, with a learned correction and calibrated intervals."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.additive_fit import Floats, Standardized, held_out_errors, student_unlikeliness
from leti_opt.predictor.cells import Cells, rows_of
from leti_opt.predictor.kernel_features import (
    CORE_GROUPS,
    DETAIL_GROUPS,
    UNPRUNED_GROUPS,
    columns_of,
    kernel_features,
)
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.kernel_state import regressor_arrays, restored_regressor
from leti_opt.predictor.predictor import LatencyPredictor

View = Literal["auto", "pruned", "unpruned"]
VIEWS = ("auto", "pruned", "unpruned")

_METRIC_GROUPS = (("counts", "work"), ("sums", "paths", "activations"), ("pairs", "depths"))
_UNPRUNED_METRIC = ("unpruned_counts", "dead")
_FEWEST_DEAD = 3
_MOST_WEIGHT = 20.0
_CERTAIN = 20.0
"""Logarithm of how many times more likely the unpruned cells must make the latencies."""
_USUAL = 0.45
"""By how much the mean of these logarithms must exceed their spread over cells, as a share of it."""
_FOLDS = 5


class KernelPredictor(LatencyPredictor):
    """Latency as a sum over what a runtime executes, corrected by a Gaussian process; it knows how far it is off.

    The features are counts of operations, additions and activations that do not fuse, longest paths, which operation
    feeds which and at what depth. Their weights are learned with as much freedom as the data support, outliers count
    less, and a smooth function of the features adds what is no sum, such as a GPU that waits for its launches.

    Published networks were often not pruned. Whether what leads nowhere costs time depends on the runtime, and it is
    learned: cells that were handed in unpruned show it.

    Args:
        network: how cells become the networks that were measured.
        view: ``"pruned"`` looks at pruned cells alone, ``"unpruned"`` also at what was handed in; ``"auto"`` does so
            if that explains the latencies of unpruned cells clearly better.
        balance: how far rare sizes of cells count more, where pruned cells are looked at: a cell's weight goes with
            this power of how rare its number of live vertices is. Small cells are rare among different ones, and the
            quickest, so that all that is known of them comes from a few; 0 counts every cell the same.
        max_points: the correction is learned from so many cells at most, drawn at random.
        seed: of this draw.

    Raises:
        InvalidInputError: there is no such view, or a setting is out of range.

    >>> from leti_opt.architecture import Architecture
    >>> cells = [Architecture.parse(f"0-1,1-2,2-3:{one},{two}") for one in _KINDS for two in _KINDS]
    >>> cost_ms = {"conv3x3-bn-relu": 4.0, "conv1x1-bn-relu": 1.5, "maxpool3x3": 1.0}
    >>> latency_ms = [2.0 + sum(cost_ms[name] for name in cell.operations[1:-1]) for cell in cells]
    >>> predictor = KernelPredictor(NetworkConfig.small()).fit(cells, latency_ms)
    >>> predictor.predict(cells[0]).round(1).tolist()
    [10.0]
    """

    settings = ("view", "balance", "max_points", "seed")

    def __init__(
        self,
        network: NetworkConfig,
        view: View = "auto",
        balance: float = 0.5,
        max_points: int = 1500,
        seed: int = 0,
    ) -> None:
        super().__init__(network)
        if view not in VIEWS:
            raise InvalidInputError(f"view is one of {', '.join(VIEWS)}, not {view!r}")
        if max_points < 2:
            raise InvalidInputError(f"max_points must be 2 or more, not {max_points!r}")
        if not 0 <= balance <= 1:
            raise InvalidInputError(f"balance is between 0 and 1, not {balance!r}")
        self.view = view
        self.balance = balance
        self.max_points = max_points
        self.seed = seed

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """What the runtime executes, by groups; see :mod:`leti_opt.predictor.kernel_features`."""
        found = kernel_features(rows_of(architectures), self.network)
        return found.values, found.names

    def _fit(
        self, features: NDArray[Any], names: tuple[str, ...], latency_ms: Floats, sample_weight: Floats | None
    ) -> None:
        weights = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
        self.sees_unpruned_ = self.view == "unpruned" or (
            self.view == "auto" and unpruned_explains_more(features, names, latency_ms, weights)
        )
        if not self.sees_unpruned_:
            sizes = features[:, columns_of(names, "counts")].sum(axis=1).astype(np.int64)
            weights = weights * rarity(sizes, self.balance)
        unpruned = UNPRUNED_GROUPS if self.sees_unpruned_ else ()
        metric = [*_METRIC_GROUPS, *([_UNPRUNED_METRIC] if self.sees_unpruned_ else [])]
        regressor = KernelRegressor(
            main=[columns_of(names, group).tolist() for group in (*CORE_GROUPS, *unpruned)],
            details=[columns_of(names, group).tolist() for group in DETAIL_GROUPS],
            metric=[columns_of(names, *groups).tolist() for groups in metric],
            size=columns_of(names, "counts").tolist(),
            max_points=self.max_points,
            seed=self.seed,
        )
        self.regressor_ = regressor.fit(features, latency_ms, sample_weight=weights)

    def _predict(self, features: NDArray[Any]) -> Floats:
        return self.regressor_.predict_trusted(features)

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        return self.regressor_.half_widths(features, coverage)

    def _learned(self) -> dict[str, NDArray[Any]]:
        return {"sees_unpruned": np.array(self.sees_unpruned_), **regressor_arrays(self.regressor_)}

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        self.sees_unpruned_ = bool(learned["sees_unpruned"])
        self.regressor_ = restored_regressor(learned)


def rarity(sizes: NDArray[np.int64], power: float) -> Floats:
    """Weights that grow with how rare a size is; their mean is about 1, and none is far above.

    >>> rarity(np.array([5, 5, 5, 5, 2]), 0.5).round(2).tolist()
    [0.83, 0.83, 0.83, 0.83, 1.67]
    """
    weights = (1 / np.bincount(sizes)[sizes]) ** power
    capped: Floats = np.minimum(weights / weights.mean(), _MOST_WEIGHT)
    return capped


def unpruned_explains_more(
    features: NDArray[Any], names: tuple[str, ...], latency_ms: Floats, sample_weight: Floats
) -> bool:
    """Whether unpruned cells' latencies go with what leads nowhere in them.

    Two sums are fitted, one to pruned cells alone. Under the other, cells with something dead must be far more likely
    when they are held out, and most of them, not a few: what a runtime executes costs time in every cell.

    Args:
        features: of :func:`~leti_opt.predictor.kernel_features.kernel_features`.
        names: theirs.
        latency_ms: of each cell.
        sample_weight: how much each counts.
    """
    counted = sample_weight > 0
    features, latency_ms, sample_weight = features[counted], latency_ms[counted], sample_weight[counted]
    whole, live = (features[:, columns_of(names, group)] for group in ("unpruned_counts", "counts"))
    dead = ((whole > live) & live.any(axis=0)).any(axis=1)
    if dead.sum() < _FEWEST_DEAD:
        return False
    wide = features.astype(np.float64)
    pruned = [*CORE_GROUPS, "pairs", "depths"]
    errors = []
    for groups in (pruned, [*pruned, *UNPRUNED_GROUPS]):
        parts = [Standardized.of(wide, columns_of(names, group))(wide) for group in groups]
        errors.append(held_out_errors(parts, latency_ms, sample_weight, _FOLDS, seed=0))
    spread = max(1.5 * float(np.median(np.abs(errors[1]))), 1e-9)
    unlikely = [student_unlikeliness(own[dead] / spread) for own in errors]
    gained = unlikely[0] - unlikely[1]
    return bool(gained.sum() > _CERTAIN and gained.mean() > _USUAL * gained.std())


_KINDS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
