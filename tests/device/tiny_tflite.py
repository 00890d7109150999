"""Small TFLite files made with LiteRT's own object API: no TensorFlow, no converter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from leti_opt.device.model import MeasurableModel


def adding_model(shape: Sequence[int] = (1, 8), tensor_type: int = schema.TensorType.FLOAT32) -> bytes:
    """One ADD of the input to itself."""
    return _pack([_graph([_tensor("in", shape, tensor_type), _tensor("out", shape, tensor_type)], [_add(0, 0, 1)])])


def model_that_crashes() -> bytes:
    """An int8 ADD without quantization: LiteRT's kernel aborts the process (SIGABRT in 2.3, with XNNPACK or not)."""
    return adding_model(tensor_type=schema.TensorType.INT8)


def model_that_hangs() -> bytes:
    """A WHILE whose condition is its own input, which the harness fills with what it likes, and is true for ever.

    The condition subgraph returns a constant true.
    """
    loop = schema.OperatorT()
    loop.opcodeIndex = 1
    loop.inputs, loop.outputs = [0], [1]
    loop.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    loop.builtinOptions = schema.WhileOptionsT()
    loop.builtinOptions.condSubgraphIndex, loop.builtinOptions.bodySubgraphIndex = 1, 2
    condition = _graph([_tensor("c_in", (1, 8)), _tensor("c_out", (1,), schema.TensorType.BOOL, buffer=1)], [])
    body = _graph([_tensor("b_in", (1, 8)), _tensor("b_out", (1, 8))], [_add(0, 0, 1)])
    return _pack([_graph([_tensor("in", (1, 8)), _tensor("out", (1, 8))], [loop]), condition, body])


def model_with_custom_operator(name: str = "NobodyKnowsThis") -> bytes:
    """One custom operator that no runtime has."""
    operator = _add(0, 0, 1)
    operator.builtinOptionsType, operator.builtinOptions = 0, None
    return _pack([_graph([_tensor("in", (1, 8)), _tensor("out", (1, 8))], [operator])], custom=name)


def measurable(folder: Path, content: bytes, name: str = "tiny") -> MeasurableModel:
    """A model around a file, without going through the reader: some of these files are broken on purpose."""
    path = folder / f"{name}.tflite"
    path.write_bytes(content)
    return MeasurableModel(key=name, name=name, renderer="file", path=path)


def _tensor(
    name: str, shape: Sequence[int], tensor_type: int = schema.TensorType.FLOAT32, buffer: int = 0
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), tensor_type, buffer
    return tensor


def _add(first: int, second: int, output: int) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = [first, second], [output]
    operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
    operator.builtinOptions = schema.AddOptionsT()
    return operator


def _graph(tensors: list[schema.TensorT], operators: list[schema.OperatorT]) -> schema.SubGraphT:
    graph = schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, operators, [0], [1]
    return graph


def _pack(graphs: list[schema.SubGraphT], custom: str | None = None) -> bytes:
    model = schema.ModelT()
    model.version = 3
    model.subgraphs = graphs
    code = schema.BuiltinOperator.CUSTOM if custom else schema.BuiltinOperator.ADD
    model.operatorCodes = [_code(code, custom), _code(schema.BuiltinOperator.WHILE, None)]
    always_true = schema.BufferT()
    always_true.data = [1]
    model.buffers = [schema.BufferT(), always_true]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _code(builtin: int, custom: str | None) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.customCode, code.version = custom, 1
    return code
