"""What a ``.tflite`` file holds: for now, the digest of its structure."""

from __future__ import annotations

import enum
import hashlib
import json
from typing import Any

import numpy as np

from leti_opt.errors import InvalidModelError

_IDENTIFIER = b"TFL3"


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


def structure_digest(content: bytes, name: str = "the file") -> str:
    """SHA-256 over operators, options, tensor shapes and types of a TFLite file; weights never enter.

    Two files of one network with different weights have one digest. Quantization scales count as weights; small
    integer constants that are no weights (axes, paddings, target shapes) count as structure.

    Raises:
        InvalidModelError: the content is no TFLite model, or a damaged one.
    """
    check_tflite(content, name)
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        structure = [
            [
                [_text(code.customCode), max(code.builtinCode, code.deprecatedBuiltinCode), code.version]
                for code in model.operatorCodes or []
            ],
            [_subgraph(model, subgraph) for subgraph in model.subgraphs or []],
        ]
    except (ValueError, IndexError, TypeError, OverflowError, _struct_error()) as error:
        raise InvalidModelError(f"{name} is marked as a TFLite model but is damaged ({error}); make it anew") from error
    return hashlib.sha256(json.dumps(structure).encode()).hexdigest()


def _struct_error() -> type[Exception]:
    import struct

    return struct.error


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
        return _text(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(value, "__dict__"):
        return [[key, _plain(item)] for key, item in sorted(vars(value).items())]
    return value


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
