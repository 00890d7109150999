"""One operator of a TFLite file -> one layer: its kind where a layer graph knows one, and all its details."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.tflite_flow import Flow, Step
from leti_opt.network.tflite_schema import TfliteFile, enum_numbers, text

_MOST_VALUES = 64
"""Integer constants up to this size are axes, paddings and the like; larger ones are tables."""

_INTEGER_TYPES: Mapping[str, type[np.signedinteger[Any]]] = {"INT32": np.int32, "INT64": np.int64}
_NAMED_OPTIONS: Mapping[str, str] = {"padding": "Padding", "fused_activation_function": "ActivationFunctionType"}
_PLAIN_KINDS: Mapping[str, LayerKind] = {
    "CONV_2D": LayerKind.CONV,
    "DEPTHWISE_CONV_2D": LayerKind.DEPTHWISE_CONV,
    "FULLY_CONNECTED": LayerKind.DENSE,
    "MAX_POOL_2D": LayerKind.MAX_POOL,
    "AVERAGE_POOL_2D": LayerKind.AVERAGE_POOL,
    "RELU": LayerKind.RELU,
}


@dataclass(frozen=True)
class Operand:
    """What an operator reads at one place.

    Args:
        source: which of the layer's inputs it is; None for what is no activation.
        type: the element's type as the file stores it; ``NONE`` where an optional input is absent.
        shape: full shape.
        values: of an integer constant that is structure (axes, paddings, sizes), not weights.
        variable: whether it is state that the runtime keeps between runs.
    """

    source: int | None
    type: str
    shape: tuple[int, ...]
    values: tuple[int, ...] | None = None
    variable: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.source is None and self.type != "NONE" and not self.variable

    def plain(self) -> int | tuple[Any, ...] | None:
        """As a layer's details hold it; :func:`~leti_opt.network.read_layers.operands_of` reads it back."""
        if self.source is not None:
            return self.source
        if self.type == "NONE":
            return None
        return ("VARIABLE" if self.variable else self.type, self.shape, self.values)


def operands(
    file: TfliteFile, flow: Flow, step: Step, positions: Mapping[int, int], shapes: Mapping[int, tuple[int, ...]]
) -> tuple[Operand, ...]:
    """What an operator reads, place by place.

    Args:
        file: holds the operator.
        flow: tells which tensors are constants.
        step: the operator.
        positions: of the activations' layers.
        shapes: of activations where they differ from what the file says.
    """
    found: list[Operand] = []
    sources = 0
    for tensor in step.inputs:
        if tensor < 0:
            found.append(Operand(None, "NONE", ()))
        elif tensor in positions:
            found.append(Operand(sources, file.type_name(tensor), shapes.get(tensor, file.shape(tensor))))
            sources += 1
        else:
            found.append(_constant_operand(file, flow.stored.get(tensor, tensor), file.shape(tensor)))
    return tuple(found)


def _constant_operand(file: TfliteFile, tensor: int, shape: tuple[int, ...]) -> Operand:
    if file.graph.tensors[tensor].isVariable:
        return Operand(None, file.type_name(tensor), shape, variable=True)
    return Operand(None, file.type_name(tensor), shape, _structural_values(file, tensor))


def _structural_values(file: TfliteFile, tensor: int) -> tuple[int, ...] | None:
    """Small integer constants without a scale; others are weights, biases or tables."""
    found = file.graph.tensors[tensor]
    scale = None if found.quantization is None else found.quantization.scale
    kind = _INTEGER_TYPES.get(file.type_name(tensor))
    stored = file.constant_bytes(tensor)
    if kind is None or stored is None or (scale is not None and len(scale) > 0):
        return None
    values = np.frombuffer(stored, kind)
    return tuple(int(value) for value in values) if len(values) <= _MOST_VALUES else None


def options_of(file: TfliteFile, step: Step) -> dict[str, Any]:
    """The operator's options by their names in the schema, in snake case; plain values, enums by name."""
    operator = file.graph.operators[step.number]
    found: dict[str, Any] = {}
    for table in (operator.builtinOptions, operator.builtinOptions2):
        for key, value in vars(table).items() if table is not None else ():
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower()
            plain = _plain(value)
            if plain is not None:
                found[name] = _named(name, plain)
    custom = operator.customOptions
    if custom is not None and len(custom) > 0:
        found["custom_options_sha256"] = hashlib.sha256(bytes(custom)).hexdigest()
    return found


def _named(option: str, value: Any) -> Any:
    if option not in _NAMED_OPTIONS:
        return value
    return _enum_names(_NAMED_OPTIONS[option]).get(value, f"UNKNOWN_{value}")


@cache
def _enum_names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {number: name for name, number in enum_numbers(getattr(schema, enum)).items()}


def _plain(value: Any) -> Any:
    """Options as values that can be hashed and written as JSON."""
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, bytes):
        return text(value)
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__dict__"):
        return tuple((key, _plain(item)) for key, item in sorted(vars(value).items()))
    return value


def kind_of(name: str, read: Sequence[Operand], output: tuple[int, ...], options: Mapping[str, Any]) -> LayerKind:
    """The kind that says what an operator computes; OPAQUE where the known ones don't fit."""
    if not read or read[0].source is None:
        return LayerKind.OPAQUE
    if name in _PLAIN_KINDS:
        return _PLAIN_KINDS[name]
    image = read[0].shape
    activations = all(operand.source is not None for operand in read)
    values = read[1].values if len(read) > 1 else None
    fits = {
        "ADD": activations and all(operand.shape == output for operand in read),
        "ADD_N": activations and all(operand.shape == output for operand in read),
        "CONCATENATION": activations and len(image) > 1 and options.get("axis") in (-1, len(image) - 1),
        "SLICE": len(image) == 4 and image[:-1] == output[:-1] and values == (0, 0, 0, 0),
        "MEAN": len(image) == 4 and {axis % 4 for axis in values or ()} == {1, 2},
    }
    kinds = {
        "ADD": LayerKind.ADD,
        "ADD_N": LayerKind.ADD,
        "CONCATENATION": LayerKind.CONCATENATE,
        "SLICE": LayerKind.SLICE_CHANNELS,
        "MEAN": LayerKind.GLOBAL_AVERAGE_POOL,
    }
    return kinds[name] if fits.get(name) else LayerKind.OPAQUE
