"""A TFLite flatbuffer, unpacked and checked: its operators by name, its tensors, and which of them are constants."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidModelError

BYTES_PER_ELEMENT = MappingProxyType(
    {
        "BOOL": 1.0,
        "INT2": 0.25,
        "INT4": 0.5,
        "UINT4": 0.5,
        "INT8": 1.0,
        "UINT8": 1.0,
        "FLOAT8_E4M3FN": 1.0,
        "FLOAT8_E5M2": 1.0,
        "INT16": 2.0,
        "UINT16": 2.0,
        "FLOAT16": 2.0,
        "BFLOAT16": 2.0,
        "INT32": 4.0,
        "UINT32": 4.0,
        "FLOAT32": 4.0,
        "INT64": 8.0,
        "UINT64": 8.0,
        "FLOAT64": 8.0,
        "COMPLEX64": 8.0,
        "COMPLEX128": 16.0,
    }
)
"""Size of an element of a tensor, by the type's name; strings, resources and variants have none."""

_IDENTIFIER = b"TFL3"
_DAMAGE = (ValueError, IndexError, TypeError, OverflowError, struct.error)
_LEAST_BYTES_OF_ENTRY = 4
_MOST_ELEMENTS = 2**48


def check_tflite(content: bytes, name: str) -> None:
    """Refuse what is not a TFLite flatbuffer, by its identifier.

    Raises:
        InvalidModelError: not one.
    """
    if len(content) < 16 or content[4:8] != _IDENTIFIER:
        raise InvalidModelError(
            f"{name} is not a TFLite model ({len(content)} bytes, no 'TFL3' mark); "
            "give a .tflite file, or convert a Keras file with: leti-opt convert FILE"
        )


def read_content(path: Path | str) -> bytes:
    """The bytes of a file.

    Raises:
        InvalidModelError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidModelError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def damage_reported(name: str) -> Iterator[None]:
    """Turn what the flatbuffer library raises over wrong offsets and lengths into an InvalidModelError."""
    try:
        yield
    except InvalidModelError:
        raise
    except _DAMAGE as error:
        raise damaged(name, str(error)) from error


def damaged(name: str, reason: str) -> InvalidModelError:
    """The error for a file that is a TFLite model by its mark only."""
    return InvalidModelError(f"{name} is marked as a TFLite model but is damaged ({reason}); make it anew")


def unpack_model(content: bytes, name: str) -> Any:
    """The file as the schema's ``ModelT``; constants are views of the content, not copies.

    Raises:
        InvalidModelError: the content is no TFLite model, or a damaged one.
    """
    check_tflite(content, name)
    from ai_edge_litert import schema_py_generated as schema

    with damage_reported(name):
        _check_counts(schema.Model.GetRootAs(content, 0), len(content), name)
        return schema.ModelT.InitFromPackedBuf(content, 0)


def _check_counts(model: Any, size: int, name: str) -> None:
    """Refuse lists that claim more entries than the file has room for, before memory is given to them."""
    room = size // _LEAST_BYTES_OF_ENTRY
    claimed = model.OperatorCodesLength() + model.BuffersLength() + model.MetadataLength() + model.SignatureDefsLength()
    subgraphs = model.SubgraphsLength()
    if claimed + subgraphs > room:
        raise damaged(name, f"lists of {claimed + subgraphs} entries in {size} bytes")
    for index in range(subgraphs):
        subgraph = model.Subgraphs(index)
        claimed += 1 + subgraph.TensorsLength() + subgraph.OperatorsLength()
        if claimed > room:
            raise damaged(name, f"lists of {claimed} entries in {size} bytes")


@dataclass(frozen=True)
class TfliteFile:
    """The main subgraph of a checked file: every index in it is in range, every shape is not negative.

    Args:
        name: for messages.
        content: the file's bytes.
        model: the schema's ``ModelT``.
    """

    name: str
    content: bytes
    model: Any

    @property
    def graph(self) -> Any:
        """The subgraph that is run: the first."""
        return self.model.subgraphs[0]

    def code(self, operator: Any) -> Any:
        """The operator's entry in the table of codes."""
        return self.model.operatorCodes[operator.opcodeIndex]

    def operator_name(self, operator: Any) -> str:
        """TFLite's name of a built-in operator, or the custom code of a custom one."""
        code = self.code(operator)
        number = _code_number(code)
        if number == operator_numbers()["CUSTOM"]:
            return text(code.customCode) or "CUSTOM"
        return operator_names().get(number, f"UNKNOWN_{number}")

    def is_custom(self, operator: Any) -> bool:
        """Whether no runtime has it unless the user adds it."""
        return _code_number(self.code(operator)) == operator_numbers()["CUSTOM"]

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Full shape, the batch included; () for a scalar."""
        return _shape(self.graph.tensors[tensor])

    def type_name(self, tensor: int) -> str:
        """Name of the type of a tensor's elements."""
        return type_name(self.graph.tensors[tensor].type)

    def is_constant(self, tensor: int) -> bool:
        """Whether the file, or one beside it, holds its values."""
        found = self.graph.tensors[tensor]
        buffer = self.model.buffers[found.buffer]
        return _is_inside(buffer) or (buffer.offset or 0) > 1 or (found.externalBuffer or 0) > 0

    def constant_bytes(self, tensor: int) -> NDArray[np.uint8] | None:
        """A constant's values as bytes; None where another file holds them."""
        buffer = self.model.buffers[self.graph.tensors[tensor].buffer]
        if _is_inside(buffer):
            return np.asarray(buffer.data, dtype=np.uint8)
        if (buffer.offset or 0) > 1:
            return np.frombuffer(self.content, np.uint8, buffer.size, buffer.offset)
        return None


