"""Real numbers as int8: activations, weights for each channel, and biases that fit to both.

``real = scale * (integer - zero_point)``. Activations use all of -128 to 127; weights have zero point 0 and the range
-127 to 127, one scale a channel; a bias is an int32 whose scale is that of the input times that of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.file_model import FileBuffer, FileConstant, TensorQuantization
from leti_opt.network.float_sums import CONVERSIONS, with_float_sums
from leti_opt.network.operator_constants import OperatorConstants
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator

LOWEST, HIGHEST = -128, 127
LARGEST_WEIGHT = 127
LARGEST_BIAS = 2**30
"""Half of what an int32 holds; the other half is left to the sum of products that it is added to."""

_NARROWEST_RANGE = 1e-6
_FINEST_WEIGHT = 2.0**-24
_FINEST_FACTOR = 2.0**-14
_FINEST_SHIFT = 2.0**-8
"""Steps of constants are not finer than this, in steps of the result. What lies below changes no result, and kernels
refuse scales that are too far apart."""

CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Along which axis of its kernel an operator's channels run."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivationRanges:
    """Smallest and largest value of every tensor of a plan."""

    lows: NDArray[np.float64]
    highs: NDArray[np.float64]


def activation_quantizations(ranges: ActivationRanges) -> tuple[TensorQuantization, ...]:
    """How each tensor's range is laid over the int8 numbers; 0 always is one of them.

    >>> (quantization,) = activation_quantizations(ActivationRanges(np.array([-1.0]), np.array([1.55])))
    >>> quantization.scales, quantization.zero_points
    (array([0.01], dtype=float32), array([-28]))
    """
    lows, highs = np.minimum(ranges.lows, 0), np.maximum(ranges.highs, 0)
    highs = np.maximum(highs, lows + _NARROWEST_RANGE)
    scales = ((highs - lows) / (HIGHEST - LOWEST)).astype(np.float32)
    zero_points = np.rint(LOWEST - lows / scales).clip(LOWEST, HIGHEST).astype(np.int64)
    return tuple([TensorQuantization(scales[n : n + 1], zero_points[n : n + 1]) for n in range(len(scales))])


def quantize(values: NDArray[np.floating], quantization: TensorQuantization) -> NDArray[np.int8]:
    """The nearest int8 numbers; values out of range become the first or last one.

    Args:
        values: real numbers.
        quantization: with one scale, or one for each slice along its axis.
    """
    scales, zero_points = _along_axis(quantization, values.ndim)
    return (np.rint(values / scales) + zero_points).clip(LOWEST, HIGHEST).astype(np.int8)


def dequantize(
    integers: NDArray[np.int8] | NDArray[np.int32], quantization: TensorQuantization
) -> NDArray[np.floating]:
    """The real numbers that integers stand for."""
    scales, zero_points = _along_axis(quantization, integers.ndim)
    return scales * (integers - zero_points)


def _along_axis(quantization: TensorQuantization, dimensions: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    scales, zero_points = quantization.scales.astype(np.float64), quantization.zero_points
    if len(scales) == 1:
        return scales, zero_points
    shape = [1] * dimensions
    shape[quantization.axis] = -1
    return scales.reshape(shape), zero_points.reshape(shape)


def quantized_constants(
    plan: OperatorPlan, constants: Sequence[OperatorConstants], activations: Sequence[TensorQuantization]
) -> list[tuple[FileConstant, ...]]:
    """Every operator's constants as integers, the kernel first.

    Args:
        plan: the operators.
        constants: of each of them, as real numbers.
        activations: of each tensor of the plan.
    """
    return [
        _weights_and_bias(operator, found.kernel, found.bias, activations)
        if operator.name in CHANNEL_AXES and found.kernel is not None
        else _operands(operator, found, activations)
        for operator, found in zip(plan.operators, constants, strict=True)
    ]


def _weights_and_bias(
    operator: PlannedOperator,
    kernel: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    activations: Sequence[TensorQuantization],
) -> tuple[FileConstant, ...]:
    axis = CHANNEL_AXES[operator.name]
    scales = _largest_of_channels(kernel, axis).astype(np.float64) / LARGEST_WEIGHT
    scales = np.maximum(scales, _FINEST_WEIGHT * _result_step(operator, activations))
    input_scale = activations[operator.inputs[0]].scales
    if bias is not None:
        scales = np.maximum(scales, np.abs(bias) / (LARGEST_BIAS * float(input_scale[0])))
    weights = channel_quantization(scales, axis)
    integers = kernel / _along_axis(weights, kernel.ndim)[0].astype(np.float32)
    quantized = _constant(np.rint(integers, out=integers).astype(np.int8), "INT8", weights)
    if bias is None:
        return (quantized,)
    biases = bias_quantization(input_scale, weights)
    return quantized, _constant(np.rint(bias / biases.scales.astype(np.float64)).astype(np.int32), "INT32", biases)


def _operands(
    operator: PlannedOperator, constants: OperatorConstants, activations: Sequence[TensorQuantization]
) -> tuple[FileConstant, ...]:
    """Constants that take an activation's place, as those of a batch norm that nothing could be folded into."""
    found = []
    if constants.kernel is not None:
        found.append(_operand(constants.kernel, _FINEST_FACTOR * _result_step(operator, activations)))
    if constants.bias is not None:
        found.append(_operand(constants.bias, _FINEST_SHIFT * float(activations[operator.output].scales[0])))
    return tuple(found)


