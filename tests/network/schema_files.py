"""TFLite files put together tensor by tensor with LiteRT's own object API, for cases that no converter makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

TYPES = {np.dtype(np.float32): "FLOAT32", np.dtype(np.float16): "FLOAT16", np.dtype(np.int32): "INT32"}


class SchemaFile:
    """A file in the making: tensors and operators are added one by one, and named by number."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", name: str = "", **fields: Any) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), getattr(schema.TensorType, kind), 0
        tensor.name = name or f"t{len(self.graph.tensors)}"
        for key, value in fields.items():
            setattr(tensor, key, value)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: NDArray[Any]) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self.tensor(values.shape, TYPES[values.dtype], buffer=len(self.model.buffers) - 1)

    def weights(self, *shape: int) -> int:
        return self.constant(np.random.default_rng(len(self.graph.tensors)).standard_normal(shape).astype(np.float32))

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str = "",
        custom: str = "",
        **options: Any,
    ) -> None:
        """Appends an operator; ``table`` is the name of its options in the schema, without ``Options``."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        code.customCode = custom or None
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if table:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{table}Options")
            operator.builtinOptions = getattr(schema, f"{table}OptionsT")()
            for key, value in options.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)

    def packed(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        return packed(self.model)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def unpacked(content: bytes) -> Any:
    return schema.ModelT.InitFromPackedBuf(content, 0)


def with_weights_outside(content: bytes) -> bytes:
    """The same model with every constant behind the flatbuffer, where offsets and sizes point."""
    model = unpacked(content)
    room, block = len(content) + 4096, bytearray()
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data):
            buffer.offset, buffer.size = room + len(block), len(buffer.data)
            block += bytes(buffer.data)
            block += bytes(-len(block) % 16)
            buffer.data = None
    return packed(model).ljust(room, b"\0") + bytes(block)


def reference_interpreter(content: bytes) -> Interpreter:
    """One thread, LiteRT's own kernels, no delegate."""
    found = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found.allocate_tensors()
    return found
