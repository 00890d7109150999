"""Sizes that a TFLite file leaves open, worked out from the size of its inputs.

The converter writes 1 for an open size. That is right for the batch; behind a RESHAPE that moves the batch and the
image into one dimension it is wrong, and convolutions or dense layers there would look far too cheap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from leti_opt.network.tflite_flow import Flow, Step
from leti_opt.network.tflite_schema import TfliteFile, index_list

Shape = tuple[int, ...]

_ACTIVATIONS = ("ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "PRELU", "RELU", "RELU6", "RELU_N1_TO_1", "SOFTMAX", "TANH")
_FUNCTIONS = ("ABS", "CEIL", "COS", "EXP", "FLOOR", "LOG", "LOGISTIC", "NEG", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT")
_LIKE_INPUT = frozenset((*_ACTIVATIONS, *_FUNCTIONS, "CAST", "DEQUANTIZE", "QUANTIZE", "SQUARE"))
_OF_TWO = frozenset(("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "SQUARED_DIFFERENCE", "SUB"))


@dataclass(frozen=True)
class Sizes:
    """Full shapes of a file's tensors.

    Args:
        shapes: of those that differ from what the file says.
        unknown: tensors whose size cannot be told.
    """

    shapes: dict[int, Shape]
    unknown: frozenset[int]


def resolve_sizes(file: TfliteFile, flow: Flow) -> Sizes:
    """Follow open sizes (-1) through the operators that the converter leaves them in."""
    shapes: dict[int, Shape] = {}
    unknown: set[int] = set()
    values_per_row = _dense_inputs(file, flow)
    for step in flow.steps:
        for tensor in step.outputs:
            if -1 not in index_list(file.graph.tensors[tensor].shapeSignature):
                continue
            read = [shapes.get(place, file.shape(place)) for place in step.inputs if place >= 0]
            found = _result(file, step, tensor, read)
            if found is None and step.name == "RESHAPE" and read:
                found = _rows(math.prod(read[0]), values_per_row.get(tensor, 0))
            if found is not None and found != file.shape(tensor):
                shapes[tensor] = found
            if found is None and (unknown.intersection(step.inputs) or _loses_elements(file, step, tensor, read)):
                unknown.add(tensor)
    return Sizes(shapes, frozenset(unknown))


def _result(file: TfliteFile, step: Step, tensor: int, read: list[Shape]) -> Shape | None:
    """The shape that follows from what is read; None where this operator does not tell."""
    if not read:
        return None
    if step.name in _LIKE_INPUT:
        return read[0]
    if step.name in _OF_TWO and len(read) == 2:
        return _stretched(*read)
    if step.name == "FULLY_CONNECTED" and len(read) > 1 and len(read[1]) == 2 and read[1][1]:
        units, values = read[1][0], read[1][1]
        kept = len(file.shape(tensor)) == len(read[0]) and len(read[0]) != 2
        return (*read[0][:-1], units) if kept else (math.prod(read[0]) // values, units)
    if step.name == "RESHAPE":
        return _filled(index_list(file.graph.tensors[tensor].shapeSignature), math.prod(read[0]))
    return None


def _dense_inputs(file: TfliteFile, flow: Flow) -> dict[int, int]:
    """For tensors of two dimensions that a dense layer reads, how many values it takes a row."""
    dense = [step.inputs[:2] for step in flow.steps if step.name == "FULLY_CONNECTED" and len(step.inputs) > 1]
    return {
        tensor: file.shape(weights)[1]
        for tensor, weights in dense
        if weights >= 0 and tensor >= 0 and len(file.shape(weights)) == len(file.shape(tensor)) == 2
    }


def _rows(elements: int, values: int) -> Shape | None:
    return (elements // values, values) if values and elements % values == 0 else None


def _stretched(first: Shape, second: Shape) -> Shape | None:
    longer = max(len(first), len(second))
    sides = zip((1,) * (longer - len(first)) + first, (1,) * (longer - len(second)) + second, strict=True)
    pairs = [(a, b) for a, b in sides]
    return tuple(max(a, b) for a, b in pairs) if all(a == b or 1 in (a, b) for a, b in pairs) else None


def _filled(signature: list[int], elements: int) -> Shape | None:
    """The signature with its only open size such that no element is lost."""
    known = math.prod(side for side in signature if side != -1)
    if signature.count(-1) != 1 or known <= 0 or elements % known:
        return None
    return tuple(elements // known if side == -1 else side for side in signature)


def _loses_elements(file: TfliteFile, step: Step, tensor: int, read: list[Shape]) -> bool:
    return step.name == "RESHAPE" and bool(read) and math.prod(read[0]) != math.prod(file.shape(tensor))
