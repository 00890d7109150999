"""Which operators of a TFLite file work on activations, and which of its tensors are constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from leti_opt.network.tflite_schema import TfliteFile, damaged, index_list

WEIGHTED_OPERATORS = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "TRANSPOSE_CONV",
        "CONV_3D",
        "CONV_3D_TRANSPOSE",
        "FULLY_CONNECTED",
        "BATCH_MATMUL",
    }
)
"""Convolutions and dense layers; their second input holds the weights."""

_UNPACKING = frozenset({"DEQUANTIZE", "DENSIFY"})


@dataclass(frozen=True)
class Step:
    """An operator that is run for every image.

    Args:
        number: its place among the file's operators.
        name: TFLite's name of it, or its custom code.
        inputs: tensors that it reads, in order; -1 for an optional one that is absent.
        outputs: tensors that it writes.
    """

    number: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Flow:
    """How activations flow through a file's main subgraph.

    A DEQUANTIZE or DENSIFY of a constant is no step: it only unpacks weights, and the runtime does that once. Its
    result counts as a constant.

    Args:
        inputs: tensors that the caller fills.
        outputs: tensors that the caller reads.
        steps: in the order of execution.
        unpacked_by: for each constant that the file does not hold as such, the operator that unpacks it.
        stored: for each of these, the tensor that the file holds.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    unpacked_by: Mapping[int, int]
    stored: Mapping[int, int]


def trace_flow(file: TfliteFile) -> Flow:
    """Follow the operators in their order of execution.

    Raises:
        InvalidModelError: an operator reads what nothing has written, or writes what is there already.
    """
    steps: list[Step] = []
    unpacked_by: dict[int, int] = {}
    stored: dict[int, int] = {}
    written = set(index_list(file.graph.inputs))
    for number, operator in enumerate(file.graph.operators or []):
        inputs, outputs = index_list(operator.inputs), index_list(operator.outputs)
        name = file.operator_name(operator)
        _check_reads(file, f"operator {number} ({name})", [i for i in inputs if i >= 0], written, stored)
        _check_writes(file, f"operator {number} ({name})", outputs, written, stored)
        if name in _UNPACKING and len(inputs) == len(outputs) == 1 and inputs[0] not in written:
            stored[outputs[0]] = stored.get(inputs[0], inputs[0])
            unpacked_by[outputs[0]] = number
            continue
        written.update(outputs)
        steps.append(Step(number, name, tuple(inputs), tuple(outputs)))
    results = index_list(file.graph.outputs)
    _check_reads(file, "the caller", results, written, stored)
    return Flow(tuple(index_list(file.graph.inputs)), tuple(results), tuple(steps), unpacked_by, stored)


def _check_reads(file: TfliteFile, who: str, tensors: list[int], written: set[int], stored: Mapping[int, int]) -> None:
    for tensor in tensors:
        if tensor not in written and tensor not in stored and not _is_given(file, tensor):
            raise damaged(file.name, f"{who} reads tensor {tensor}, which nothing writes before")


def _check_writes(file: TfliteFile, who: str, tensors: list[int], written: set[int], stored: Mapping[int, int]) -> None:
    for tensor in tensors:
        if tensor in written or tensor in stored or file.is_constant(tensor) or tensors.count(tensor) > 1:
            raise damaged(file.name, f"{who} writes tensor {tensor}, which has its values already")


def _is_given(file: TfliteFile, tensor: int) -> bool:
    """Constants, state that the runtime keeps, and tensors without elements need no operator to write them."""
    return file.is_constant(tensor) or bool(file.graph.tensors[tensor].isVariable) or math.prod(file.shape(tensor)) == 0
