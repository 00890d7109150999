"""LayerGraph -> TFLite directly, without TensorFlow: the fast way.

The flatbuffer is put together through the schema classes that ai-edge-litert ships. Batch norm is folded into the
convolution before it, ReLU is fused and repeated layers are left out, as the TF converter does; the tests hold its
files against this one's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidConfigError
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind, without_repeats
from leti_opt.network.weights import weight_stds

_FORMAT_VERSION = 1
_BATCH_NORM_EPSILON = 1e-5


@cache
def writer_version() -> str:
    """Name and version of this way to TFLite, for keys."""
    return f"tflite-writer/{_FORMAT_VERSION}+litert-schema/{metadata.version('ai-edge-litert')}"


def write_tflite(graph: LayerGraph, seed: int = 0) -> bytes:
    """Write a self-contained float32 model with seeded random weights.

    Args:
        graph: what to write.
        seed: of the weights; each layer draws its own, scaled so that activations keep an ordinary size.

    Raises:
        InvalidConfigError: a precision other than float32; :func:`~leti_opt.network.tflite_converter.convert_tflite`
            has the others.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8)))[4:8]
    b'TFL3'
    """
    check_writable(graph.precision)
    return _Writer(without_repeats(graph), seed).write()


def check_writable(precision: str) -> None:
    """Refuse what this writer does not write.

    Raises:
        InvalidConfigError: a precision other than float32.
    """
    if precision != "float32":
        raise InvalidConfigError(f"the direct writer knows float32, not {precision!r}; use the converter")


class _Writer:
    """Appends tensors, buffers and operators; ``tensor_of`` maps a layer to the tensor that holds its result."""

    def __init__(self, graph: LayerGraph, seed: int) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.graph = graph
        self.seed = seed
        self.weight_stds = weight_stds(graph)
        self.consumers = Counter(source for layer in graph.layers for source in layer.inputs)
        self.followers = {
            source: position
            for position, layer in enumerate(graph.layers)
            for source in layer.inputs
            if self.consumers[source] == 1
        }
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[int, int] = {}
        self.tensor_of: dict[int, int] = {}

    def write(self) -> bytes:
        self.tensor_of[0] = self.activation(self.graph.layers[0])
        emit = self.emitters()
        for position, layer in enumerate(self.graph.layers[1:], start=1):
            if position not in self.tensor_of:
                emit[layer.kind](position, layer)
        return self.packed()

    def emitters(self) -> Mapping[LayerKind, Callable[[int, Layer], None]]:
        """How each kind of layer becomes operators: ``(position, layer)``."""
        return {
            LayerKind.CONV: self.convolution,
            LayerKind.DEPTHWISE_CONV: self.convolution,
            LayerKind.BATCH_NORM: self.batch_norm,
            LayerKind.RELU: self.relu,
            LayerKind.MAX_POOL: self.pool,
            LayerKind.AVERAGE_POOL: self.pool,
            LayerKind.ADD: self.add,
            LayerKind.CONCATENATE: self.concatenate,
            LayerKind.SLICE_CHANNELS: self.slice_channels,
            LayerKind.GLOBAL_AVERAGE_POOL: self.global_average_pool,
            LayerKind.DENSE: self.dense,
        }

    def convolution(self, position: int, layer: Layer) -> None:
        """The convolution with the batch norms and a ReLU that follow it and nothing else."""
        schema = self.schema
        last, scale = position, 1.0
        while self.only_follower(last, LayerKind.BATCH_NORM):
            last, scale = self.followers[last], scale / math.sqrt(1 + _BATCH_NORM_EPSILON)
        last, activation = self.fused_relu(last)
        depthwise = layer.kind is LayerKind.DEPTHWISE_CONV
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.strideH = options.strideW = layer.stride
        options.fusedActivationFunction = activation
        if depthwise:
            options.depthMultiplier = 1
        channels_in = next(self.graph.input_shapes(layer))[-1]
        size, channels = layer.kernel_size, layer.shape[-1]
        shape = (1, size, size, channels) if depthwise else (channels, size, size, channels_in)
        inputs = [
            self.tensor_of[layer.inputs[0]],
            self.weights(position, shape, scale),
            self.constant(np.zeros(channels, np.float32)),
        ]
        self.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            inputs,
            last,
            options,
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
        )
        self.alias(position, last)

    def batch_norm(self, position: int, layer: Layer) -> None:
        """A batch norm with no convolution to fold it into: a multiplication and an addition."""
        schema = self.schema
        scale = np.full(layer.shape[-1], 1 / math.sqrt(1 + _BATCH_NORM_EPSILON), np.float32)
        scaled = self.activation(layer)
        source = self.tensor_of[layer.inputs[0]]
        self.raw_operator("MUL", [source, self.constant(scale)], scaled, schema.MulOptionsT(), "MulOptions")
        last, activation = self.fused_relu(position)
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activation
        shift = self.constant(np.zeros(layer.shape[-1], np.float32))
        self.operator("ADD", [scaled, shift], last, options, "AddOptions")
        self.alias(position, last)

    def relu(self, position: int, layer: Layer) -> None:
        self.operator("RELU", [self.tensor_of[layer.inputs[0]]], position)

    def pool(self, position: int, layer: Layer) -> None:
        options = self.schema.Pool2DOptionsT()
        options.strideH = options.strideW = layer.stride
        options.filterHeight = options.filterWidth = layer.kernel_size
        last, options.fusedActivationFunction = self.fused_relu(position)
        name = "MAX_POOL_2D" if layer.kind is LayerKind.MAX_POOL else "AVERAGE_POOL_2D"
        self.operator(name, [self.tensor_of[layer.inputs[0]]], last, options, "Pool2DOptions")
        self.alias(position, last)

    def add(self, position: int, layer: Layer) -> None:
        inputs = [self.tensor_of[source] for source in layer.inputs]
        if len(inputs) > 2:
            self.operator("ADD_N", inputs, position, self.schema.AddNOptionsT(), "AddNOptions")
            return
        options = self.schema.AddOptionsT()
        last, options.fusedActivationFunction = self.fused_relu(position)
        self.operator("ADD", inputs, last, options, "AddOptions")
        self.alias(position, last)

    def concatenate(self, position: int, layer: Layer) -> None:
        options = self.schema.ConcatenationOptionsT()
        options.axis = -1
        inputs = [self.tensor_of[source] for source in layer.inputs]
        self.operator("CONCATENATION", inputs, position, options, "ConcatenationOptions")

    def slice_channels(self, position: int, layer: Layer) -> None:
        begin = self.constant(np.zeros(4, np.int32))
        size = self.constant(np.array([-1, -1, -1, layer.shape[-1]], np.int32))
        inputs = [self.tensor_of[layer.inputs[0]], begin, size]
        self.operator("SLICE", inputs, position)

    def global_average_pool(self, position: int, layer: Layer) -> None:
        axes = self.constant(np.array([1, 2], np.int32))
        inputs = [self.tensor_of[layer.inputs[0]], axes]
        self.operator("MEAN", inputs, position, self.schema.ReducerOptionsT(), "ReducerOptions")

    def dense(self, position: int, layer: Layer) -> None:
        channels_in = next(self.graph.input_shapes(layer))[-1]
        units = layer.shape[-1]
        inputs = [
            self.tensor_of[layer.inputs[0]],
            self.weights(position, (units, channels_in)),
        ]
        if layer.use_bias:
            inputs.append(self.constant(np.zeros(units, np.float32)))
        options = self.schema.FullyConnectedOptionsT()
        self.operator("FULLY_CONNECTED", inputs, position, options, "FullyConnectedOptions")

    def only_follower(self, position: int, kind: LayerKind) -> bool:
        follower = self.followers.get(position)
        return follower is not None and self.graph.layers[follower].kind is kind

    def fused_relu(self, position: int) -> tuple[int, int]:
        """The layer whose result an operator gives, and its fused activation."""
        activation = self.schema.ActivationFunctionType
        if self.only_follower(position, LayerKind.RELU):
            return self.followers[position], activation.RELU
        return position, activation.NONE

    def alias(self, first: int, last: int) -> None:
        """Everything from ``first`` to ``last`` is one operator; only the last tensor exists."""
        while first != last:
            self.tensor_of[first] = self.tensor_of[last]
            first = self.followers[first]

    def weights(self, position: int, shape: Sequence[int], scale: float = 1.0) -> int:
        draw = np.random.default_rng([self.seed, position]).standard_normal(shape, np.float32)
        return self.constant(draw * np.float32(self.weight_stds[position] * scale))

    def constant(self, values: NDArray[Any]) -> int:
        buffer = self.schema.BufferT()
        buffer.data = values.reshape(-1).view(np.uint8)
        self.buffers.append(buffer)
        kind = self.schema.TensorType
        number = kind.INT32 if values.dtype == np.int32 else kind.FLOAT32
        return self.tensor(f"constant_{len(self.tensors)}", values.shape, number, len(self.buffers) - 1)

    def activation(self, layer: Layer) -> int:
        shape = (self.graph.batch_size, *layer.shape)
        name = layer.name if layer.kind is LayerKind.INPUT else f"{layer.name}_{len(self.tensors)}"
        return self.tensor(name, shape, self.schema.TensorType.FLOAT32, 0)

    def tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int) -> int:
        tensor = self.schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = kind
        tensor.buffer = buffer
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        result: int,
        options: Any = None,
        options_name: str = "NONE",
    ) -> None:
        """An operator whose output is the tensor of layer ``result``."""
        self.tensor_of[result] = self.activation(self.graph.layers[result])
        self.raw_operator(name, inputs, self.tensor_of[result], options, options_name)

    def raw_operator(self, name: str, inputs: Sequence[int], output: int, options: Any, options_name: str) -> None:
        schema = self.schema
        code = getattr(schema.BuiltinOperator, name)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(code, len(self.codes))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)
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
        subgraph.inputs = np.array([self.tensor_of[0]], np.int32)
        subgraph.outputs = np.array([self.tensor_of[len(self.graph.layers) - 1]], np.int32)
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
