"""The LETI paper's third predictor: XGBoost on FLOPs, peak memory and the cell."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells
from leti_opt.predictor.features import PAPER_VERTICES, paper_features
from leti_opt.predictor.plain import PlainPredictor


class BoostedTreesRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """XGBoost (Chen and Guestrin, 2016) in one thread, which is faster than several for some hundred rows.

    Args:
        trees: how many.
        depth: of each.
        learning_rate: share of each tree's answer that is taken.
        log_target: fit the target's logarithm, so that relative errors count; targets must be positive then.
        seed: of the library's random numbers.
    """

    def __init__(
        self,
        trees: int = 300,
        depth: int = 5,
        learning_rate: float = 0.05,
        log_target: bool = False,
        seed: int = 0,
    ) -> None:
        self.trees = trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.log_target = log_target
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:  # noqa: N803
        """Grow the trees."""
        import xgboost

        features, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weights = _check_sample_weight(sample_weight, features, dtype=np.float64, ensure_non_negative=True)
        used = weights > 0  # a row without weight would still offer its values to split at
        features, targets, weights = features[used], np.asarray(targets, np.float64)[used], weights[used]
        wanted = np.log(targets) if self.log_target else targets
        settings = {
            "max_depth": self.depth,
            "learning_rate": self.learning_rate,
            "nthread": 1,
            "seed": self.seed,
            "tree_method": "exact",
            "base_score": float(np.average(wanted, weights=weights)),
        }
        data = xgboost.DMatrix(features, wanted, weight=weights, nthread=1)
        self.booster_ = xgboost.train(settings, data, self.trees)
        return self

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """Ask all trees about each row."""
        check_is_fitted(self, "booster_")
        features = validate_data(self, X, reset=False, dtype=np.float64)
        found = self.booster_.inplace_predict(features).astype(np.float64)
        return np.exp(found) if self.log_target else found


class BoostedTreesPredictor(PlainPredictor):
    """The paper's XGBoost on 58 inputs: FLOPs, peak memory, 7x7 adjacency, 7 layers.

    Spaces with larger cells need more inputs: ``vertices=8`` holds NAS-Bench-201's.

    Args:
        network: how cells become the networks that were measured.
        vertices: how many the inputs have room for.
        trees: how many.
        depth: of each.
        learning_rate: share of each tree's answer that is taken.
        log_target: fit the latency's logarithm instead of the latency.
    """

    settings = ("vertices", "trees", "depth", "learning_rate", "log_target")

    def __init__(
        self,
        network: NetworkConfig,
        vertices: int = PAPER_VERTICES,
        trees: int = 300,
        depth: int = 5,
        learning_rate: float = 0.05,
        log_target: bool = False,
    ) -> None:
        super().__init__(network)
        self.vertices = vertices
        self.trees = trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.log_target = log_target

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """FLOPs, peak memory in bytes, adjacency, layers."""
        return paper_features(architectures, self.network, self.vertices)

    def _new_regressor(self) -> BoostedTreesRegressor:
        return BoostedTreesRegressor(self.trees, self.depth, self.learning_rate, self.log_target)

    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        return tree_arrays(self.regressor_)

    def _restored_regressor(self, learned: dict[str, NDArray[Any]]) -> BoostedTreesRegressor:
        return restored_trees(self._new_regressor(), learned)


def tree_arrays(regressor: BoostedTreesRegressor) -> dict[str, NDArray[Any]]:
    """The trees, as XGBoost's own JSON."""
    return {"booster": np.frombuffer(regressor.booster_.save_raw("json"), dtype=np.uint8)}


def restored_trees(regressor: BoostedTreesRegressor, learned: dict[str, NDArray[Any]]) -> BoostedTreesRegressor:
    """An unfitted regressor with the trees that :func:`tree_arrays` gave."""
    import xgboost

    regressor.booster_ = xgboost.Booster({"nthread": 1})
    regressor.booster_.load_model(bytearray(learned["booster"].tobytes()))
    regressor.n_features_in_ = regressor.booster_.num_features()
    return regressor
