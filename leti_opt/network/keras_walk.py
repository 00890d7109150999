"""Goes through a Keras model with a batch of 1, and notes each call of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from leti_opt.errors import InvalidModelError
from leti_opt.network.keras_copies import answer_of, give_weights, made_again, settings_of, unsaved_of

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
        unsaved: the layer itself, where its settings do not hold all of it: a ``Lambda`` with its function.
    """

    name: str
    layer_class: type
    config: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    input_shapes: tuple[tuple[int, ...], ...]
    input_types: tuple[str, ...]
    unsaved: Any = None

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
    inputs = _inputs_of_one(model)
    walking = _Walk()
    outputs = walking.through(model, inputs, "")
    walking.copy_weights()
    return Walked(tuple(walking.calls), keras.Model(inputs, outputs, name=model.name))


def called_with_batch_of_one(model: keras.Model) -> keras.Model:
    """A model around a functional or sequential one, with a batch of 1; the layers and weights are the model's own.

    Raises:
        InvalidModelError: it leaves a shape open, or cannot be called with this batch.
    """
    import keras

    inputs = _inputs_of_one(model)
    try:
        return keras.Model(inputs, model(inputs), name=model.name)
    except Exception as error:  # a user's own layer may raise anything
        reason = " ".join(str(error).split())[:300]
        raise InvalidModelError(f"{model.name} cannot be called with a batch of 1: {reason}") from error


def built(call: LayerCall) -> keras.Model:
    """A model of one call of a layer alone.

    Raises:
        InvalidModelError: Keras cannot make the layer again from its settings.
    """
    import keras

    inputs = [
        keras.Input(batch_shape=shape, dtype=kind)
        for shape, kind in zip(call.input_shapes, call.input_types, strict=True)
    ]
    args, kwargs = _mapped((call.args, call.kwargs), lambda item: inputs[item.number], Slot)
    layer = made_again(call.layer_class, call.config, call.name, call.unsaved)
    return keras.Model(inputs, answer_of(layer, call.name, *args, **kwargs))


def is_cuttable(model: Any) -> bool:
    """Whether it is sequential or functional; a class derived from these counts while it leaves ``call`` alone."""
    return any(isinstance(model, kind) and type(model).call is kind.call for kind in _cuttable_classes())


@cache
def _cuttable_classes() -> tuple[type[Any], ...]:
    """Keras does not export the class of functional models; a small one tells."""
    import keras

    tensor = keras.Input((1,))
    return keras.Sequential, type(keras.Model(tensor, tensor))


def _inputs_of_one(model: Any) -> Any:
    """Inputs like those of a model, with a batch of 1.

    A sequential model without an input of its own takes the batch of its first call, so its batch is no wish of its
    author's.
    """
    import keras

    if not isinstance(model, keras.Sequential):
        return keras.tree.map_structure(_with_batch_of_one, model.input)
    if not hasattr(model, "inputs"):
        raise InvalidModelError(f"the sequential model {model.name} has no input shape yet; begin it with keras.Input")
    (given,) = model.inputs
    return _with_batch_of_one(keras.KerasTensor((None, *given.shape[1:]), given.dtype, name=given.name))


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
                give_weights(layer, made)

    def _called(self, layer: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{path}{layer.name}"
        if is_cuttable(layer):
            return self._through_inner(layer, args[0] if args else kwargs["inputs"], f"{name}/")
        made = self._copy(layer, name)
        outputs = answer_of(made, name, *args, **kwargs)
        self.calls.append(_noted(name, layer, args, kwargs))
        return outputs

    def _copy(self, layer: Any, name: str) -> Any:
        if id(layer) not in self._copies:
            self._copies[id(layer)] = (
                layer,
                made_again(type(layer), settings_of(layer, name), name, unsaved_of(layer)),
            )
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
    return LayerCall(name, type(layer), settings_of(layer, name), tuple(slots), named, shapes, types, unsaved_of(layer))


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
