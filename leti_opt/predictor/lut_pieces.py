"""A network cut into the pieces that a lookup table holds: layers of a Keras model, or operators of its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, get_args

from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InvalidInputError, InvalidModelError, did_you_mean
from leti_opt.network.blocks import CutModel, LayerBlock, cut_model
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_converter import check_precision, convert_tflite, converter_version
from leti_opt.network.tflite_cuts import OperatorCut, cut_operators
from leti_opt.network.tflite_reader import structure_digest

Cutting = Literal["layer", "kernel"]
Granularity = Literal["layer", "kernel", "residual"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


@dataclass(frozen=True)
class Piece:
    """One layer or one kernel of a network. Pieces of equal keys are equal work, in whatever network they are.

    Args:
        key: what tells it from others: settings, shapes, types and precision.
        name: of the layer, or of the tensor that the kernel writes.
        operation: class of the layer, or TFLite's name of the operator.
        description: shapes, for people.
        refusal: why it cannot stand alone; empty where it can.
    """

    key: str
    name: str
    operation: str
    description: str
    refusal: str = ""
    _model: Callable[[], MeasurableModel] | None = field(default=None, repr=False, compare=False)

    def model(self) -> MeasurableModel:
        """The piece as a network of its own; its file is made when a device asks for it.

        Raises:
            InvalidModelError: it cannot stand alone.
        """
        if self._model is None:
            raise InvalidModelError(f"{self.operation} {self.name} cannot be measured alone: {self.refusal}")
        return self._model()


@dataclass(frozen=True)
class Pieces:
    """What a network falls into.

    Args:
        all: the pieces, in the order of execution.
        transfers: how often a piece reads what another one wrote.
    """

    all: tuple[Piece, ...]
    transfers: int


class Cuttable:
    """A network that can be cut; nothing is built, converted or cut before it is asked for.

    Args:
        network: a Keras model, a :class:`~leti_opt.network.layer_graph.LayerGraph`, the path of a ``.tflite`` file or
            its content.
        name: what people call it.
        precision: that it is converted to; of no meaning for a file.

    Raises:
        InvalidModelError: it is none of these.
        InvalidInputError: unknown precision.
    """

    def __init__(self, network: Any, name: str = "network", precision: str = "float32") -> None:
        check_precision(precision)
        if not (isinstance(network, LayerGraph | Path | str | bytes) or _is_keras(network)):
            raise InvalidModelError(
                f"{name} is a {type(network).__name__}; hand in a keras.Model, a LayerGraph, the path of a .tflite "
                "file or its content"
            )
        self.network = network
        self.name = name
        self.precision = precision

    @property
    def has_layers(self) -> bool:
        """Whether its layers are known; a file holds kernels only."""
        return not isinstance(self.network, Path | str | bytes)

    @cached_property
    def whole(self) -> MeasurableModel:
        """The whole network, for the direct measurement."""
        if isinstance(self.network, bytes):
            return MeasurableModel.of_content(self.network, self.name, "file", "unknown")
        if isinstance(self.network, Path | str):
            return MeasurableModel.of_file(self.network)
        if isinstance(self.network, LayerGraph) and self.network.precision == self.precision:
            return MeasurableModel.of_graph(self.network, self.name)
        from leti_opt.network.keras_weights import constants_freed

        model = self._batch_one()
        with constants_freed(model, seed=0):
            content = converted(model, self.name, self.precision)
        return MeasurableModel.of_content(content, self.name, converter_version(), self.precision)

    @cached_property
    def layers(self) -> Pieces:
        """Its layers.

        Raises:
            InvalidModelError: they are not known, as those of a file or of a subclassed model.
        """
        if not self.has_layers:
            raise InvalidModelError(f"{self.name} is a file, which holds no layers; ask for the granularity kernel")
        pieces = tuple(_of_layer(block, self.precision) for block in self._cut.blocks)
        return Pieces(pieces, max(0, sum(len(block.input_shapes) for block in self._cut.blocks) - 1))

    @cached_property
    def kernels(self) -> Pieces:
        """The operators of its file."""
        cuts = cut_operators(self.whole.tflite)
        written = {tensor for cut in cuts for tensor in cut.outputs}
        transfers = sum(tensor in written for cut in cuts for tensor in cut.inputs)
        precision = self.whole.precision
        return Pieces(tuple(_of_kernel(cut, precision) for cut in cuts), transfers)

    def pieces(self, cutting: Cutting) -> Pieces:
        """Layers or kernels."""
        return self.layers if cutting == "layer" else self.kernels

    @cached_property
    def _cut(self) -> CutModel:
        return cut_model(build_keras_model(self.network) if isinstance(self.network, LayerGraph) else self.network)

    def _batch_one(self) -> Any:
        """The model with a batch of 1. A subclassed one is taken as it is: its converted file has a batch of 1."""
        from leti_opt.network.keras_walk import called_with_batch_of_one, is_cuttable

        if isinstance(self.network, LayerGraph):
            return self._cut.whole
        if not is_cuttable(self.network):
            return self.network
        try:
            return self._cut.whole
        except InvalidModelError:  # without layers that can be made again it has kernels all the same
            return called_with_batch_of_one(self.network)


def cutting_of(granularity: str) -> Cutting:
    """What a granularity cuts a network into.

    Raises:
        InvalidInputError: no such granularity.

    >>> cutting_of("residual")
    'kernel'
    """
    if granularity not in GRANULARITIES:
        raise InvalidInputError(f"unknown granularity {granularity!r}; {did_you_mean(granularity, GRANULARITIES)}")
    return "layer" if granularity == "layer" else "kernel"


def converted(model: Any, name: str, precision: str) -> bytes:
    """A Keras model as the content of a ``.tflite`` file.

    Raises:
        InvalidModelError: TensorFlow has no way to write it.
    """
    try:
        return convert_tflite(model, precision)
    except MemoryError:
        raise
    except Exception as error:  # the converter runs the user's own layers, which may raise anything
        reason = " ".join(str(error).split())[:300]
        raise InvalidModelError(f"TensorFlow cannot convert {name}: {reason}") from error


def _is_keras(network: Any) -> bool:
    return hasattr(network, "layers") and hasattr(network, "count_params")


def _of_layer(block: LayerBlock, precision: str) -> Piece:
    key = hashlib.sha256(f"{block.signature} {precision}".encode()).hexdigest()
    model = partial(_layer_model, block, key, precision)
    return Piece(key, block.name, block.layer_class, block.shapes, _model=model)


def _layer_model(block: LayerBlock, key: str, precision: str) -> MeasurableModel:
    name = f"layer {block.name} ({block.layer_class})"
    render = partial(_render_layer, block, name, precision)
    return MeasurableModel.of_digest(key, name, f"layer {converter_version()}", precision, render)


def _render_layer(block: LayerBlock, name: str, precision: str) -> bytes:
    return converted(block.build(), name, precision)


def _of_kernel(cut: OperatorCut, precision: str) -> Piece:
    if cut.refusal:
        return Piece(f"refused {cut.operator} {cut.refusal}", cut.name, cut.operator, "", cut.refusal)
    digest = structure_digest(cut.content, cut.name)
    return Piece(digest, cut.name, cut.operator, cut.shapes, _model=partial(_kernel_model, cut, digest, precision))


def _kernel_model(cut: OperatorCut, digest: str, precision: str) -> MeasurableModel:
    name = f"kernel {cut.position} ({cut.operator})"
    return MeasurableModel.of_digest(digest, name, "cut", precision, lambda: cut.content)
