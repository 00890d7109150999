"""Makes layers of a Keras model again, one by one, as their settings say."""

from __future__ import annotations

import copy
from typing import Any

from leti_opt.errors import InvalidModelError
from leti_opt.network.keras_weights import refresh


def settings_of(layer: Any, name: str) -> dict[str, Any]:
    """What makes a layer again.

    Raises:
        InvalidModelError: it does not say.
    """
    try:
        return copy.deepcopy(layer.get_config())
    except Exception as error:  # a user's own layer may raise anything
        raise _not_again(type(layer), name, error) from error


def unsaved_of(layer: Any) -> Any:
    """The layer itself where its settings do not hold all of it."""
    import keras

    return layer if type(layer) is keras.layers.Lambda else None


def made_again(layer_class: Any, config: dict[str, Any], name: str, unsaved: Any) -> Any:
    """A new layer like another one, with weights of its own.

    Args:
        layer_class, config: of the other one.
        name: for messages.
        unsaved: as :func:`unsaved_of` gives it.

    Raises:
        InvalidModelError: Keras cannot make it.
    """
    try:
        return _lambda_like(unsaved) if unsaved is not None else layer_class.from_config(copy.deepcopy(config))
    except Exception as error:  # a user's own layer may raise anything
        raise _not_again(layer_class, name, error) from error


def _lambda_like(layer: Any) -> Any:
    """Keras would make the function again from its code, and refuses to, or loses the names that it uses."""
    import keras

    return keras.layers.Lambda(
        layer.function, layer._output_shape, layer.mask, layer.arguments, name=layer.name, dtype=layer.dtype_policy
    )


def give_weights(layer: Any, made: Any) -> None:
    """Give a layer the weights of the one that it was made like.

    Raises:
        InvalidModelError: it has others.
    """
    try:
        made.set_weights(layer.get_weights())
    except ValueError as error:
        raise _not_again(type(layer), layer.name, error) from error
    refresh(made)


def answer_of(layer: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """What a layer that was made again gives for symbolic tensors.

    Raises:
        InvalidModelError: it cannot be called.
    """
    try:
        return layer(*args, **kwargs)
    except Exception as error:  # a user's own layer may raise anything
        raise _not_again(type(layer), name, error) from error


def _not_again(layer_class: type, name: str, error: Exception) -> InvalidModelError:
    reason = " ".join(str(error).split())[:300]
    return InvalidModelError(
        f"Keras cannot make layer {name} ({layer_class.__name__}) again from its settings: {reason}; give the class a "
        "get_config that returns what its constructor takes"
    )
