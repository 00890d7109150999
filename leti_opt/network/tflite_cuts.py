"""A TFLite file cut into its operators: each a file of its own, with its constants, shapes and options."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from leti_opt.errors import InvalidModelError
from leti_opt.network.tflite_flow import Flow, Step, trace_flow
from leti_opt.network.tflite_schema import TfliteFile, index_list, open_tflite, read_content, text, type_name
from leti_opt.network.tflite_shapes import Sizes, resolve_sizes

_STATEFUL_TYPES = ("RESOURCE", "VARIANT")


@dataclass(frozen=True)
class OperatorCut:
    """One operator of a file; its own file is made when asked for.

    Args:
        position: its place among the file's operators.
        operator: TFLite's name of it, or its custom code.
        name: of the tensor that it writes; the layer of the same name is its layer in
            :func:`~leti_opt.network.tflite_reader.read_tflite`.
        inputs: tensors of the whole file that its own file takes as inputs, in order, each once.
        outputs: tensors of the whole file that it gives.
        refusal: why it cannot stand alone; empty where it can.
    """

    position: int
    operator: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    refusal: str
    _file: TfliteFile = field(repr=False, compare=False)
    _sizes: Sizes = field(repr=False, compare=False)
    _unpacking: tuple[int, ...] = field(default=(), repr=False, compare=False)
    _fixed: Mapping[int, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shapes(self) -> str:
        """Sizes of the tensors that it reads and writes, for people, without the batch: ``8x8x3 -> 8x8x16``."""
        read, written = (" ".join(map(self._size, tensors)) for tensors in (self.inputs, self.outputs))
        return f"{read} -> {written}"

    def _size(self, tensor: int) -> str:
        shape = self._sizes.shapes.get(tensor, self._file.shape(tensor))
        return "x".join(map(str, shape[1:])) or "1"

    @property
    def content(self) -> bytes:
        """The operator as a ``.tflite`` file; packed anew at each call, so that a large network is not held twice.

        Raises:
            InvalidModelError: it cannot stand alone.
        """
        if self.refusal:
            raise InvalidModelError(
                f"operator {self.position} ({self.operator}) of {self._file.name} cannot be cut out: {self.refusal}; "
                "measure the whole file"
            )
        return _Cutter(self._file, self._sizes, self._fixed).cut(
            [*self._unpacking, self.position], self.inputs, self.outputs
        )


def cut_operators(source: Path | str | bytes) -> tuple[OperatorCut, ...]:
    """Cut a ``.tflite`` file into its operators, in the order of execution.

    A DEQUANTIZE or DENSIFY that only unpacks a constant is no cut of its own: it goes with the operators that read the
    constant. Operators that cannot stand alone are listed with the reason: those that read constants only, keep
    state, run other graphs of the file, are custom ones, hold their constants in another file, or read or write a
    tensor whose size does not follow from the file's inputs.

    A RESHAPE to a shape that is put together at run time (``Flatten`` where the batch is open) takes that shape as a
    constant. Whoever runs another operator that reads a computed size must feed one that fits.

    Args:
        source: path or content of the file.

    Raises:
        InvalidModelError: no such file, no TFLite model, or a damaged one.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> from leti_opt.network.tflite_writer import write_tflite
    >>> cell = Architecture.parse("0-1,1-2:maxpool3x3")
    >>> cuts = cut_operators(write_tflite(build_layer_graph(cell, NetworkConfig(scope="cell", filters=8))))
    >>> [(cut.operator, cut.content[4:8]) for cut in cuts]
    [('CONV_2D', b'TFL3'), ('MAX_POOL_2D', b'TFL3')]
    """
    file = open_tflite(source) if isinstance(source, bytes) else open_tflite(read_content(source), str(source))
    flow = trace_flow(file)
    sizes = resolve_sizes(file, flow)
    activations = {*flow.inputs, *(tensor for step in flow.steps for tensor in step.outputs)}
    return tuple(_cut(file, flow, sizes, step, activations) for step in flow.steps)


def _cut(file: TfliteFile, flow: Flow, sizes: Sizes, step: Step, activations: set[int]) -> OperatorCut:
    fixed = _computed_shape(file, sizes, step, activations)
    inputs = tuple(dict.fromkeys(tensor for tensor in step.inputs if tensor in activations and tensor not in fixed))
    unpacking = _unpacking(file, flow, step.inputs)
    refusal = _refusal(file, sizes, step, inputs, unpacking)
    names = [text(file.graph.tensors[tensor].name) or "" for tensor in step.outputs]
    name = names[0] if names else ""
    return OperatorCut(step.number, step.name, name, inputs, step.outputs, refusal, file, sizes, unpacking, fixed)


def _computed_shape(file: TfliteFile, sizes: Sizes, step: Step, activations: set[int]) -> dict[int, tuple[int, ...]]:
    """What a RESHAPE reads as its target at run time, by the tensor that holds it."""
    if step.name != "RESHAPE" or len(step.inputs) < 2 or step.inputs[1] not in activations or not step.outputs:
        return {}
    result = step.outputs[0]
    return {step.inputs[1]: sizes.shapes.get(result, file.shape(result))}


def _unpacking(file: TfliteFile, flow: Flow, tensors: Iterable[int]) -> tuple[int, ...]:
    """Operators that unpack the constants among these tensors, those of each tensor in its turn.

    So the order is that in which the constants are read, wherever the file unpacks them, and equal operators give equal
    files.
    """
    found: dict[int, None] = {}
    for tensor in tensors:
        number = flow.unpacked_by.get(tensor)
        if number is not None and number not in found:
            before = _unpacking(file, flow, index_list(file.graph.operators[number].inputs))
            found.update(dict.fromkeys([*before, number]))
    return tuple(found)


def _refusal(file: TfliteFile, sizes: Sizes, step: Step, inputs: tuple[int, ...], unpacking: tuple[int, ...]) -> str:
    operator = file.graph.operators[step.number]
    numbers = (*unpacking, step.number)
    touched = [tensor for number in numbers for tensor in _tensors_of(file.graph.operators[number])]
    types = {type_name(file.graph.tensors[tensor].type) for tensor in touched}
    if file.is_custom(operator):
        return "it is a custom operator, which the runtime does not have"
    if any("ubgraph" in option for option in _option_names(operator)):
        return "it runs other graphs of the file"
    if types & {*_STATEFUL_TYPES} or any(file.graph.tensors[tensor].isVariable for tensor in touched):
        return "it keeps state between runs"
    if not inputs:
        return "it reads constants only"
    if not step.outputs:
        return "it gives no result"
    held = [tensor for tensor in touched if file.is_constant(tensor)]
    if any(file.constant_bytes(tensor) is None for tensor in held) or operator.largeCustomOptionsSize:
        return "its constants are in another file"
    if sizes.unknown.intersection(inputs + step.outputs):
        return "the file leaves a size of it open, which does not follow from the inputs"
    return ""


def _tensors_of(operator: Any) -> list[int]:
    return [tensor for tensor in index_list(operator.inputs) + index_list(operator.outputs) if tensor >= 0]


def _option_names(operator: Any) -> list[str]:
    tables = (operator.builtinOptions, operator.builtinOptions2)
    return [option for table in tables if table is not None for option in vars(table)]


class _Cutter:
    """Collects the tensors, constants and codes that a few operators need; each tensor once."""

    def __init__(self, file: TfliteFile, sizes: Sizes, fixed: Mapping[int, tuple[int, ...]]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.file = file
        self.sizes = sizes
        self.fixed = fixed
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.place_of: dict[int, int] = {}
        self.codes: dict[int, int] = {}

    def cut(self, numbers: Iterable[int], inputs: Iterable[int], outputs: Iterable[int]) -> bytes:
        graph = self.schema.SubGraphT()
        graph.name = b"main"
        graph.operators = [self.operator(self.file.graph.operators[number]) for number in numbers]
        graph.inputs, graph.outputs = self.places(inputs), self.places(outputs)
        graph.tensors = self.tensors
        model = self.schema.ModelT()
        model.version = 3
        model.description = b"leti_opt"
        model.subgraphs = [graph]
        model.buffers = self.buffers
        model.operatorCodes = [self.file.model.operatorCodes[index] for index in self.codes]
        return _packed(model)

    def operator(self, operator: Any) -> Any:
        moved = copy.copy(operator)
        moved.opcodeIndex = self.codes.setdefault(operator.opcodeIndex, len(self.codes))
        moved.inputs = self.places(index_list(operator.inputs))
        moved.outputs = self.places(index_list(operator.outputs))
        if operator.intermediates is not None:
            moved.intermediates = self.places(index_list(operator.intermediates))
        moved.debugMetadataIndex = -1
        return moved

    def places(self, tensors: Iterable[int]) -> np.ndarray[Any, np.dtype[np.int32]]:
        return np.array([self.place(tensor) for tensor in tensors], np.int32)

    def place(self, tensor: int) -> int:
        if tensor < 0:
            return tensor
        if tensor not in self.place_of:
            moved = copy.copy(self.file.graph.tensors[tensor])
            moved.buffer = self.buffer(tensor)
            if tensor in self.sizes.shapes:
                moved.shape = np.array(self.sizes.shapes[tensor], np.int32)
            if tensor in self.fixed:
                moved.shape, moved.shapeSignature = np.array([len(self.fixed[tensor])], np.int32), None
            self.place_of[tensor] = len(self.tensors)
            self.tensors.append(moved)
        return self.place_of[tensor]

    def buffer(self, tensor: int) -> int:
        """The buffer of a tensor's constant; buffer 0 is empty by the format's rule and serves every activation."""
        values = self.file.constant_bytes(tensor)
        if tensor in self.fixed:
            values = np.frombuffer(np.array(self.fixed[tensor], np.int32).tobytes(), np.uint8)
        if values is None:
            return 0
        buffer = self.schema.BufferT()
        buffer.data = values
        self.buffers.append(buffer)
        return len(self.buffers) - 1


def _packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
