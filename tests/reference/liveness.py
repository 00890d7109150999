"""Which activation tensors of a ``.tflite`` file are alive during each operator, told from the file alone.

Alive are what the operator reads and writes, what was written before and is still to be read, the network's inputs, and
outputs once they are written. Constants are not activations, nor is what is computed from constants only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tests.network.tflite_facts import operator_name

_BYTES = {"FLOAT32": 4, "FLOAT16": 2, "INT32": 4, "INT8": 1, "UINT8": 1, "INT16": 2, "INT64": 8, "BOOL": 1}
_BYTES_OF_TYPE = {getattr(schema.TensorType, name): size for name, size in _BYTES.items()}


@dataclass(frozen=True)
class Moment:
    """One operator's time: its name, what it reads and writes, and all tensors that are alive then."""

    operator: str
    reads: frozenset[int]
    writes: frozenset[int]
    alive: frozenset[int]


@dataclass(frozen=True)
class Liveness:
    """Of a whole file: bytes of each activation tensor by its number, and the operators in order."""

    size: dict[int, int]
    inputs: frozenset[int]
    moments: tuple[Moment, ...]

    @property
    def peak_bytes(self) -> int:
        return max(sum(self.size[tensor] for tensor in alive) for alive in self.all_alive)

    @property
    def all_alive(self) -> list[frozenset[int]]:
        """Before the first operator, and during each."""
        return [self.inputs, *(moment.alive for moment in self.moments)]


def liveness(content: bytes) -> Liveness:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    inputs, outputs = frozenset(graph.inputs.tolist()), frozenset(graph.outputs.tolist())
    active, steps = _activations(model, graph, inputs)
    moments = []
    for number, (name, reads, writes) in enumerate(steps):
        written = inputs.union(*(step[2] for step in steps[:number]))
        wanted = outputs.union(inputs, *(step[1] for step in steps[number + 1 :]))
        moments.append(Moment(name, reads, writes, reads | writes | (written & wanted)))
    size = {tensor: _bytes_of(graph.tensors[tensor]) for tensor in active}
    return Liveness(size, inputs, tuple(moments))


def _activations(
    model: Any, graph: Any, inputs: frozenset[int]
) -> tuple[frozenset[int], list[tuple[str, frozenset[int], frozenset[int]]]]:
    """Tensors that change from run to run, and for each operator on such its name, what it reads, what it writes."""
    active = set(inputs)
    steps = []
    for operator in graph.operators:
        reads = frozenset(operator.inputs.tolist()) & active
        if reads:
            writes = frozenset(operator.outputs.tolist())
            active |= writes
            steps.append((operator_name(model, operator), reads, writes))
    constants = {number for number, tensor in enumerate(graph.tensors) if _is_constant(model, tensor)}
    assert not constants & active
    return frozenset(active), steps


def _is_constant(model: Any, tensor: Any) -> bool:
    buffer = model.buffers[tensor.buffer]
    return (buffer.data is not None and len(buffer.data) > 0) or buffer.offset > 1


def _bytes_of(tensor: Any) -> int:
    return prod(tensor.shape.tolist()) * _BYTES_OF_TYPE[tensor.type]
