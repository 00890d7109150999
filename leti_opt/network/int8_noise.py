"""Random int8 weights that were there before the network: what numbers they are, and the scales that make them fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.file_model import TensorQuantization
from leti_opt.network.noise import NoiseSource
from leti_opt.network.operator_constants import bias_size, kernel_shape
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator
from leti_opt.network.quantization import (
    CHANNEL_AXES,
    HIGHEST,
    LARGEST_WEIGHT,
    LOWEST,
    bias_quantization,
    channel_quantization,
)
from leti_opt.network.weights import SMALL_SHIFT

_WEIGHT_STD = math.sqrt(LARGEST_WEIGHT * (LARGEST_WEIGHT + 1) * (2 * LARGEST_WEIGHT + 1) / 3 / 256)
"""Of even noise from -127 to 127, with 0 in the place of -128 too."""
_LEAST_FACTOR = 180
"""Factors are 180 to 255 steps above zero point -128, and a step is one of their mean."""
_FACTOR_STEP = 2 / (_LEAST_FACTOR + HIGHEST - LOWEST)
_BIAS_BITS = 11


@dataclass(frozen=True, slots=True, eq=False)
class NoiseNeed:
    """A constant that is to be taken from random integers.

    Args:
        kind: of the integers: ``kernel`` and ``factor`` in int8, ``bias`` in int32.
        shape: of the constant.
        quantization: that makes them numbers of the wanted size.
    """

    kind: str
    shape: tuple[int, ...]
    quantization: TensorQuantization


def draw_integers(noise: NoiseSource, kind: str, count: int) -> NDArray[np.int8] | NDArray[np.int32]:
    """Random integers of a kind: even noise around 0, or factors above zero point -128.

    What is drawn does not depend on how it was cut into calls of a multiple of eight.
    """
    if kind == "bias":
        return noise.integers(count) >> (32 - _BIAS_BITS)
    values = noise.integers(-(-count // 4)).view(np.int8)[:count].copy()
    if kind == "factor":
        spread = np.int32(HIGHEST - LOWEST + 1 - _LEAST_FACTOR)
        above = (values.view(np.uint8) * spread >> 8) + _LEAST_FACTOR
        return (above + LOWEST).astype(np.int8)
    values[values == LOWEST] = 0
    return values


def noise_needs(
    plan: OperatorPlan, operator: PlannedOperator, stds: Mapping[int, float], activations: Sequence[TensorQuantization]
) -> tuple[NoiseNeed, ...]:
    """What an operator needs, the kernel first.

    Args:
        plan: the operators.
        operator: one of them.
        stds: wanted standard deviation of each layer's weights.
        activations: of each tensor of the plan.
    """
    shape, biases = kernel_shape(plan, operator), bias_size(plan, operator)
    if shape is not None and operator.name in CHANNEL_AXES:
        axis = CHANNEL_AXES[operator.name]
        weights = channel_quantization(np.full(shape[axis], stds[operator.layer] / _WEIGHT_STD), axis)
        kernel = NoiseNeed("kernel", shape, weights)
        if biases is None:
            return (kernel,)
        scales = bias_quantization(activations[operator.inputs[0]].scales, weights)
        return kernel, NoiseNeed("bias", (biases,), scales)
    if shape is not None:
        return (NoiseNeed("factor", shape, _one_scale(_FACTOR_STEP, LOWEST)),)
    if biases is not None:
        return (NoiseNeed("kernel", (biases,), _one_scale(SMALL_SHIFT / _WEIGHT_STD, 0)),)
    return ()


def _one_scale(scale: float, zero_point: int) -> TensorQuantization:
    return TensorQuantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
