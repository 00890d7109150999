"""LayerGraph -> TFLite directly, without TensorFlow: the fast way.

Batch norm is folded into the convolution before it, ReLU is fused and repeated layers are left out, as the TF converter
does; the tests hold its files against this one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidConfigError, InvalidInputError, did_you_mean
from leti_opt.network.calibration import (
    calibrated_ranges,
    noise_batches,
    synthetic_ranges,
    unified_ranges,
    widened_ranges,
)
from leti_opt.network.file_format import (
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    INT8_VERSIONS,
    NUMPY_TYPES,
    OPTIONS,
    PADDING_SAME,
)
from leti_opt.network.file_model import (
    NO_BUFFER,
    FileBuffer,
    FileConstant,
    FileModel,
    FileOperator,
    FileTensor,
    OperatorOptions,
    TensorQuantization,
)
from leti_opt.network.flatbuffer import serialize
from leti_opt.network.layer_graph import Layer, LayerGraph, check_built
from leti_opt.network.operator_constants import OperatorConstants, folded_constants, random_constants
from leti_opt.network.operator_plan import OperatorPlan, plan_operators
from leti_opt.network.quantization import (
    ActivationRanges,
    activation_quantizations,
    int8_network,
    quantized_constants,
)
from leti_opt.network.weights import NetworkWeights

WRITABLE_PRECISIONS = ("float32", "float16", "int8")
RangeSource = Literal["auto", "calibrated", "synthetic"]

_FORMAT_VERSION = 3
_LARGEST_FLOAT16 = 65504.0
_DEQUANTIZE_VERSION = 3
"""The first that takes float16."""
_OPTIONS: Mapping[str, str] = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "MEAN": "ReducerOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
}


def writer_version() -> str:
    """Name and version of this way to TFLite, for keys."""
    return f"tflite-writer/{_FORMAT_VERSION}"


def write_tflite(
    graph: LayerGraph,
    weights: NetworkWeights | None = None,
    seed: int = 0,
    ranges: RangeSource = "auto",
    representative: Iterable[NDArray[np.floating]] | None = None,
) -> bytes:
    """Write a self-contained model.

    Args:
        graph: what to write, in ``float32``, ``float16`` (weights; a DEQUANTIZE operator turns each back) or ``int8``
            (weights, activations, input and output).
        weights: arrays by the layer's name, as :func:`~leti_opt.network.weights.keras_weights` gives them; None for
            random ones, each layer's own, scaled so that activations keep an ordinary size.
        seed: of random weights, and of the noise that calibrates ``int8`` without representative images.
        ranges: where the ranges of ``int8`` activations come from: ``calibrated``, from a run of the float model on
            the representative images; ``synthetic``, from the estimate that random weights are scaled by, without a
            run; ``auto``, synthetic for random weights without representative images and calibrated otherwise.
        representative: arrays of images ``(any number, height, width, channels)`` that calibrate ``int8``; standard
            normal noise by default.

    Raises:
        InvalidConfigError: another precision; :func:`~leti_opt.network.tflite_converter.convert_tflite` has it.
        InvalidInputError: the graph was read from a file; the weights do not fit the graph, or one is too large for
            float16; the images do not fit, or there is no use for them; synthetic ranges for given weights.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))[4:8]
    b'TFL3'
    """
    check_built(graph)
    check_writable(graph.precision)
    _check_ranges(graph.precision, ranges, weights is not None, representative is not None)
    plan = plan_operators(graph)
    constants = random_constants(plan, seed) if weights is None else folded_constants(plan, weights)
    if graph.precision == "float16":
        return serialize(describe(plan, _in_float16(plan, constants)))
    if graph.precision == "int8":
        if ranges == "synthetic" or (ranges == "auto" and weights is None and representative is None):
            found = synthetic_ranges(plan)
        else:
            found = _calibrated(plan, constants, representative, seed)
        return serialize(describe_int8(plan, constants, found))
    return serialize(describe(plan, [_constants(arrays) for arrays in constants]))


def check_writable(precision: str) -> None:
    """Refuse what this writer does not write.

    Raises:
        InvalidConfigError: a precision that is not among :data:`WRITABLE_PRECISIONS`.
    """
    if precision not in WRITABLE_PRECISIONS:
        raise InvalidConfigError(
            f"the direct writer knows {' and '.join(WRITABLE_PRECISIONS)}, not {precision!r}; use the converter"
        )


def _check_ranges(precision: str, ranges: str, given_weights: bool, given_images: bool) -> None:
    if ranges not in get_args(RangeSource):
        raise InvalidInputError(f"unknown ranges {ranges!r}; {did_you_mean(ranges, get_args(RangeSource))}")
    if given_images and (precision != "int8" or ranges == "synthetic"):
        raise InvalidInputError(
            f"representative images calibrate int8, but this is {precision!r} with ranges={ranges!r}; leave them out"
        )
    if given_weights and ranges == "synthetic":
        raise InvalidInputError("synthetic ranges are those of random weights; use ranges='calibrated' for given ones")


def _calibrated(
    plan: OperatorPlan,
    constants: Sequence[OperatorConstants],
    representative: Iterable[NDArray[np.floating]] | None,
    seed: int,
) -> ActivationRanges:
    """Ranges from a run of the float model, one image at a time whatever the batch: memory stays small."""
    one = replace(plan, graph=replace(plan.graph, batch_size=1, precision="float32"))
    content = serialize(describe(one, [_constants(arrays) for arrays in constants]))
    if representative is None:
        representative = noise_batches((plan.graph.batch_size, *plan.graph.input_shape), seed)
    found = unified_ranges(plan, calibrated_ranges(one, content, representative))
    return widened_ranges(plan, constants, found)


def describe_int8(plan: OperatorPlan, constants: Sequence[OperatorConstants], ranges: ActivationRanges) -> FileModel:
    """Say what the int8 file of a plan holds.

    Args:
        plan: operators and activation tensors.
        constants: of each operator, as real numbers.
        ranges: of each activation tensor.
    """
    activations = activation_quantizations(unified_ranges(plan, ranges))
    network = int8_network(plan, quantized_constants(plan, constants, activations), activations)
    return describe(network.plan, network.constants, network.quantizations)


def describe(
    plan: OperatorPlan,
    constants: Sequence[Sequence[FileConstant]],
    quantizations: Sequence[TensorQuantization | None] | None = None,
    input_name: str = "input",
) -> FileModel:
    """Say what the file of a plan holds.

    A constant in float16 passes a DEQUANTIZE operator; all of these come first, as in the TF converter's files. A
    constant that several operators share is one tensor.

    Args:
        plan: operators and activation tensors, which are the file's first tensors in the plan's order.
        constants: of each operator, in the order in which it reads them after its activations; those that are
            structure (axes, sizes) are added here.
        quantizations: of each activation tensor in a file of int8 activations, None for one that stays float32;
            no sequence at all for a file of float32 activations.
        input_name: of the tensor that holds the network's input.
    """
    layers = plan.graph.layers
    batch = plan.graph.batch_size
    versions: Mapping[str, int] = {} if quantizations is None else INT8_VERSIONS
    names = [input_name if tensor in plan.inputs else name for tensor, name in enumerate(plan.names)]
    tensors = [
        FileTensor(name, (batch, *shape), "INT8" if quantization else "FLOAT32", 0, quantization)
        for name, shape, quantization in zip(names, plan.shapes, quantizations or repeat(None), strict=False)
    ]
    added = _AddedConstants(tensors)
    operators = []
    for operator, own in zip(plan.operators, constants, strict=True):
        layer = layers[operator.layer]
        read = [added.tensor_of(constant, layer.name) for constant in own]
        read += [added.tensor_of(constant, "sizes") for constant in _structure(operator.name, layer.shape[-1])]
        options = _options(operator.name, operator.relu, layer.stride, layer.kernel_size)
        version = versions.get(operator.name, 1)
        operators.append(FileOperator(operator.name, (*operator.inputs, *read), (operator.output,), options, version))
    return FileModel(tuple(tensors), (*added.operators, *operators), tuple(added.buffers), plan.inputs, (plan.output,))


class _AddedConstants:
    """Appends constants to the tensors, each once."""

    def __init__(self, tensors: list[FileTensor]) -> None:
        self.tensors = tensors
        self.buffers = [NO_BUFFER]
        self.operators: list[FileOperator] = []
        self.known: dict[FileConstant, int] = {}

    def tensor_of(self, constant: FileConstant, owner: str) -> int:
        """The tensor that an operator is to read."""
        if constant in self.known:
            return self.known[constant]
        place = len(self.tensors)
        name = f"{owner}_constant{place}"
        self.tensors.append(FileTensor(name, constant.shape, constant.type, len(self.buffers), constant.quantization))
        self.buffers.append(constant.buffer)
        if constant.type == "FLOAT16":
            self.tensors.append(FileTensor(f"{name}_float32", constant.shape, "FLOAT32"))
            self.operators.append(FileOperator("DEQUANTIZE", (place,), (place + 1,), version=_DEQUANTIZE_VERSION))
            place += 1
        self.known[constant] = place
        return place


@lru_cache(maxsize=1024)
def _structure(operator: str, channels: int) -> tuple[FileConstant, ...]:
    """Constants that are structure, not weights."""
    if operator == "SLICE":
        return _integers(0, 0, 0, 0), _integers(-1, -1, -1, channels)
    return (_integers(1, 2),) if operator == "MEAN" else ()


@lru_cache(maxsize=1024)
def _integers(*values: int) -> FileConstant:
    return FileConstant((len(values),), "INT32", FileBuffer(np.array(values, np.int32)))


@lru_cache(maxsize=1024)
def _options(operator: str, relu: bool, stride: int, kernel_size: int) -> OperatorOptions | None:
    table = _OPTIONS.get(operator)
    if table is None:
        return None
    activation = ACTIVATION_RELU if relu else ACTIVATION_NONE
    settings = {
        "padding": PADDING_SAME,
        "stride_w": stride,
        "stride_h": stride,
        "filter_width": kernel_size,
        "filter_height": kernel_size,
        "depth_multiplier": 1,
        "axis": -1,
        "fused_activation_function": activation,
    }
    return OperatorOptions(table, tuple((name, settings[name]) for name in OPTIONS[table].fields if name in settings))


def _constants(arrays: OperatorConstants) -> tuple[FileConstant, ...]:
    return tuple(_constant(array) for array in (arrays.kernel, arrays.bias) if array is not None)


def _constant(values: NDArray[Any]) -> FileConstant:
    return FileConstant(values.shape, NUMPY_TYPES[values.dtype.name], FileBuffer(values))


def _in_float16(plan: OperatorPlan, constants: Iterable[OperatorConstants]) -> list[tuple[FileConstant, ...]]:
    """Constants in float16; equal biases become one, as the TF converter has it, since each costs an operator."""
    known: dict[bytes, FileConstant] = {}
    found = []
    for operator, arrays in zip(plan.operators, constants, strict=True):
        layer = plan.graph.layers[operator.layer]
        halves = [_float16(layer, array) for array in (arrays.kernel, arrays.bias) if array is not None]
        found.append(
            tuple(
                _constant(half) if half.ndim > 1 else known.setdefault(half.tobytes(), _constant(half))
                for half in halves
            )
        )
    return found


def _float16(layer: Layer, values: NDArray[np.float32]) -> NDArray[np.float16]:
    largest = float(np.abs(values).max(initial=0))
    if largest > _LARGEST_FLOAT16:
        raise InvalidInputError(
            f"layer {layer.name!r} has a weight of {largest:.6g}, but float16 ends at {_LARGEST_FLOAT16:.0f}; "
            "use float32, or scale the weights"
        )
    return values.astype(np.float16)