def _operand(values: NDArray[np.float32], finest: float) -> FileConstant:
    """With one scale and any zero point, as activations have them."""
    low, high = float(values.min()), float(values.max())
    high = max(high, min(low, 0.0) + finest * (HIGHEST - LOWEST))
    (quantization,) = activation_quantizations(ActivationRanges(np.array([low]), np.array([high])))
    return _constant(quantize(values, quantization), "INT8", quantization)


def _constant(values: NDArray[Any], kind: str, quantization: TensorQuantization) -> FileConstant:
    return FileConstant(values.shape, kind, FileBuffer(values), quantization)


def channel_quantization(scales: NDArray[np.floating], axis: int) -> TensorQuantization:
    """Of weights with a scale for each channel, zero point 0."""
    return TensorQuantization(scales.astype(np.float32), np.zeros(len(scales), np.int64), axis)


def bias_quantization(input_scale: NDArray[np.float32], weights: TensorQuantization) -> TensorQuantization:
    """Of biases, which are added to sums of input times weight and so have the product of their scales."""
    return TensorQuantization(input_scale * weights.scales, weights.zero_points)


def _result_step(operator: PlannedOperator, activations: Sequence[TensorQuantization]) -> float:
    """The factor that turns one step of the input into one step of the result."""
    return float(activations[operator.output].scales[0]) / float(activations[operator.inputs[0]].scales[0])


def _largest_of_channels(kernel: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    others = tuple(other for other in range(kernel.ndim) if other != axis)
    largest: NDArray[np.float32] = np.maximum(kernel.max(axis=others), -kernel.min(axis=others))
    return largest


@dataclass(frozen=True, slots=True, eq=False)
class Int8Network:
    """What the description of an int8 file is made of.

    Args:
        plan: with the conversions around operators that have no int8 kernel.
        constants: of each of its operators.
        quantizations: of each of its tensors; None for one that stays float32.
    """

    plan: OperatorPlan
    constants: tuple[tuple[FileConstant, ...], ...]
    quantizations: tuple[TensorQuantization | None, ...]


def int8_network(
    plan: OperatorPlan, constants: Sequence[tuple[FileConstant, ...]], activations: Sequence[TensorQuantization]
) -> Int8Network:
    """Put conversions in where a plan needs them, with constants and tensors to match.

    Args:
        plan: without conversions.
        constants: of each of its operators, as integers.
        activations: of each of its tensors.
    """
    mixed = with_float_sums(plan)
    waiting = iter(constants)
    return Int8Network(
        mixed.plan,
        tuple([() if operator.name in CONVERSIONS else next(waiting) for operator in mixed.plan.operators]),
        tuple(
            [None if tensor in mixed.float_tensors else activations[tensor] for tensor in range(len(mixed.plan.shapes))]
        ),
    )
