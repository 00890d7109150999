"""What a ``.tflite`` file holds: its layers, and the digest of its structure."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leti_opt.errors import InvalidModelError
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.read_layers import activation_type
from leti_opt.network.tflite_flow import WEIGHTED_OPERATORS, Flow, Step, trace_flow
from leti_opt.network.tflite_layers import Operand, kind_of, operands, options_of
from leti_opt.network.tflite_schema import (
    TfliteFile,
    check_tflite,
    damage_reported,
    index_list,
    open_tflite,
    read_content,
    text,
    unpack_model,
)
from leti_opt.network.tflite_shapes import resolve_sizes

__all__ = ["check_tflite", "read_tflite", "structure_digest"]

_EIGHT_BITS = ("INT8", "UINT8", "INT4", "UINT4", "INT2")


def read_tflite(source: Path | str | bytes) -> LayerGraph:
    """Read any ``.tflite`` file as a layer graph: one layer for each operator, in the file's order of execution.

    An operator becomes a layer of the kind that says what it computes (a convolution, a pool, a sum); any other stays
    as an opaque layer. Each layer has the operator's name (a custom one's code) and, among its ``details``:

    * every option of the operator by its name in TFLite's schema (``padding``, ``stride_w``, ``keep_dims``);
    * ``operands``: what it reads at each place, where that is not just its inputs: the number of an input, a
      constant as (type, shape, values of small integers), None for an absent one;
    * ``type``: the result's type, where it is not the usual one of the graph's precision;
    * ``tensor_shape``: the result's full shape, where it does not begin with the batch;
    * ``shape_signature``: where a size is left open in the file (-1); the network's inputs have the size that the
      file gives (1 for the batch), and what follows from it is worked out; ``size_unknown`` where it does not follow,
      and then :func:`~leti_opt.network.cost.network_cost` refuses;
    * ``outputs`` and ``output``: an operator with several results is a layer for each, with the same inputs; the
      first has no ``output``, the others have their number. One without a result is a layer of no elements;
    * ``graph_output``: the number among the network's outputs, unless the last layer is the only one.

    The first layers are the network's inputs, in order. Constants are no layers, nor is a DEQUANTIZE or DENSIFY of
    one, which only unpacks weights. Batch norm has been folded into weights before the file was written, so its
    parameters cannot be seen; a MUL or ADD that is left of one counts as no parameter. Of a file with several graphs
    (control flow) the first is read; what a branch or loop runs inside is not in the costs.

    Args:
        source: path or content of the file; the constants may lie behind the flatbuffer.

    Returns:
        a graph with the batch of the first input, and the precision that types of tensors tell: ``float32``;
        ``float16`` for weights of 16 bits; ``dynamic`` for weights of 8 bits and less between float activations;
        ``int8`` for activations of 8 bits, ``int16`` of 16.

    Raises:
        InvalidModelError: no such file, no TFLite model, a damaged one, or one without inputs.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> from leti_opt.network.tflite_writer import write_tflite
    >>> cell = Architecture.parse("0-1,1-2:maxpool3x3")
    >>> graph = read_tflite(write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8))))
    >>> [(layer.operator, layer.kind.value, layer.shape) for layer in graph.layers[1:]]
    [('CONV_2D', 'conv', (32, 32, 8)), ('MAX_POOL_2D', 'max_pool', (32, 32, 8))]
    """
    if isinstance(source, bytes):
        return _Reading(open_tflite(source)).graph()
    return _Reading(open_tflite(read_content(source), str(source))).graph()


class _Reading:
    """Appends a layer for each result of each step; ``positions`` maps a tensor to its layer."""

    def __init__(self, file: TfliteFile) -> None:
        self.file = file
        self.flow = trace_flow(file)
        if not self.flow.inputs:
            raise InvalidModelError(f"{file.name} has no input, so it is no network that can be run on images")
        first = file.shape(self.flow.inputs[0])
        self.batch_size = first[0] if len(first) > 1 and first[0] > 0 else 1
        self.precision = _precision(file, self.flow)
        self.sizes = resolve_sizes(file, self.flow)
        self.layers: list[Layer] = []
        self.names: set[str] = set()
        self.positions: dict[int, int] = {}

    def graph(self) -> LayerGraph:
        for tensor in self.flow.inputs:
            self.append(tensor, LayerKind.INPUT, (), {})
        for step in self.flow.steps:
            self.step(step)
        return LayerGraph(tuple(self.layers), self.batch_size, self.precision)

    def step(self, step: Step) -> None:
        read = operands(self.file, self.flow, step, self.positions, self.sizes.shapes)
        options = options_of(self.file, step)
        details = dict(options)
        plain = tuple(operand.plain() for operand in read)
        inputs = tuple(self.positions[tensor] for tensor in step.inputs if tensor in self.positions)
        if plain != tuple(range(len(inputs))):
            details["operands"] = plain
        if len(step.outputs) != 1:
            details["outputs"] = len(step.outputs)
        if not step.outputs:
            name = self.unique(f"{step.name}_{step.number}")
            self.layers.append(
                Layer(name, LayerKind.OPAQUE, inputs, (0,), operator=step.name, details=tuple(sorted(details.items())))
            )
            return
        kind = kind_of(step.name, read, self.shape(step.outputs[0]), options)
        fields = _fields(kind, read, options)
        for number, tensor in enumerate(step.outputs):
            extra = {"output": number} if number else {}
            self.append(tensor, kind, inputs, details | extra, operator=step.name, **fields)

    def append(
        self, tensor: int, kind: LayerKind, inputs: tuple[int, ...], details: dict[str, Any], **fields: Any
    ) -> None:
        full = self.shape(tensor)
        begins = len(full) > 0 and full[0] == self.batch_size
        details = details | self.tensor_details(tensor)
        if not begins:
            details["tensor_shape"] = full
        self.positions[tensor] = len(self.layers)
        name = self.unique(text(self.file.graph.tensors[tensor].name) or "tensor")
        shape = full[1:] if begins else full
        self.layers.append(Layer(name, kind, inputs, shape, details=tuple(sorted(details.items())), **fields))

    def tensor_details(self, tensor: int) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.file.type_name(tensor) != activation_type(self.precision):
            details["type"] = self.file.type_name(tensor)
        signature = tuple(index_list(self.file.graph.tensors[tensor].shapeSignature))
        if -1 in signature:
            details["shape_signature"] = signature
        if tensor in self.sizes.unknown:
            details["size_unknown"] = True
        last = self.flow.steps[-1].outputs[-1:] if self.flow.steps else self.flow.inputs[-1:]
        if tensor in self.flow.outputs and self.flow.outputs != last:
            details["graph_output"] = self.flow.outputs.index(tensor)
        return details

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.sizes.shapes.get(tensor, self.file.shape(tensor))

    def unique(self, name: str) -> str:
        found, number = name, 1
        while found in self.names:
            number += 1
            found = f"{name}_{number}"
        self.names.add(found)
        return found


def _fields(kind: LayerKind, read: Sequence[Operand], options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a layer that its kind has: side of the window, stride, bias."""
    fields: dict[str, Any] = {}
    if kind in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL):
        fields["stride"] = options.get("stride_h", 1)
        weights = read[1].shape if len(read) > 1 else ()
        fields["kernel_size"] = options.get("filter_height", weights[1] if len(weights) > 1 else 0)
    if kind in (LayerKind.CONV, LayerKind.DEPTHWISE_CONV, LayerKind.DENSE):
        fields["use_bias"] = len(read) > 2 and read[2].type != "NONE"
    return fields


