"""LayerGraph -> TFLite directly, without TensorFlow: the fast way.

The flatbuffer is put together through the schema classes that ai-edge-litert ships. Batch norm is folded into the
convolution before it, ReLU is fused and repeated layers are left out, as the TF converter does; the tests hold its
files against this one's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidConfigError
from leti_opt.network.layer_graph import Layer, LayerGraph
from leti_opt.network.operator_constants import OperatorConstants, folded_constants, random_constants
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator, plan_operators
from leti_opt.network.weights import NetworkWeights

_FORMAT_VERSION = 2
_OPTIONS: Mapping[str, str] = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "ADD_N": "AddNOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "MEAN": "ReducerOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
}


@cache
def writer_version() -> str:
    """Name and version of this way to TFLite, for keys."""
    return f"tflite-writer/{_FORMAT_VERSION}+litert-schema/{metadata.version('ai-edge-litert')}"


def write_tflite(graph: LayerGraph, weights: NetworkWeights | None = None, seed: int = 0) -> bytes:
    """Write a self-contained float32 model.

    Args:
        graph: what to write.
        weights: arrays by the layer's name, as :func:`~leti_opt.network.weights.keras_weights` gives them; None for
            random ones, each layer's own, scaled so that activations keep an ordinary size.
        seed: of random weights.

    Raises:
        InvalidConfigError: a precision other than float32; :func:`~leti_opt.network.tflite_converter.convert_tflite`
            has the others.
        InvalidInputError: the weights do not fit the graph.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))[4:8]
    b'TFL3'
    """
    check_writable(graph.precision)
    plan = plan_operators(graph)
    constants = random_constants(plan, seed) if weights is None else folded_constants(plan, weights)
    return _Writer(plan, constants).write()


def check_writable(precision: str) -> None:
    """Refuse what this writer does not write.

    Raises:
        InvalidConfigError: a precision other than float32.
    """
    if precision != "float32":
        raise InvalidConfigError(f"the direct writer knows float32, not {precision!r}; use the converter")


def _integers(operator: str, layer: Layer) -> list[list[int]]:
    """Constants that are structure, not weights."""
    if operator == "SLICE":
        return [[0, 0, 0, 0], [-1, -1, -1, layer.shape[-1]]]
    return [[1, 2]] if operator == "MEAN" else []


class _Writer:
    """Appends tensors, buffers and operators."""

    def __init__(self, plan: OperatorPlan, constants: Sequence[OperatorConstants]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.plan = plan
        self.constants = constants
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[int, int] = {}

    def write(self) -> bytes:
        for number, (name, shape) in enumerate(zip(self.plan.names, self.plan.shapes, strict=True)):
            label = name if number in self.plan.inputs else f"{name}_{number}"
            self.tensor(label, (self.plan.graph.batch_size, *shape), self.schema.TensorType.FLOAT32, 0)
        for operator, constants in zip(self.plan.operators, self.constants, strict=True):
            layer = self.plan.graph.layers[operator.layer]
            added = [self.constant(array) for array in (constants.kernel, constants.bias) if array is not None]
            added += [self.constant(np.array(values, np.int32)) for values in _integers(operator.name, layer)]
            self.operator(operator, added, *self.options(operator, layer))
        return self.packed()

    def options(self, operator: PlannedOperator, layer: Layer) -> tuple[Any, str]:
        name = _OPTIONS.get(operator.name, "NONE")
        if name == "NONE":
            return None, name
        options = getattr(self.schema, f"{name}T")()
        if hasattr(options, "fusedActivationFunction"):
            activation = self.schema.ActivationFunctionType
            options.fusedActivationFunction = activation.RELU if operator.relu else activation.NONE
        if hasattr(options, "strideH"):
            options.strideH = options.strideW = layer.stride
        if hasattr(options, "filterHeight"):
            options.filterHeight = options.filterWidth = layer.kernel_size
        if hasattr(options, "depthMultiplier"):
            options.depthMultiplier = 1
        if hasattr(options, "axis"):
            options.axis = -1
        return options, name

    def constant(self, values: NDArray[Any]) -> int:
        buffer = self.schema.BufferT()
        buffer.data = values.reshape(-1).view(np.uint8)
        self.buffers.append(buffer)
        kind = self.schema.TensorType
        number = kind.INT32 if values.dtype == np.int32 else kind.FLOAT32
        return self.tensor(f"constant_{len(self.tensors)}", values.shape, number, len(self.buffers) - 1)

    def tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int) -> int:
        tensor = self.schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = kind
        tensor.buffer = buffer
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, planned: PlannedOperator, constants: Sequence[int], options: Any, options_name: str) -> None:
        schema = self.schema
        code = getattr(schema.BuiltinOperator, planned.name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(code, len(self.codes))
        operator.inputs = np.array([*planned.inputs, *constants], np.int32)
        operator.outputs = np.array([planned.output], np.int32)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_name)
        operator.builtinOptions = options
        self.operators.append(operator)

    def packed(self) -> bytes:
        import flatbuffers

        schema = self.schema
        subgraph = schema.SubGraphT()
        subgraph.name = b"main"
        subgraph.tensors = self.tensors
        subgraph.operators = self.operators
        subgraph.inputs = np.array(self.plan.inputs, np.int32)
        subgraph.outputs = np.array([self.plan.output], np.int32)
        model = schema.ModelT()
        model.version = 3
        model.description = b"leti_opt"
        model.subgraphs = [subgraph]
        model.buffers = self.buffers
        model.operatorCodes = [self.operator_code(code) for code in self.codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def operator_code(self, code: int) -> Any:
        entry = self.schema.OperatorCodeT()
        entry.builtinCode = code
        entry.deprecatedBuiltinCode = min(code, 127)
        entry.version = 1
        return entry
