"""The range of values of every activation, which int8 is laid over: measured with images, or estimated.

:func:`calibrated_ranges` runs the float model. :func:`synthetic_ranges` runs nothing: random weights are scaled by an
estimate of each activation's mean and variance, and the range follows from that: well enough to measure latency with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.layer_graph import LayerGraph, LayerKind
from leti_opt.network.operator_constants import OperatorConstants
from leti_opt.network.operator_plan import OperatorPlan
from leti_opt.network.quantization import LARGEST_WEIGHT, ActivationRanges
from leti_opt.network.weights import activation_moments

NOISE_BATCHES = 8
_COARSEST_STEP = 64
"""In steps of the result: XNNPACK takes steps below 256."""
_SAME_SCALE = frozenset({"MAX_POOL_2D", "AVERAGE_POOL_2D", "SLICE", "CONCATENATION"})
_SPREADING = frozenset({LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE})
_SPREAD = 4.0
"""Synthetic ranges reach this many standard deviations to each side."""


def noise_batches(shape: tuple[int, ...], seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """Batches of standard normal noise, for networks whose real images are not at hand."""
    generator = np.random.default_rng(seed)
    for _ in range(NOISE_BATCHES):
        yield generator.standard_normal(shape).astype(np.float32)


def calibrated_ranges(plan: OperatorPlan, content: bytes, batches: Iterable[NDArray[np.floating]]) -> ActivationRanges:
    """Run a float model on images and note the range of every tensor.

    Args:
        plan: of the model.
        content: a float32 ``.tflite`` file of it for a batch of one, whose first tensors are those of the plan.
        batches: arrays of images ``(any number, height, width, channels)``.

    Raises:
        InvalidInputError: there are no images, they have another shape or are not finite, or the weights make
            activations that are not finite.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    count = len(plan.shapes)
    lows, highs = np.full(count, np.inf), np.full(count, -np.inf)
    for image in _images(batches, plan.graph.input_shape):
        interpreter.set_tensor(plan.inputs[0], image[None])
        interpreter.invoke()
        values = [interpreter.get_tensor(number) for number in range(count)]
        np.minimum(lows, [array.min() for array in values], out=lows)
        np.maximum(highs, [array.max() for array in values], out=highs)
    _check_ranges(plan, lows, highs)
    return ActivationRanges(lows, highs)


def _images(batches: Iterable[NDArray[np.floating]], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    for number, batch in enumerate(batches):
        array = np.asarray(batch, np.float32)
        if array.shape[1:] != shape or len(array.shape) != len(shape) + 1:
            raise InvalidInputError(
                f"representative batch {number} has the shape {array.shape}; give (any number, {_sides(shape)})"
            )
        if not np.isfinite(array).all():
            raise InvalidInputError(f"representative batch {number} holds numbers that are not finite; leave them out")
        yield from array


def _sides(shape: tuple[int, ...]) -> str:
    return ", ".join(str(side) for side in shape)


def _check_ranges(plan: OperatorPlan, lows: NDArray[np.float64], highs: NDArray[np.float64]) -> None:
    if np.isposinf(lows).all():
        raise InvalidInputError("no image to calibrate int8 with; give at least one representative batch, or None")
    bad = np.flatnonzero(~(np.isfinite(lows) & np.isfinite(highs)))
    if len(bad):
        raise InvalidInputError(
            f"activations of layer {plan.names[bad[0]]!r} are not finite, so int8 has no range for them; "
            "give smaller weights or images"
        )


def synthetic_ranges(plan: OperatorPlan) -> ActivationRanges:
    """Ranges of a network with random weights as the writer draws them, fed with standard normal noise."""
    bounds = dict(zip([layer.name for layer in plan.graph.layers], _bounds(plan.graph), strict=True))
    lows, highs = zip(*[bounds[name] for name in plan.names], strict=True)
    return ActivationRanges(np.array(lows), np.array(highs))


def _bounds(graph: LayerGraph) -> list[tuple[float, float]]:
    """Low and high end of each layer's result; those of a sum are as many standard deviations off as its terms'."""
    bounds: list[tuple[float, float]] = []
    moments = activation_moments(graph)
    for layer, (mean, variance) in zip(graph.layers, moments, strict=True):
        std = math.sqrt(variance)
        if layer.kind in _SPREADING or not layer.inputs:
            bounds.append((mean - _SPREAD * std, mean + _SPREAD * std))
        elif layer.kind is LayerKind.ADD:
            terms = [(*bounds[source], *moments[source]) for source in layer.inputs]
            below = max([(centre - low) / math.sqrt(spread) for low, _, centre, spread in terms])
            above = max([(high - centre) / math.sqrt(spread) for _, high, centre, spread in terms])
            bounds.append((mean - below * std, mean + above * std))
        else:
            lows, highs = zip(*[bounds[source] for source in layer.inputs], strict=True)
            low, high = min(lows), max(highs)
            bounds.append((max(low, 0.0), max(high, 0.0)) if layer.kind is LayerKind.RELU else (low, high))
    return bounds


def unified_ranges(plan: OperatorPlan, ranges: ActivationRanges) -> ActivationRanges:
    """One range for tensors that int8 kernels want in one scale: what a pool, slice or concatenation reads and writes.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> from leti_opt.network.operator_plan import plan_operators
    >>> cell = Architecture.parse("0-1,1-2:maxpool3x3")
    >>> plan = plan_operators(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))
    >>> measured = ActivationRanges(np.array([-1.0, 0.0, 0.5]), np.array([1.0, 3.0, 3.0]))
    >>> unified_ranges(plan, measured).lows
    array([-1.,  0.,  0.])
    """
    group = list(range(len(plan.shapes)))
    for operator in plan.operators:
        if operator.name in _SAME_SCALE:
            joined = {_root(group, tensor) for tensor in (operator.output, *operator.inputs)}
            for root in joined:
                group[root] = min(joined)
    roots = np.array([_root(group, tensor) for tensor in group])
    lows, highs = ranges.lows.copy(), ranges.highs.copy()
    np.minimum.at(lows, roots, ranges.lows)
    np.maximum.at(highs, roots, ranges.highs)
    return ActivationRanges(lows[roots], highs[roots])


def widened_ranges(
    plan: OperatorPlan, constants: Sequence[OperatorConstants], ranges: ActivationRanges
) -> ActivationRanges:
    """Ranges in which no result's step is far below the steps that it is made of.

    Such a result next to nothing, as of a ReLU that is never active, has no figures to lose by a wider one, and XNNPACK
    would refuse the whole model over it.
    """
    lows, highs = np.minimum(ranges.lows, 0), np.maximum(ranges.highs, 0)
    for operator, found in zip(plan.operators, constants, strict=True):
        step = 1.0 if found.kernel is None else float(np.abs(found.kernel).max()) / LARGEST_WEIGHT
        widest = max([highs[tensor] - lows[tensor] for tensor in operator.inputs])
        result = operator.output
        highs[result] = max(highs[result], lows[result] + widest * step / _COARSEST_STEP)
    return ActivationRanges(lows, highs)


def _root(group: list[int], tensor: int) -> int:
    while group[tensor] != tensor:
        tensor = group[tensor]
    return tensor
