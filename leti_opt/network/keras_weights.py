"""Seeded weights for Keras models that are measured and never trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

_UNEVEN = (0.05, 0.15)


def seed_weights(model: keras.Model, seed: int) -> None:
    """Draw every weight of a model anew; what is constant only becomes uneven (:func:`free_constants`).

    Integers, such as counters, stay.
    """
    random = np.random.default_rng(seed)
    for variable, values in _float_weights(model):
        variable.assign(_uneven(values, random) if _is_constant(values) else _drawn(variable, values.shape, random))
    refresh(model)


def free_constants(model: keras.Model, seed: int) -> None:
    """Make weights uneven that are all alike, as initializers leave biases and batch norms.

    The converter folds a sum with zeros and a product with ones away, so that such a network would be measured with
    fewer operators than it has once it is trained. Other weights stay as they are.
    """
    random = np.random.default_rng(seed)
    for variable, values in _float_weights(model):
        if _is_constant(values):
            variable.assign(_uneven(values, random))
    refresh(model)


@contextmanager
def constants_freed(model: keras.Model, seed: int) -> Iterator[None]:
    """As :func:`free_constants`, for as long as the context: the model keeps its weights."""
    kept = [(variable, values.copy()) for variable, values in _float_weights(model) if _is_constant(values)]
    free_constants(model, seed)
    try:
        yield
    finally:
        for variable, values in kept:
            variable.assign(values)
        refresh(model)


def refresh(layer: keras.Layer) -> None:
    """Tell layers that hold results of their weights (``Normalization``) that these have changed."""
    import keras

    for inner in layer._flatten_layers():
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()


def _float_weights(model: keras.Model) -> list[tuple[Any, NDArray[Any]]]:
    found = [(variable, np.asarray(variable)) for variable in model.weights]
    return [(variable, values) for variable, values in found if values.dtype.kind == "f" and values.size]


def _is_constant(values: NDArray[Any]) -> bool:
    return bool((values == values.flat[0]).all())


def _uneven(values: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    return (values + random.uniform(*_UNEVEN, values.shape)).astype(values.dtype)


def _drawn(variable: Any, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    """Scaled so that activations neither grow nor die out over the layers."""
    fan_in = math.prod(shape[:-2] if "depthwise" in variable.path else shape[:-1])
    return random.standard_normal(shape, np.float32) / np.float32(math.sqrt(max(1, fan_in)))