def open_tflite(content: bytes, name: str = "the file") -> TfliteFile:
    """Unpack a TFLite file and check every index, shape and constant of its main subgraph.

    Raises:
        InvalidModelError: the content is no TFLite model, or a damaged one.
    """
    file = TfliteFile(name, content, unpack_model(content, name))
    if not file.model.subgraphs:
        raise damaged(name, "it has no graph")
    _check_tables(file)
    for number, tensor in enumerate(file.graph.tensors or []):
        _check_tensor(file, number, tensor)
    for number, operator in enumerate(file.graph.operators or []):
        _check_operator(file, number, operator)
    for role, indices in (("input", file.graph.inputs), ("output", file.graph.outputs)):
        _check_indices(file, role, indices, 0)
    return file


def _check_tables(file: TfliteFile) -> None:
    graph = file.graph
    tables = {
        "graph": [graph],
        "tensor": graph.tensors,
        "operator": graph.operators,
        "buffer": file.model.buffers,
        "operator code": file.model.operatorCodes,
    }
    for what, entries in tables.items():
        if any(entry is None for entry in entries or []):
            raise damaged(file.name, f"a {what} is missing")


def _check_tensor(file: TfliteFile, number: int, tensor: Any) -> None:
    if not 0 <= tensor.buffer < len(file.model.buffers or []):
        raise damaged(file.name, f"tensor {number} names buffer {tensor.buffer}")
    if any(side < 0 for side in _shape(tensor)):
        raise InvalidModelError(
            f"tensor {number} of {file.name} has the shape {_shape(tensor)}: convert the model with fixed sizes"
        )
    if math.prod(_shape(tensor)) > _MOST_ELEMENTS:
        raise damaged(file.name, f"tensor {number} has the shape {_shape(tensor)}, more than any memory holds")
    buffer = file.model.buffers[tensor.buffer]
    if not _is_inside(buffer) and (buffer.offset or 0) > 1 and buffer.offset + buffer.size > len(file.content):
        raise InvalidModelError(
            f"{file.name} is cut off: constants up to byte {buffer.offset + buffer.size}, but it has "
            f"{len(file.content)}; copy it again"
        )
    size = BYTES_PER_ELEMENT.get(type_name(tensor.type))
    if size is None or tensor.sparsity is not None or not file.is_constant(number):
        return
    stored, needed = file.constant_bytes(number), math.ceil(math.prod(_shape(tensor)) * size)
    if stored is not None and len(stored) != needed:
        raise damaged(file.name, f"tensor {number} needs {needed} bytes and has {len(stored)}")


def _check_operator(file: TfliteFile, number: int, operator: Any) -> None:
    if not 0 <= operator.opcodeIndex < len(file.model.operatorCodes or []):
        raise damaged(file.name, f"operator {number} names code {operator.opcodeIndex}")
    _check_indices(file, f"operator {number}", operator.inputs, -1)
    _check_indices(file, f"operator {number}", operator.outputs, 0)


def _check_indices(file: TfliteFile, who: str, indices: Any, least: int) -> None:
    count = len(file.graph.tensors or [])
    for index in index_list(indices):
        if not least <= index < count:
            raise damaged(file.name, f"{who} names tensor {index} of {count}")


def index_list(indices: Any) -> list[int]:
    """A list of indices of the schema as Python's integers; a missing one is empty."""
    return [] if indices is None else [int(index) for index in indices]


def text(value: bytes | str | None) -> str | None:
    """A name of the schema as text, whatever bytes it holds."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


@cache
def operator_numbers() -> dict[str, int]:
    """Numbers of TFLite's built-in operators by name."""
    from ai_edge_litert import schema_py_generated as schema

    return enum_numbers(schema.BuiltinOperator)


@cache
def operator_names() -> dict[int, str]:
    """Names of TFLite's built-in operators by number."""
    return {number: name for name, number in operator_numbers().items()}


@cache
def _type_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in enum_numbers(schema.TensorType).items()}


def type_name(number: int) -> str:
    """Name of a type of tensors, such as ``FLOAT32``."""
    return _type_names().get(number, f"UNKNOWN_{number}")


def enum_numbers(enum: Any) -> dict[str, int]:
    """Names and numbers of one of the schema's enums."""
    return {name: value for name, value in vars(enum).items() if isinstance(value, int)}


def _code_number(code: Any) -> int:
    """The newer field holds codes above 127; older files fill the older field only."""
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _is_inside(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(index_list(tensor.shape))
