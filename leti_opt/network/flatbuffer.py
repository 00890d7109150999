"""FileModel -> the bytes of a TFLite flatbuffer, written front to back.

A flatbuffer is made of tables (a link to the table's layout, then its fields), vectors and strings. All links are
relative, so a piece that links to nothing outside itself can be made once and put anywhere. Tensors, operators and
buffers are many and alike: each kind has one record layout, and its records are filled in as arrays once the places of
everything that they link to are known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.file_format import FILE_IDENTIFIER, SCHEMA_VERSION, TENSOR_TYPES
from leti_opt.network.file_model import FileBuffer, FileModel
from leti_opt.network.flatbuffer_pieces import (
    QUANTIZATION_SIZE,
    number_of,
    operator_code_piece,
    options_piece,
    options_table,
    quantization_piece,
    string_piece,
    table_layout,
    vector_piece,
)

_MOST_BYTES = 2**31 - 1
_DATA_ALIGNMENT = 16
_LINKED_RECORD = 24 + 4
"""A record, and the link to it in a vector."""
_HEADS = 12
"""Lengths and ends of a vector and a string."""
_MOST_BYTES_OF_PIECE = 128
"""A table of options, or all operators' codes of one version with theirs."""
_MOST_BYTES_OF_REST = 2048
_TENSOR = np.dtype("<i4,<u4,<u4,<u4,<u4,u1,V3")
_TENSOR.names = ("layout", "shape", "buffer", "name", "quantization", "type", "padding")
_OPERATOR = np.dtype("<i4,<u4,<u4,<u4,<u4,u1,V3")
_OPERATOR.names = ("layout", "code", "inputs", "outputs", "options", "options_type", "padding")
_BUFFER = np.dtype("<i4,<u4,<u8,<u8")
_BUFFER.names = ("layout", "data", "offset", "size")


def serialize(model: FileModel) -> bytes:
    """Write a file.

    Raises:
        InvalidInputError: an operator, type or setting that the format does not have, or 2 GiB and more.

    >>> from leti_opt.network.file_model import NO_BUFFER, FileTensor
    >>> nothing = FileModel((FileTensor("x", (1, 2), "FLOAT32"),), (), (NO_BUFFER,), (0,), (0,))
    >>> serialize(nothing)[4:8]
    b'TFL3'
    """
    return _Serializer(model).content()


def most_bytes(model: FileModel) -> int:
    """At least the size of the file, found faster than by writing it. Data inside count too."""
    records = _LINKED_RECORD * (len(model.tensors) + len(model.operators) + len(model.buffers))
    pieces = len({operator.options for operator in model.operators}) + len({o.version for o in model.operators})
    size = _MOST_BYTES_OF_REST + records + _MOST_BYTES_OF_PIECE * pieces
    size += 4 * (len(model.inputs) + len(model.outputs) + len(model.description))
    for tensor in model.tensors:
        name = tensor.name
        size += (len(name) if name.isascii() else 4 * len(name)) + 4 * len(tensor.shape) + _HEADS
        if tensor.quantization is not None:
            size += 12 * len(tensor.quantization.scales) + 2 * _HEADS + QUANTIZATION_SIZE
    for operator in model.operators:
        size += 4 * (len(operator.inputs) + len(operator.outputs)) + _HEADS
    for buffer in model.buffers:
        if buffer.data is not None:
            size += buffer.data.nbytes + 2 * _HEADS
    return size


_START = 8
_ROOT_SIZE = 24
_LAYOUTS = {
    # Model: version, operator codes, subgraphs, description, buffers.
    "model": table_layout(_ROOT_SIZE, [4, 8, 12, 16, 20]),
    # Subgraph: tensors, inputs, outputs, operators, name.
    "subgraph": table_layout(_ROOT_SIZE, [4, 8, 12, 16, 20]),
    # Tensor: shape, type, buffer, name, quantization.
    "tensor": table_layout(24, [4, 20, 8, 12]),
    "quantized tensor": table_layout(24, [4, 20, 8, 12, 16]),
    # Operator: code, inputs, outputs, type of options, options.
    "operator": table_layout(24, [4, 8, 12]),
    "operator with options": table_layout(24, [4, 8, 12, 20, 16]),
    # Buffer: data, offset, size.
    "empty buffer": table_layout(24, []),
    "buffer": table_layout(24, [4]),
    "buffer outside": table_layout(24, [0, 8, 16]),
}


