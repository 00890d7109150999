"""The one description of a network: every layer with its inputs and its shape.

Keras model, TFLite file, costs and predictor features are all readings of a :class:`LayerGraph`; no second place knows
how a cell becomes layers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from leti_opt.errors import InvalidInputError


class LayerKind(StrEnum):
    """What a layer computes."""

    INPUT = "input"
    CONV = "conv"
    DEPTHWISE_CONV = "depthwise_conv"
    BATCH_NORM = "batch_norm"
    RELU = "relu"
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    ADD = "add"
    CONCATENATE = "concatenate"
    SLICE_CHANNELS = "slice_channels"
    GLOBAL_AVERAGE_POOL = "global_average_pool"
    DENSE = "dense"
    OPAQUE = "opaque"

    # Enum's own is Python code, and building a network asks for it a thousand times.
    __hash__ = str.__hash__


@dataclass(frozen=True, init=False)
class Layer:
    """One layer. Convolutions and pools pad so that only the stride shrinks the image ("same").

    Args:
        name: unique in its graph; never part of the digest.
        kind: what it computes.
        inputs: positions of the layers that feed it, in order.
        shape: shape of its output without the batch: ``(height, width, channels)`` or ``(units,)``.
        kernel_size: side of the window of a convolution or pool; 0 for other kinds.
        stride: step of the window.
        use_bias: whether a convolution or dense layer has a bias.
        operator: the TFLite operator that it was read from; such a layer is an operator of its own, never fused with
            others or merged.
        details: what the fields above do not say of a layer that was read, sorted by name.
    """

    name: str
    kind: LayerKind
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    kernel_size: int = 0
    stride: int = 1
    use_bias: bool = False
    operator: str = ""
    details: tuple[tuple[str, Any], ...] = ()

    def __init__(
        self,
        name: str,
        kind: LayerKind,
        inputs: tuple[int, ...],
        shape: tuple[int, ...],
        kernel_size: int = 0,
        stride: int = 1,
        use_bias: bool = False,
        operator: str = "",
        details: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        # Straight into the instance's dict, since __setattr__ refuses; field by field it would take twice as long.
        vars(self).update(
            name=name,
            kind=kind,
            inputs=inputs,
            shape=shape,
            kernel_size=kernel_size,
            stride=stride,
            use_bias=use_bias,
            operator=operator,
            details=details,
        )


@dataclass(frozen=True)
class LayerGraph:
    """Layers in an order of execution; the first is the input, the last the output.

    Args:
        layers: each one refers to earlier ones only.
        batch_size: images per run.
        precision: how a TFLite file holds it: ``float32``, ``float16``, ``dynamic`` or ``int8``.

    Raises:
        ValueError: the layers are not in an order of execution.
    """

    layers: tuple[Layer, ...]
    batch_size: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not self.layers or self.layers[0].kind is not LayerKind.INPUT:
            raise ValueError("a layer graph begins with its input layer")
        for position, layer in enumerate(self.layers):
            for source in layer.inputs:
                if not 0 <= source < position:
                    raise ValueError(
                        f"layer {layer.name!r} at {position} refers to {layer.inputs}, not to earlier layers"
                    )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: ``(height, width, channels)``."""
        return self.layers[0].shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one image."""
        return self.layers[-1].shape

    def input_shapes(self, layer: Layer) -> Iterator[tuple[int, ...]]:
        """Shapes of what feeds a layer, in order."""
        return (self.layers[source].shape for source in layer.inputs)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of layers, shapes, batch and precision; names and weights do not enter."""
        rows = [
            [
                layer.kind.value,
                layer.inputs,
                layer.shape,
                layer.kernel_size,
                layer.stride,
                layer.use_bias,
                *([layer.operator, layer.details] if layer.operator or layer.details else []),
            ]
            for layer in self.layers
        ]
        text = json.dumps([rows, self.batch_size, self.precision])
        return hashlib.sha256(text.encode()).hexdigest()


def check_built(graph: LayerGraph) -> None:
    """Refuse a graph that was read from a file where one is needed that can be written or built.

    Raises:
        InvalidInputError: a layer was read from a file; names the first.

    >>> check_built(LayerGraph((Layer("input", LayerKind.INPUT, (), (8, 8, 3)),)))
    """
    if not isinstance(graph, LayerGraph):
        raise InvalidInputError(f"a LayerGraph is needed, as build_layer_graph makes it, not a {type(graph).__name__}")
    for layer in graph.layers:
        if layer.operator:
            raise InvalidInputError(
                f"layer {layer.name!r} ({layer.operator}) was read from a file, and such layers cannot be written or "
                "built again: their weights stay in the file; keep the file, or take single operators from it with "
                "cut_operators"
            )
