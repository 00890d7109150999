"""Goes through a Keras model with a batch of 1, and notes each call of a layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from leti_opt.errors import InvalidModelError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Slot:
    """Where a tensor stands among the arguments of a call.

    Args:
        number: of the tensor, each counted once.
    """

    number: int


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer.

    Args:
        name: of the layer, with the names of the models around it.
        layer_class: its class.
        config: what :meth:`from_config` of that class takes.
        args, kwargs: arguments of the call, tensors replaced by slots.
        input_shapes, input_types: of the tensors, by the slots' numbers.
    """

    name: str
    layer_class: type
    config: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_shapes: tuple[tuple[int, ...], ...]
    input_types: tuple[str, ...]

    @property
    def has_arguments(self) -> bool:
        """Whether there is more to the call than its tensors, in order, as one argument."""
        first = self.args[0] if len(self.args) == 1 else None
        tensors = list(first) if isinstance(first, list | tuple) else [first]
        return bool(self.kwargs) or tensors != [Slot(number) for number in range(len(self.input_shapes))]

    def arguments_text(self) -> str:
        """The arguments as one line, the same in every process for plain values."""
        return repr((self.args, sorted(self.kwargs.items())))


@dataclass(frozen=True)
class Walked:
    """What a walk found.

    Args:
        calls: in the order of execution.
        whole: a copy of the model with a batch of 1 and the same weights.
    """

    calls: tuple[LayerCall, ...]
    whole: keras.Model


