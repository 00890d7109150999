"""The constants of planned operators as float32 arrays in TFLite's layout, batch norms folded in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.noise import NoiseSource
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator
from leti_opt.network.weights import BATCH_NORM_EPSILON, SMALL_SHIFT, NetworkWeights, check_weights, weight_stds

FRESH_BATCH_NORM = 1 / math.sqrt(1 + BATCH_NORM_EPSILON)
"""What an untrained batch norm multiplies with."""


@dataclass(frozen=True, slots=True, eq=False)
class OperatorConstants:
    """Constants of one operator; None for those that it does not have.

    Args:
        kernel: of CONV_2D ``(out, height, width, in)``, of DEPTHWISE_CONV_2D ``(1, height, width, channels)``, of
            FULLY_CONNECTED ``(out, in)``, and a batch norm's factors for MUL ``(channels,)``.
        bias: ``(out,)``, or a batch norm's shift for ADD.
    """

    kernel: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None


def kernel_shape(plan: OperatorPlan, operator: PlannedOperator) -> tuple[int, ...] | None:
    """Shape of an operator's kernel in TFLite's layout, None without one."""
    layer = plan.graph.layers[operator.layer]
    channels, size = layer.shape[-1], layer.kernel_size
    if operator.name == "CONV_2D":
        return (channels, size, size, plan.shapes[operator.inputs[0]][-1])
    if operator.name == "DEPTHWISE_CONV_2D":
        return (1, size, size, channels)
    if operator.name == "FULLY_CONNECTED":
        return (channels, plan.shapes[operator.inputs[0]][-1])
    return (channels,) if operator.name == "MUL" else None


def bias_size(plan: OperatorPlan, operator: PlannedOperator) -> int | None:
    """Number of an operator's biases, None without any. TFLite wants one for every convolution."""
    layer = plan.graph.layers[operator.layer]
    if layer.kind in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV):
        return layer.shape[-1]
    if layer.kind is LayerKind.DENSE:
        return layer.shape[-1] if layer.use_bias else None
    return layer.shape[-1] if layer.kind is LayerKind.BATCH_NORM and operator.name == "ADD" else None


def folded_constants(plan: OperatorPlan, weights: NetworkWeights) -> tuple[OperatorConstants, ...]:
    """Constants of every operator from a network's weights.

    Raises:
        InvalidInputError: the weights do not fit the network.
    """
    check_weights(plan.graph, weights)
    return tuple(_folded(plan, operator, weights) for operator in plan.operators)


def _folded(plan: OperatorPlan, operator: PlannedOperator, weights: NetworkWeights) -> OperatorConstants:
    layers = plan.graph.layers
    layer = layers[operator.layer]
    if layer.kind is LayerKind.BATCH_NORM:
        factor, shift = _factor_and_shift(weights[layer.name])
        return OperatorConstants(kernel=factor) if operator.name == "MUL" else OperatorConstants(bias=shift)
    if layer.name not in weights:
        return OperatorConstants()
    kernel, *rest = (np.asarray(array, np.float32) for array in weights[layer.name])
    bias = rest[0] if rest else np.zeros(layer.shape[-1], np.float32)
    if layer.kind is LayerKind.DENSE:
        return OperatorConstants(np.ascontiguousarray(kernel.T), bias if rest else None)
    kernel = kernel.transpose(3, 0, 1, 2)
    for position in operator.batch_norms:
        factor, shift = _factor_and_shift(weights[layers[position].name])
        along_output = factor if layer.kind is LayerKind.DEPTHWISE_CONV else factor[:, None, None, None]
        kernel, bias = kernel * along_output, bias * factor + shift
    return OperatorConstants(np.ascontiguousarray(kernel), bias)


def _factor_and_shift(arrays: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale, shift, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + BATCH_NORM_EPSILON)
    return factor.astype(np.float32), (shift - mean * factor).astype(np.float32)


def random_constants(plan: OperatorPlan, seed: int = 0) -> tuple[OperatorConstants, ...]:
    """Seeded random constants of every operator: each has its own, scaled so that activations keep an ordinary size."""
    stds = weight_stds(plan.graph)
    noise = NoiseSource([seed])
    shapes = [kernel_shape(plan, operator) if operator.layer in stds else None for operator in plan.operators]
    # All kernels lie in one array: a large one comes from the system in fewer and larger pieces.
    rest = np.empty(sum(math.prod(shape) for shape in shapes if shape is not None), np.float32)
    constants = []
    for operator, shape in zip(plan.operators, shapes, strict=True):
        kernel = None
        if shape is not None:
            kernel, rest = rest[: math.prod(shape)], rest[math.prod(shape) :]
            noise.fill(kernel, stds[operator.layer] * FRESH_BATCH_NORM ** len(operator.batch_norms))
            kernel = kernel.reshape(shape)
        elif operator.name == "MUL":
            kernel = np.full(plan.shapes[operator.output][-1], FRESH_BATCH_NORM, np.float32)
        constants.append(OperatorConstants(kernel, _fresh_bias(plan, operator)))
    return tuple(constants)


def _fresh_bias(plan: OperatorPlan, operator: PlannedOperator) -> NDArray[np.float32] | None:
    kind = plan.graph.layers[operator.layer].kind
    size = bias_size(plan, operator)
    shifts = operator.batch_norms or kind in (LayerKind.BATCH_NORM, LayerKind.DENSE)
    return None if size is None else np.full(size, SMALL_SHIFT if shifts else 0.0, np.float32)
