"""What a :class:`~leti_opt.predictor.kernel_regressor.KernelRegressor` learned, as plain arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.additive_fit import AdditiveFit, Standardized
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.residual_process import Scales

_PLAIN = ("features_", "residuals_", "point_noise_", "dual_", "scores_", "score_shares_")


def regressor_arrays(regressor: KernelRegressor) -> dict[str, NDArray[Any]]:
    """Everything that predicting needs, and no more of the training data than the process keeps."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(regressor, name) for name in _PLAIN}
    for kind in ("standardized_", "metric_"):
        groups: list[Standardized] = getattr(regressor, kind)
        arrays[f"{kind}sizes"] = np.array([len(group.columns) for group in groups])
        for part in ("columns", "mean", "scale"):
            arrays[kind + part] = np.concatenate([getattr(group, part) for group in groups])
    for number, variances in enumerate(regressor.variances_):
        arrays[f"variances_{number}"] = variances
    for name in ("first_", "linear_"):
        arrays[f"{name}weights"], constant = getattr(regressor, name)
        arrays[f"{name}constant"] = np.array(constant)
    arrays["sum_coefficients"], arrays["sum_variances"] = regressor.sum_.coefficients, regressor.sum_.variances
    scales = regressor.scales_
    arrays["scales_linear"], arrays["scales_lengths"] = scales.linear, scales.lengths
    numbers = [regressor.sum_.unit, regressor.sum_.lowest, regressor.sum_.noise]
    arrays["numbers"] = np.array([*numbers, scales.amplitude, scales.noise, regressor.noise_, regressor.slope_])
    arrays["counts"] = np.array([regressor.main_groups_, regressor.n_features_in_])
    return arrays


def restored_regressor(arrays: dict[str, NDArray[Any]]) -> KernelRegressor:
    """A regressor that predicts as the one whose arrays these are."""
    regressor = KernelRegressor()
    for name in _PLAIN:
        setattr(regressor, name, arrays[name])
    for kind in ("standardized_", "metric_"):
        ends = np.cumsum(arrays[f"{kind}sizes"])[:-1]
        parts = [np.split(arrays[kind + part], ends) for part in ("columns", "mean", "scale")]
        setattr(regressor, kind, [Standardized(*group) for group in zip(*parts, strict=True)])
    regressor.variances_ = [arrays["variances_0"], arrays["variances_1"]]
    for name in ("first_", "linear_"):
        setattr(regressor, name, (arrays[f"{name}weights"], float(arrays[f"{name}constant"])))
    unit, lowest, noise, amplitude, scale_noise, regressor.noise_, regressor.slope_ = arrays["numbers"].tolist()
    regressor.sum_ = AdditiveFit(
        arrays["sum_coefficients"], arrays["sum_variances"], unit, lowest, np.empty(0), np.empty(0), noise
    )
    regressor.scales_ = Scales(arrays["scales_linear"], amplitude, arrays["scales_lengths"], scale_noise)
    regressor.main_groups_, regressor.n_features_in_ = arrays["counts"].tolist()
    return regressor
