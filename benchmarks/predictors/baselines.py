"""The plain baselines to be beaten: XGBoost and a Gaussian process on everything that is easily read off a cell.

Both get one-hot edges of the pruned and of the raw cell, counts of operations, additions, depth, in-degrees, and counts
of operations into each node; both fit the logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
KINDS = 5
Floats = NDArray[np.float64]


def baseline_features(operations: NDArray[np.int64]) -> Floats:
    """Of NAS-Bench-201's cells, given by their edges' operations."""
    pruned = _pruned(operations)
    present = pruned != 0
    into = [[place for place, (_, target) in enumerate(EDGES) if target == node] for node in (1, 2, 3)]
    degrees = np.stack([present[:, places].sum(axis=1) for places in into], axis=1)
    per_node = [(pruned[:, places] == kind).sum(axis=1, keepdims=True) for places in into for kind in range(1, KINDS)]
    counts = [(pruned == kind).sum(axis=1, keepdims=True) for kind in range(KINDS)]
    additions = np.maximum(degrees - 1, 0).sum(axis=1, keepdims=True)
    columns = [_one_hot(pruned), _one_hot(operations), *counts, additions, _depth(pruned), degrees, *per_node]
    return np.hstack(columns).astype(np.float64)


def xgboost_prediction(train: Floats, latency_ms: Floats, test: Floats) -> Floats:
    """1,500 trees of depth 5, rate 0.03, on the logarithm."""
    from leti_opt.predictor.boosted_trees import BoostedTreesRegressor

    model = BoostedTreesRegressor(trees=1500, depth=5, learning_rate=0.03, log_target=True)
    return np.asarray(model.fit(train, latency_ms).predict(test))


class ProcessBaseline:
    """RBF, Matern 3/2 and noise on the logarithm; the first fit chooses the kernels' scales, later ones keep them."""

    def __init__(self) -> None:
        self.kernel: Any = None

    def __call__(self, train: Floats, latency_ms: Floats, test: Floats) -> Floats:
        """Fit and predict."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(train)
        first = ConstantKernel() * RBF(10.0) + ConstantKernel() * Matern(10.0, nu=1.5) + WhiteKernel(0.01)
        kernel, optimizer = (first, "fmin_l_bfgs_b") if self.kernel is None else (self.kernel, None)
        model = GaussianProcessRegressor(kernel, optimizer=optimizer, normalize_y=True, random_state=0)
        model.fit(scaler.transform(train), np.log(latency_ms))
        self.kernel = model.kernel_
        return np.asarray(np.exp(model.predict(scaler.transform(test))))


def _pruned(operations: NDArray[np.int64]) -> NDArray[np.int64]:
    reached = np.zeros((len(operations), 4), dtype=bool)
    leading = np.zeros_like(reached)
    reached[:, 0] = leading[:, 3] = True
    for _ in range(3):
        for place, (source, target) in enumerate(EDGES):
            there = operations[:, place] != 0
            reached[:, target] |= reached[:, source] & there
            leading[:, source] |= leading[:, target] & there
    live = np.stack([reached[:, source] & leading[:, target] for source, target in EDGES], axis=1)
    return np.where(live, operations, 0)


def _one_hot(operations: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (operations[:, :, np.newaxis] == np.arange(KINDS)).reshape(len(operations), -1)


def _depth(pruned: NDArray[np.int64]) -> NDArray[np.int64]:
    """Working operations on the longest path."""
    depth = np.zeros((len(pruned), 4), dtype=np.int64)
    for place, (source, target) in enumerate(EDGES):
        through = depth[:, source] + (pruned[:, place] > 1)
        depth[:, target] = np.maximum(depth[:, target], np.where(pruned[:, place] != 0, through, 0))
    return depth[:, 3:]
