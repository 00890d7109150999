"""What a :class:`~leti_opt.predictor.kernel_regressor.KernelRegressor` learned, as plain arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.additive_fit import AdditiveFit
from leti_opt.predictor.kernel_regressor import KernelRegressor
from leti_opt.predictor.mean_function import MeanFunction
from leti_opt.predictor.process_kernel import ProcessKernel
from leti_opt.predictor.residual_process import Scales
from leti_opt.predictor.size_calibration import SizeCalibration

_PLAIN = ("features_", "residuals_", "point_noise_", "size_")
_MEAN = ("sums", "columns", "places", "points", "weights")
_CALIBRATION = ("scores", "sizes", "weights")


def regressor_arrays(regressor: KernelRegressor) -> dict[str, NDArray[Any]]:
    """Everything that predicting needs, and no more of the training data than the process keeps."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(regressor, name) for name in _PLAIN}
    arrays |= {f"kernel_{name}": array for name, array in regressor.kernel_.arrays().items()}
    arrays |= {f"mean_{name}": getattr(regressor.mean_, name) for name in _MEAN}
    arrays |= {f"calibration_{name}": getattr(regressor.calibration_, name) for name in _CALIBRATION}
    arrays["sum_coefficients"], arrays["sum_variances"] = regressor.sum_.coefficients, regressor.sum_.variances
    scales = regressor.scales_
    arrays["scales_linear"], arrays["scales_lengths"] = scales.linear, scales.lengths
    numbers = [regressor.sum_.unit, regressor.sum_.lowest, regressor.sum_.noise]
    numbers += [scales.amplitude, scales.noise, regressor.noise_, regressor.slope_, regressor.least_]
    arrays["numbers"] = np.array(numbers)
    arrays["features_in"] = np.array(regressor.n_features_in_)
    return arrays


def restored_regressor(arrays: dict[str, NDArray[Any]]) -> KernelRegressor:
    """A regressor that predicts as the one whose arrays these are."""
    regressor = KernelRegressor()
    for name in _PLAIN:
        setattr(regressor, name, arrays[name])
    kernel = {name.removeprefix("kernel_"): array for name, array in arrays.items() if name.startswith("kernel_")}
    regressor.kernel_ = ProcessKernel.restored(kernel)
    unit, lowest, noise, amplitude, scale_noise = arrays["numbers"][:5].tolist()
    regressor.noise_, regressor.slope_, regressor.least_ = arrays["numbers"][5:].tolist()
    regressor.sum_ = AdditiveFit(
        arrays["sum_coefficients"], arrays["sum_variances"], unit, lowest, np.empty(0), np.empty(0), noise
    )
    regressor.mean_ = MeanFunction(
        **{name: arrays[f"mean_{name}"] for name in _MEAN}, lowest=lowest, least=regressor.least_, unit=unit
    )
    scores, sizes, weights = (arrays[f"calibration_{name}"] for name in _CALIBRATION)
    regressor.calibration_ = SizeCalibration(scores, sizes, weights)
    regressor.scales_ = Scales(arrays["scales_linear"], amplitude, arrays["scales_lengths"], scale_noise)
    regressor.n_features_in_ = int(arrays["features_in"])
    return regressor