def _precision(file: TfliteFile, flow: Flow) -> str:
    """Told from the results of convolutions and dense layers, or of all operators where there are none."""
    weighted = [step for step in flow.steps if step.name in WEIGHTED_OPERATORS and len(step.inputs) > 1]
    results = [file.type_name(tensor) for step in weighted or flow.steps for tensor in step.outputs]
    results = results or [file.type_name(tensor) for tensor in flow.inputs]
    if 2 * sum(kind in _EIGHT_BITS for kind in results) > len(results):
        return "int8"
    if 2 * results.count("INT16") > len(results):
        return "int16"
    held = [file.type_name(flow.stored.get(step.inputs[1], step.inputs[1])) for step in weighted if step.inputs[1] >= 0]
    if any(kind in _EIGHT_BITS for kind in held):
        return "dynamic"
    return "float16" if "FLOAT16" in (*held, *results) else "float32"


def structure_digest(content: bytes, name: str = "the file") -> str:
    """SHA-256 over operators, options, tensor shapes and types of a TFLite file; weights never enter.

    Two files of one network with different weights have one digest. Quantization scales count as weights; small
    integer constants that are no weights (axes, paddings, target shapes) count as structure.

    Raises:
        InvalidModelError: the content is no TFLite model, or a damaged one.
    """
    model = unpack_model(content, name)
    with damage_reported(name):
        structure = [
            [
                [text(code.customCode), max(code.builtinCode, code.deprecatedBuiltinCode), code.version]
                for code in model.operatorCodes or []
            ],
            [_subgraph(model, subgraph) for subgraph in model.subgraphs or []],
        ]
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()


def _subgraph(model: Any, subgraph: Any) -> list[Any]:
    return [
        _plain(subgraph.inputs),
        _plain(subgraph.outputs),
        [_tensor(model, tensor) for tensor in subgraph.tensors or []],
        [
            [
                operator.opcodeIndex,
                _plain(operator.inputs),
                _plain(operator.outputs),
                operator.builtinOptionsType,
                _plain(operator.builtinOptions),
                _plain(operator.customOptions),
                operator.builtinOptions2Type,
                _plain(operator.builtinOptions2),
            ]
            for operator in subgraph.operators or []
        ],
    ]


def _tensor(model: Any, tensor: Any) -> list[Any]:
    buffer = model.buffers[tensor.buffer]
    data = buffer.data
    inside = data is not None and len(data) > 0
    constant = inside or (buffer.offset or 0) > 1
    structural = inside and _is_structural(tensor)
    return [
        _plain(tensor.shape),
        _plain(tensor.shapeSignature),
        tensor.type,
        constant,
        bytes(data).hex() if structural else None,
        bool(tensor.isVariable),
        tensor.sparsity is not None,
        _quantization(tensor.quantization),
    ]


def _quantization(parameters: Any) -> list[int] | None:
    """How many scales there are and along which axis; their values count as weights."""
    if parameters is None or parameters.scale is None or len(parameters.scale) == 0:
        return None
    return [len(parameters.scale), parameters.quantizedDimension]


def _is_structural(tensor: Any) -> bool:
    """Integers without a quantization scale: axes, paddings and shapes, not weights or biases."""
    from ai_edge_litert import schema_py_generated as schema

    integers = (schema.TensorType.INT32, schema.TensorType.INT64)
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return tensor.type in integers and (scale is None or len(scale) == 0)


def _plain(value: Any) -> Any:
    """Schema objects and arrays as lists that JSON can hold."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "__dict__"):
        return [[key, _plain(item)] for key, item in sorted(vars(value).items())]
    return value