def _layout_places() -> tuple[bytes, dict[str, int]]:
    joined, places = b"", {}
    for name, layout in _LAYOUTS.items():
        places[name] = _START + len(joined)
        joined += layout
    return joined + bytes(-len(joined) % 8), places


_LAYOUT_BYTES, _LAYOUT_AT = _layout_places()
_MODEL_AT = _START + len(_LAYOUT_BYTES)


class _Serializer:
    """Knows how far the file has been written; pieces are joined at the end."""

    def __init__(self, model: FileModel) -> None:
        self.model = model
        self.codes: dict[tuple[str, int], int] = {}
        for operator in model.operators:
            self.codes.setdefault((operator.name, operator.version), len(self.codes))
        self.pieces: list[Any] = []
        self.known: dict[Hashable, int] = {}
        self.size = 0

    def content(self) -> bytes:
        """Everything comes before what it links to, since links lead forward only."""
        model = self.model
        codes_at = _MODEL_AT + _ROOT_SIZE
        subgraphs_at = codes_at + _vector_size(self.codes)
        of_buffers_at = subgraphs_at + 8
        subgraph_at = of_buffers_at + _vector_size(model.buffers)
        of_tensors_at = subgraph_at + _ROOT_SIZE
        of_operators_at = of_tensors_at + _vector_size(model.tensors)
        vectors_end = of_operators_at + _vector_size(model.operators)
        buffers_at = -(-vectors_end // 8) * 8
        tensors_at = buffers_at + _BUFFER.itemsize * len(model.buffers)
        operators_at = tensors_at + _TENSOR.itemsize * len(model.tensors)
        self.size = operators_at + _OPERATOR.itemsize * len(model.operators)

        description_at, name_at = self.add(string_piece(model.description)), self.add(string_piece("main"))
        inputs_at, outputs_at = self.shared([model.inputs, model.outputs], vector_piece).tolist()
        code_at = self.shared(list(self.codes), operator_code_piece)
        tensors, operators = self.tensors(tensors_at), self.operators(operators_at)
        buffers = self.buffers(buffers_at)
        self.check_size()
        of_subgraph = [of_tensors_at, inputs_at, outputs_at, of_operators_at, name_at]
        head = [
            struct.pack("<I4s", _MODEL_AT, FILE_IDENTIFIER),
            _LAYOUT_BYTES,
            _root("model", _MODEL_AT, [codes_at, subgraphs_at, description_at, of_buffers_at], SCHEMA_VERSION),
            _links(codes_at, code_at),
            _links(subgraphs_at, [subgraph_at]),
            _links(of_buffers_at, _places(buffers_at, buffers)),
            _root("subgraph", subgraph_at, of_subgraph),
            _links(of_tensors_at, _places(tensors_at, tensors)),
            _links(of_operators_at, _places(operators_at, operators)),
            bytes(buffers_at - vectors_end),
            *(records.tobytes() for records in (buffers, tensors, operators)),
        ]
        return b"".join([*head, *map(_contiguous, self.pieces)])

    def check_size(self) -> None:
        if self.size > _MOST_BYTES:
            raise InvalidInputError(
                f"the file would have {self.size / 2**30:.1f} GiB, but a flatbuffer holds less than 2; "
                "use fewer filters, or keep the weights outside"
            )

    def tensors(self, at: int) -> NDArray[Any]:
        tensors = self.model.tensors
        records = np.zeros(len(tensors), _TENSOR)
        at_record = _places(at, records)
        quantized = np.array([tensor.quantization is not None for tensor in tensors], bool)
        records["layout"] = at_record - np.where(quantized, _LAYOUT_AT["quantized tensor"], _LAYOUT_AT["tensor"])
        records["shape"] = self.shared([tensor.shape for tensor in tensors], vector_piece) - at_record - 4
        records["buffer"] = [tensor.buffer for tensor in tensors]
        records["name"] = self.added([string_piece(tensor.name) for tensor in tensors]) - at_record - 12
        kinds = [tensor.type for tensor in tensors]
        numbers = {kind: number_of(TENSOR_TYPES, kind, "tensor type") for kind in set(kinds)}
        records["type"] = [numbers[kind] for kind in kinds]
        if quantized.any():
            self.align(8)
            parameters = [tensor.quantization for tensor in tensors if tensor.quantization is not None]
            places = self.added([quantization_piece(each) for each in parameters])
            records["quantization"][quantized] = places - at_record[quantized] - 16
        return records

    def operators(self, at: int) -> NDArray[Any]:
        operators = self.model.operators
        records = np.zeros(len(operators), _OPERATOR)
        at_record = _places(at, records)
        options = [operator.options for operator in operators]
        optioned = np.array([each is not None for each in options], bool)
        records["layout"] = at_record - np.where(optioned, _LAYOUT_AT["operator with options"], _LAYOUT_AT["operator"])
        records["code"] = [self.codes[operator.name, operator.version] for operator in operators]
        records["inputs"] = self.shared([operator.inputs for operator in operators], vector_piece) - at_record - 8
        records["outputs"] = self.shared([operator.outputs for operator in operators], vector_piece) - at_record - 12
        records["options_type"] = [0 if each is None else options_table(each).number for each in options]
        places = self.shared([each for each in options if each is not None], options_piece)
        records["options"][optioned] = places - at_record[optioned] - 16
        return records

    def buffers(self, at: int) -> NDArray[Any]:
        """Records of the buffers; the data, which are large, come last in the file."""
        buffers = self.model.buffers
        records = np.zeros(len(buffers), _BUFFER)
        at_record = _places(at, records)
        records["layout"] = at_record - [_LAYOUT_AT[_buffer_layout(buffer)] for buffer in buffers]
        records["offset"] = [buffer.offset for buffer in buffers]
        records["size"] = [buffer.size for buffer in buffers]
        inside = np.array([buffer.data is not None for buffer in buffers], bool)
        places = [self.data(buffer.data) for buffer in buffers if buffer.data is not None]
        records["data"][inside] = np.array(places, np.int64) - at_record[inside] - 4
        return records

    def data(self, values: NDArray[Any]) -> int:
        self.align(_DATA_ALIGNMENT, 4)
        at = self.add(struct.pack("<I", values.nbytes))
        if values.nbytes:
            self.pieces.append(values)
            self.size += values.nbytes
            self.align(4)
        return at

    def shared(self, keys: Sequence[Hashable], make: Callable[[Any], bytes]) -> NDArray[np.int64]:
        """Where the piece of each key is; equal keys share one."""
        known = self.known
        for key in keys:
            if key not in known:
                known[key] = self.add(make(key))
        return np.array([known[key] for key in keys], np.int64)

    def added(self, pieces: list[bytes]) -> NDArray[np.int64]:
        """Where each of these pieces, one after the other, begins."""
        ends = self.size + np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        places = np.concatenate([[self.size], ends])
        self.pieces += pieces
        self.size = int(places[-1])
        return places[:-1]

    def add(self, piece: bytes) -> int:
        at = self.size
        self.pieces.append(piece)
        self.size += len(piece)
        return at

    def align(self, alignment: int, after: int = 0) -> None:
        """Fill up so that what follows, past its first ``after`` bytes, begins at a multiple."""
        self.add(bytes(-(self.size + after) % alignment))


def _contiguous(piece: Any) -> Any:
    return np.ascontiguousarray(piece) if isinstance(piece, np.ndarray) else piece


def _places(at: int, records: NDArray[Any]) -> NDArray[np.int64]:
    """Where each record begins."""
    return at + records.dtype.itemsize * np.arange(len(records), dtype=np.int64)


def _links(at: int, targets: Sequence[int] | NDArray[np.int64]) -> bytes:
    """A vector of links to tables, placed at ``at``."""
    places = at + 4 + 4 * np.arange(len(targets), dtype=np.int64)
    return struct.pack("<I", len(targets)) + (np.asarray(targets, np.int64) - places).astype("<u4").tobytes()


def _vector_size(entries: Sized) -> int:
    """Of a vector of links."""
    return 4 + 4 * len(entries)


def _root(layout: str, at: int, targets: Sequence[int], *numbers: int) -> bytes:
    """Model or subgraph: a table of numbers, then links."""
    first = at + 4 + 4 * len(numbers)
    links = [target - first - 4 * place for place, target in enumerate(targets)]
    return struct.pack(f"<i{len(numbers) + len(links)}I", at - _LAYOUT_AT[layout], *numbers, *links)


def _buffer_layout(buffer: FileBuffer) -> str:
    if buffer.data is not None:
        return "buffer"
    return "buffer outside" if buffer.size or buffer.offset else "empty buffer"
