"""A Keras model cut into its layers: each call of a layer with the shapes that it has there, to be built alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from leti_opt.errors import InvalidModelError
from leti_opt.network.keras_walk import LayerCall, built, walk
from leti_opt.network.keras_weights import free_constants, seed_weights

if TYPE_CHECKING:
    import keras

_WITHOUT_EFFECT = ("trainable", "seed", "activity_regularizer")
_TELLING = ("filters", "units", "kernel_size", "pool_size", "strides", "activation")
_WITHOUT_EFFECT_ENDINGS = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True)
class LayerBlock:
    """One call of a layer in a model; the layer's own model is built when asked for.

    Args:
        position: its place in the order of execution.
        name: of the layer; one of an inner model comes after that model's name and a slash.
        layer_class: name of its class.
        config: its settings as canonical JSON, without names and without what a finished network does not depend on
            (initializers, regularizers, constraints, seeds); with the arguments of the call where there are any.
        input_shapes: of the tensors that it reads, with a batch of 1, in the order of the call.
        input_types: of these, for instance ``float32``.
    """

    position: int
    name: str
    layer_class: str
    config: str
    input_shapes: tuple[tuple[int, ...], ...]
    input_types: tuple[str, ...]
    _call: LayerCall = field(repr=False, compare=False)

    @cached_property
    def signature(self) -> str:
        """Hexadecimal SHA-256 of class, settings, shapes and types: equal ones are equal work."""
        described = [self.layer_class, self.config, self.input_shapes, self.input_types]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    @property
    def shapes(self) -> str:
        """What it reads, without the batch, and its most telling settings, for people: ``8x8x3 kernel_size=(3, 3)``."""
        sizes = ["x".join(map(str, shape[1:])) or "1" for shape in self.input_shapes]
        settings = self._call.config
        told = [f"{name}={settings[name]}" for name in _TELLING if settings.get(name) not in (None, "linear")]
        return " ".join([*sizes, *told])

    def build(self, seed: int = 0) -> keras.Model:
        """A Keras model of this layer alone, with seeded random weights.

        Raises:
            InvalidModelError: Keras cannot make the layer again from its settings.
        """
        model = built(self._call)
        seed_weights(model, seed)
        return model


@dataclass(frozen=True)
class CutModel:
    """A model and its layers.

    Args:
        blocks: every call of a layer, in the order of execution; inputs are none.
        whole: the model with a batch of 1, as a copy of its own with the same weights. Weights as initializers leave
            them, all 0 or all 1, are made uneven in it: the converter would drop the operators that they make idle.
    """

    blocks: tuple[LayerBlock, ...]
    whole: keras.Model = field(repr=False, compare=False)


def cut_layers(model: keras.Model) -> tuple[LayerBlock, ...]:
    """Cut a functional or sequential Keras model into its layers, in the order of execution.

    Models within the model are cut, too, and a layer that is called twice is listed twice. A layer that holds others
    (``Bidirectional``, ``TimeDistributed``, a subclassed model) is one block. The model itself is left as it is.

    Args:
        model: with shapes that are known but for the batch, which is taken to be 1.

    Raises:
        InvalidModelError: a subclassed model, whose layers Keras does not know; a shape that is left open; a layer
            that Keras cannot make again from its settings.

    >>> import keras
    >>> image = keras.Input((8, 8, 3))
    >>> features = keras.layers.Conv2D(4, 3, padding="same")(image)
    >>> output = keras.layers.Add()([features, keras.layers.ReLU()(features)])
    >>> [(block.layer_class, block.input_shapes) for block in cut_layers(keras.Model(image, output))]
    [('Conv2D', ((1, 8, 8, 3),)), ('ReLU', ((1, 8, 8, 4),)), ('Add', ((1, 8, 8, 4), (1, 8, 8, 4)))]
    """
    return cut_model(model).blocks


def cut_model(model: keras.Model, seed: int = 0) -> CutModel:
    """Cut a model as :func:`cut_layers` does, and copy it with a batch of 1.

    Args:
        model: as for :func:`cut_layers`.
        seed: of what makes constant weights uneven.

    Raises:
        as :func:`cut_layers`.
    """
    walked = walk(model)
    free_constants(walked.whole, seed)
    return CutModel(tuple(_block(position, call) for position, call in enumerate(walked.calls)), walked.whole)


def _block(position: int, call: LayerCall) -> LayerBlock:
    own = call.layer_class.__module__.partition(".")[0] == "keras"
    described: dict[str, Any] = {"config": _settings(call.config, _has_no_effect if own else _is_name)}
    if not own:
        described["class"] = f"{call.layer_class.__module__}.{call.layer_class.__qualname__}"
    if call.has_arguments:
        described["call"] = call.arguments_text()
    try:
        config = json.dumps(described, sort_keys=True, default=_plain)
    except TypeError as error:
        raise InvalidModelError(
            f"the settings of layer {call.name} ({call.layer_class.__name__}) are not plain data: {error}; "
            "let its get_config return numbers, texts and lists"
        ) from error
    return LayerBlock(position, call.name, call.layer_class.__name__, config, call.input_shapes, call.input_types, call)


def _settings(config: Any, left_out: Callable[[str], bool]) -> Any:
    """A layer's settings without some of them; those of layers that it holds likewise."""
    if isinstance(config, dict):
        return {key: _inner(value, left_out) for key, value in _numbered(config).items() if not left_out(key)}
    return config


def _numbered(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a model that a layer holds, with the places of its layers where they are called by name."""
    entries = config.get("layers")
    if "output_layers" not in config or not isinstance(entries, list):
        return config
    places = {entry["name"]: place for place, entry in enumerate(entries)}
    told = {key: _by_place(config[key], places) for key in ("layers", "input_layers", "output_layers")}
    named = [entry | {"name": place} for place, entry in enumerate(told["layers"])]
    return config | told | {"layers": named}


def _by_place(value: Any, places: Mapping[str, int]) -> Any:
    """Where a tensor comes from is told as the name of a layer and two numbers."""
    if isinstance(value, dict):
        return {key: _by_place(item, places) for key, item in value.items()}
    if not isinstance(value, list | tuple):
        return value
    match value:
        case [str(name), int(), int()] if name in places:
            return [places[name], *value[1:]]
    return [_by_place(item, places) for item in value]


def _inner(value: Any, left_out: Callable[[str], bool]) -> Any:
    if isinstance(value, list | tuple):
        return [_inner(item, left_out) for item in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    is_layer = isinstance(config, dict) and {"name", "trainable"} <= config.keys()
    if "class_name" in value and (is_layer or value["class_name"] == "InputLayer"):
        kept = {key: item for key, item in value.items() if key != "build_config"}
        return kept | {"config": _settings(config, left_out)}
    return {key: _inner(item, left_out) for key, item in value.items()}


def _is_name(key: str) -> bool:
    return key == "name"


def _has_no_effect(key: str) -> bool:
    return _is_name(key) or key in _WITHOUT_EFFECT or key.endswith(_WITHOUT_EFFECT_ENDINGS)


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as plain ones."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is among them")
