"""The kernel of a regressor's Gaussian process: which features it weighs, and by which it tells rows apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.additive_fit import Floats, Standardized, with_ones
from leti_opt.predictor.residual_process import Scales, matern, squared_distances


@dataclass(frozen=True)
class ProcessKernel:
    """Linear parts with uncertain weights, and a smooth part.

    Args:
        main: groups of columns that certainly matter.
        details: groups that may matter.
        metric: groups by which the smooth part tells rows apart.
        variances: prior variances of the weights of the main columns and an intercept, and of the details.
    """

    main: Sequence[Standardized]
    details: Sequence[Standardized]
    metric: Sequence[Standardized]
    variances: Sequence[Floats]

    def main_columns(self, features: Floats) -> Floats:
        """Standardized columns of the main groups, and a last one of ones."""
        return with_ones(np.hstack([*(group(features) for group in self.main), np.zeros((len(features), 0))]))

    def linear_parts(self, features: Floats, scale: Floats) -> list[Floats]:
        """Columns whose products are the linear kernels; errors are relative to the scale."""
        details = np.hstack([*(group(features) for group in self.details), np.zeros((len(features), 0))])
        parts = self.main_columns(features), details
        deviations = [np.sqrt(variances) for variances in self.variances]
        return [part * own / scale[:, np.newaxis] for part, own in zip(parts, deviations, strict=True)]

    def linear_kernels(self, features: Floats, scale: Floats) -> list[Floats]:
        """Among rows."""
        return [part @ part.T for part in self.linear_parts(features, scale)]

    def distances(self, features: Floats) -> list[Floats]:
        """Squared ones among rows, for each group of the metric."""
        parts = [group(features) / _width(group) for group in self.metric]
        return [squared_distances(part, part) for part in parts]

    def covariance(self, linear: Sequence[Floats], distances: Sequence[Floats], scales: Scales) -> Floats:
        """Of the process among rows, without noise."""
        squared = sum(
            (distance / length**2 for distance, length in zip(distances, scales.lengths, strict=True)),
            np.zeros(linear[0].shape),
        )
        covariance: Floats = scales.amplitude * matern(squared)
        for scale, kernel in zip(scales.linear, linear, strict=True):
            covariance += scale * kernel
        return covariance

    def places(self, scales: Scales) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Columns of the metric, and with what mean and factor distances among them are in units of the lengths."""
        groups = list(zip(self.metric, scales.lengths, strict=True))
        return (
            np.concatenate([group.columns for group, _ in groups]),
            np.concatenate([group.mean for group, _ in groups]),
            np.concatenate([1 / (group.scale * length * _width(group)) for group, length in groups]),
        )

    def placed(self, features: Floats, scales: Scales) -> Floats:
        """Rows in these units."""
        columns, mean, factor = self.places(scales)
        placed: Floats = (features[:, columns] - mean) * factor
        return placed

    def plain_weights(self, size: int, coefficients: Floats, details: Floats | None = None) -> Floats:
        """Weights of all features themselves instead of standardized ones, then the constant.

        Args:
            size: how many features there are.
            coefficients: of the main columns, then of the intercept.
            details: of these groups' columns.
        """
        plain, constant = np.zeros(size), float(coefficients[-1])
        groups = list(self.main) if details is None else [*self.main, *self.details]
        weights = coefficients[:-1] if details is None else np.concatenate([coefficients[:-1], details])
        start = 0
        for group in groups:
            own = weights[start : start + len(group.columns)] / group.scale
            np.add.at(plain, group.columns, own)
            constant -= float(own @ group.mean)
            start += len(group.columns)
        return np.append(plain, constant)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, as plain arrays."""
        arrays: dict[str, NDArray[Any]] = {"main_variances": self.variances[0], "details_variances": self.variances[1]}
        for name in _GROUPS:
            groups: Sequence[Standardized] = getattr(self, name)
            arrays[f"{name}_sizes"] = np.array([len(group.columns) for group in groups], dtype=np.int64)
            for part in ("columns", "mean", "scale"):
                kind = np.int64 if part == "columns" else np.float64
                arrays[f"{name}_{part}"] = np.concatenate([np.empty(0, kind), *(getattr(g, part) for g in groups)])
        return arrays

    @classmethod
    def restored(cls, arrays: dict[str, NDArray[Any]]) -> ProcessKernel:
        """That whose :meth:`arrays` these are."""
        found = {}
        for name in _GROUPS:
            ends = np.cumsum(arrays[f"{name}_sizes"])
            parts = [np.split(arrays[f"{name}_{part}"], ends)[:-1] for part in ("columns", "mean", "scale")]
            found[name] = [Standardized(*group) for group in zip(*parts, strict=True)]
        return cls(**found, variances=[arrays["main_variances"], arrays["details_variances"]])


_GROUPS = ("main", "details", "metric")


def _width(group: Standardized) -> float:
    """What distances of a group are divided by, so that groups of many columns count like others."""
    return float(np.sqrt(max(len(group.columns), 1)))
