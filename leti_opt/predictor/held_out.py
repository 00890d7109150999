"""How far a plain regressor is off on rows that it has not seen: what its intervals are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST = 1e-9
_ROUNDING = 1e-9
"""0.9 times 10 errors is the ninth, and not the tenth since the product is a little above 9."""


def held_out_scores(
    regressor: Any, features: NDArray[Any], targets: Floats, sample_weight: Floats | None, folds: int, seed: int
) -> Floats:
    """Errors of each row, relative to the prediction of a regressor fitted to the other folds; ascending.

    Rows without weight are not learned from, and nothing is said of them. The error of a single row is infinity.

    Args:
        regressor: of scikit-learn's kind; it is copied, never fitted itself.
        features: one row a target.
        targets: positive.
        sample_weight: how much each row counts in fitting.
        folds: how many parts; fewer where there are fewer rows.
        seed: of the shuffle.
    """
    from sklearn.base import clone

    if sample_weight is not None:
        used = sample_weight > 0
        features, targets, sample_weight = features[used], targets[used], sample_weight[used]
    order = np.random.default_rng(seed).permutation(len(targets))
    errors = np.empty(len(targets))
    for fold in np.array_split(order, max(2, min(folds, len(targets)))):
        rest = np.setdiff1d(order, fold)
        if not len(fold) or not len(rest):
            errors[fold] = np.inf
            continue
        weights = None if sample_weight is None else sample_weight[rest]
        fitted = clone(regressor).fit(features[rest], targets[rest], sample_weight=weights)
        errors[fold] = relative_errors(targets[fold], fitted.predict(features[fold]))
    return np.sort(errors)


def relative_errors(targets: Floats, predicted: Floats) -> Floats:
    """How far each prediction is off, as a share of the prediction.

    >>> relative_errors(np.array([1.0, 3.0]), np.array([2.0, 2.0])).tolist()
    [0.5, 0.5]
    """
    positive = np.maximum(predicted, _SMALLEST)
    found: Floats = np.abs(targets - positive) / positive
    return found


def half_width_share(scores: Floats, coverage: float) -> float:
    """Half the width of an interval, as a share of the prediction, that holds this share of further errors.

    Infinity where so few errors cannot say: the largest of four is exceeded by a fifth of the further ones.

    Args:
        scores: errors as shares of the predictions, ascending.
        coverage: the share.

    >>> half_width_share(np.array([0.01, 0.02, 0.03, 0.2]), 0.6), half_width_share(np.array([0.01, 0.2]), 0.9)
    (0.03, inf)
    """
    rank = int(np.ceil(coverage * (len(scores) + 1) - _ROUNDING))
    return float(scores[rank - 1]) if rank <= len(scores) else float("inf")
