"""How far a plain regressor is off on rows that it has not seen: what its intervals are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST = 1e-9


def held_out_scores(
    regressor: Any, features: NDArray[Any], targets: Floats, sample_weight: Floats | None, folds: int, seed: int
) -> Floats:
    """Errors of each row, relative to the prediction of a regressor fitted to the other folds; ascending.

    Args:
        regressor: of scikit-learn's kind; it is copied, never fitted itself.
        features: one row a target.
        targets: positive.
        sample_weight: how much each row counts in fitting.
        folds: how many parts; fewer where there are fewer rows.
        seed: of the shuffle.
    """
    from sklearn.base import clone

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
    """Half the width of an interval, as a share of the prediction, that holds this share of errors.

    >>> half_width_share(np.array([0.01, 0.02, 0.03, 0.2]), 0.6)
    0.03
    """
    rank = min(int(np.ceil(coverage * (len(scores) + 1))), len(scores)) - 1
    return float(scores[rank])
