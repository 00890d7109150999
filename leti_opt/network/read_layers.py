"""What the details of layers that were read from a file say: full shapes, operands, sizes and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from leti_opt.errors import InvalidModelError
from leti_opt.network.layer_graph import Layer, LayerGraph
from leti_opt.network.tflite_flow import WEIGHTED_OPERATORS
from leti_opt.network.tflite_schema import BYTES_PER_ELEMENT

_INPUT_SIDED = frozenset({"TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"})
"""Each position of their input, not of their output, meets every weight; weights and input are operands 1 and 2."""

_WEIGHTS = 1


@dataclass(frozen=True)
class ReadOperand:
    """What an operator reads at one place.

    Args:
        type: of its elements, such as ``FLOAT32``; ``NONE`` for an absent one, ``VARIABLE`` for the runtime's state.
        shape: full shape, the batch included.
        layer: position of the layer whose result it is; None for what is no activation.
        values: of a constant that is structure (axes, paddings, sizes).
    """

    type: str
    shape: tuple[int, ...]
    layer: int | None = None
    values: tuple[int, ...] | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the file holds its values."""
        return self.layer is None and self.type not in ("NONE", "VARIABLE")


def activation_type(precision: str) -> str:
    """Type of most activations in a file of this precision."""
    return {"int8": "INT8", "int16": "INT16"}.get(precision, "FLOAT32")


def detail(layer: Layer, name: str, default: Any = None) -> Any:
    """One of a layer's details."""
    return next((value for key, value in layer.details if key == name), default)


def check_sizes(graph: LayerGraph) -> None:
    """Refuse a graph that was read from a file whose sizes are open where its costs depend on them.

    Raises:
        InvalidModelError: names the first such layer.
    """
    for layer in graph.layers:
        if detail(layer, "size_unknown"):
            raise InvalidModelError(
                f"the size of {layer.name!r} ({layer.operator}) is open in the file and does not follow from its "
                "inputs, so that costs cannot be told; convert the model with a fixed batch and image size"
            )


def full_shape(graph: LayerGraph, layer: Layer) -> tuple[int, ...]:
    """Shape of a layer's result with the batch."""
    stated = detail(layer, "tensor_shape")
    return (graph.batch_size, *layer.shape) if stated is None else tuple(stated)


def output_type(graph: LayerGraph, layer: Layer) -> str:
    """Type of the elements of a layer's result."""
    stated: str = detail(layer, "type", activation_type(graph.precision))
    return stated


def output_bytes(graph: LayerGraph, layer: Layer) -> int:
    """Size of a layer's result for the whole batch; strings and resources count as none."""
    size = BYTES_PER_ELEMENT.get(output_type(graph, layer), 0)
    return math.ceil(math.prod(full_shape(graph, layer)) * size)


def operands_of(graph: LayerGraph, layer: Layer) -> tuple[ReadOperand, ...]:
    """What the layer's operator reads, place by place."""
    stated = detail(layer, "operands", tuple(range(len(layer.inputs))))
    return tuple(_operand(graph, layer, plain) for plain in stated)


def _operand(graph: LayerGraph, layer: Layer, plain: Any) -> ReadOperand:
    if plain is None:
        return ReadOperand("NONE", ())
    if isinstance(plain, int):
        position = layer.inputs[plain]
        source = graph.layers[position]
        return ReadOperand(output_type(graph, source), full_shape(graph, source), position)
    kind, shape, values = plain
    return ReadOperand(kind, tuple(shape), None, values)


def read_multiply_accumulates(graph: LayerGraph, layer: Layer) -> int:
    """Of a convolution or dense layer, for the whole batch; 0 for any other operator.

    A product of two activations (attention) is no layer with weights and counts as 0.
    """
    if layer.operator not in WEIGHTED_OPERATORS or detail(layer, "output"):
        return 0
    read = operands_of(graph, layer)
    if len(read) <= _WEIGHTS:
        return 0
    output = full_shape(graph, layer)
    if layer.operator == "BATCH_MATMUL":
        summed = read[0].shape[-2 if detail(layer, "adj_x") else -1 :][:1]
        return math.prod(output) * math.prod(summed) if read[_WEIGHTS].is_constant else 0
    moving = read[2].shape if layer.operator in _INPUT_SIDED and len(read) > 2 else output
    return math.prod(moving[:-1]) * math.prod(read[_WEIGHTS].shape)


def read_parameters(graph: LayerGraph, layer: Layer) -> int:
    """Weights and bias that the file holds for a convolution or dense layer; 0 for any other operator."""
    if layer.operator not in WEIGHTED_OPERATORS or detail(layer, "output"):
        return 0
    read = operands_of(graph, layer)
    bias = 3 if layer.operator in _INPUT_SIDED else 2
    held = [read[place] for place in (_WEIGHTS, bias) if place < len(read)]
    return sum(math.prod(operand.shape) for operand in held if operand.is_constant)