def walk(model: keras.Model) -> Walked:
    """Copy a functional or sequential model, layer by layer, onto inputs with a batch of 1.

    Raises:
        InvalidModelError: it is none of the two, leaves a shape open, or holds a layer that cannot be made again.
    """
    import keras

    if not is_cuttable(model):
        raise InvalidModelError(
            f"{getattr(model, 'name', model)!r} is a {type(model).__name__}, whose layers Keras does not know: only "
            "functional and sequential models can be cut into layers; its converted file can be cut into kernels"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise InvalidModelError(f"the sequential model {model.name} has no input shape yet; begin it with keras.Input")
    given = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    inputs = keras.tree.map_structure(_with_batch_of_one, given)
    walking = _Walk()
    outputs = walking.through(model, inputs, "")
    walking.copy_weights()
    return Walked(tuple(walking.calls), keras.Model(inputs, outputs, name=model.name))


def built(call: LayerCall) -> keras.Model:
    """A model of one call of a layer alone."""
    import keras

    inputs = [
        keras.Input(batch_shape=shape, dtype=kind)
        for shape, kind in zip(call.input_shapes, call.input_types, strict=True)
    ]
    args, kwargs = _mapped((call.args, call.kwargs), lambda item: inputs[item.number], Slot)
    layer = _made(call.layer_class, call.config, call.name)
    return keras.Model(inputs, layer(*args, **kwargs))


def is_cuttable(model: Any) -> bool:
    """Whether it is sequential or functional; a class derived from these counts while it leaves ``call`` alone."""
    return any(isinstance(model, kind) and type(model).call is kind.call for kind in _cuttable_classes())


@cache
def _cuttable_classes() -> tuple[type[Any], ...]:
    """Keras does not export the class of functional models; a small one tells."""
    import keras

    tensor = keras.Input((1,))
    return keras.Sequential, type(keras.Model(tensor, tensor))


def _with_batch_of_one(tensor: Any) -> Any:
    import keras

    batch, *sizes = tensor.shape
    if batch not in (None, 1) or None in sizes:
        raise InvalidModelError(
            f"the input {tensor.name} has the shape {tuple(tensor.shape)}: it must leave open nothing but the batch, "
            "or have a batch of 1; build the model with these sizes"
        )
    return keras.Input(batch_shape=(1, *sizes), dtype=tensor.dtype, name=tensor.name)


class _Walk:
    """Copies each layer once, however often it is called, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []
        self._copies: dict[int, tuple[Any, Any]] = {}

    def through(self, model: Any, inputs: Any, path: str) -> Any:
        """Call a copy of every layer of a model, in its order; returns the model's outputs."""
        import keras

        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self._called(layer, path, inputs)
            return inputs
        copied = keras.models.clone_model(
            model,
            input_tensors=inputs,
            clone_function=lambda layer: layer,
            call_function=lambda layer, *args, **kwargs: self._called(layer, path, *args, **kwargs),
        )
        return copied.output

    def _through_inner(self, model: Any, inputs: Any, path: str) -> Any:
        """As :meth:`through`, for a model within the model: a functional one must begin with inputs of its own."""
        import keras

        if isinstance(model, keras.Sequential):
            return self.through(model, inputs, path)
        own = keras.tree.map_structure(lambda tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype), inputs)
        return keras.Model(own, self.through(model, own, path))(inputs)

    def copy_weights(self) -> None:
        """Give the copies the weights of the layers that they were made of."""
        for layer, made in self._copies.values():
            if getattr(layer, "weights", None):
                made.set_weights(layer.get_weights())

    def _called(self, layer: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{path}{layer.name}"
        if is_cuttable(layer):
            return self._through_inner(layer, args[0], f"{name}/")
        made = self._copy(layer, name)
        outputs = made(*args, **kwargs)
        self.calls.append(_noted(name, layer, args, kwargs))
        return outputs

    def _copy(self, layer: Any, name: str) -> Any:
        if id(layer) not in self._copies:
            self._copies[id(layer)] = (layer, _made(type(layer), _config(layer, name), name))
        return self._copies[id(layer)][1]


def _noted(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LayerCall:
    import keras

    tensors: list[Any] = []

    def slot(tensor: Any) -> Slot:
        known = next((number for number, other in enumerate(tensors) if other is tensor), None)
        if known is None:
            tensors.append(tensor)
        return Slot(len(tensors) - 1 if known is None else known)

    slots, named = _mapped((args, kwargs), slot, keras.KerasTensor)
    named = {key: value for key, value in named.items() if value is not None}
    for tensor in tensors:
        if None in tensor.shape:
            raise InvalidModelError(
                f"layer {name} reads the shape {tuple(tensor.shape)}, which is not known before it runs"
            )
    shapes = tuple(tuple(int(size) for size in tensor.shape) for tensor in tensors)
    types = tuple(str(tensor.dtype) for tensor in tensors)
    return LayerCall(name, type(layer), _config(layer, name), tuple(slots), named, shapes, types)


def _config(layer: Any, name: str) -> dict[str, Any]:
    try:
        return copy.deepcopy(layer.get_config())
    except Exception as error:  # a user's own layer may raise anything
        raise _not_again(type(layer), name, error) from error


def _made(layer_class: Any, config: dict[str, Any], name: str) -> Any:
    try:
        return layer_class.from_config(copy.deepcopy(config))
    except Exception as error:  # a user's own layer may raise anything
        raise _not_again(layer_class, name, error) from error


def _not_again(layer_class: type, name: str, error: Exception) -> InvalidModelError:
    reason = " ".join(str(error).split())[:300]
    return InvalidModelError(
        f"Keras cannot make layer {name} ({layer_class.__name__}) again from its settings: {reason}; give the class a "
        "get_config that returns what its constructor takes"
    )


def _mapped(structure: Any, change: Any, kind: type) -> Any:
    """A nested structure with every item of a kind changed."""
    if isinstance(structure, kind):
        return change(structure)
    if isinstance(structure, dict):
        return {key: _mapped(value, change, kind) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return _rebuilt(structure, [_mapped(value, change, kind) for value in structure])
    return structure


def _rebuilt(like: Sequence[Any], items: list[Any]) -> Any:
    if hasattr(like, "_fields"):
        return type(like)(*items)
    return tuple(items) if isinstance(like, tuple) else items
