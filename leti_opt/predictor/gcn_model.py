"""BRP-NAS's graph convolutional network (Dudziak et al., 2020) as a Keras model.

A convolution sums what a vertex hears, multiplies by weights and adds a bias; layer normalization, ReLU and dropout
follow. A dense layer reads the answer off the global vertex. Weights start uniform, within one over the root of the
number of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

EPSILON = 1e-5
"""Of the layer normalization."""


def build_gcn(kind_count: int, layers: int, units: int, dropout: float, seed: int) -> keras.Model:
    """An untrained network; its inputs are :meth:`Neighbourhoods.matrices`, its output is one number a cell.

    Neighbourhoods that are computed once share their dropout.

    Args:
        kind_count: kinds of vertices.
        layers: convolutions.
        units: of each.
        dropout: share of units that are left out in a training step.
        seed: of weights and dropout. Keras's own random state is neither used nor changed.
    """
    import keras

    seeds = iter(np.random.SeedSequence(seed).generate_state(3 * layers + 2).tolist())
    inputs = [keras.Input((kind_count if layer == 0 else None,), name=f"heard_{layer}") for layer in range(layers)]
    known = inputs[0]
    for layer, heard in enumerate(inputs):
        known = known if layer == 0 else keras.ops.matmul(heard, known)
        known = _dense(units, units, seeds, f"convolution_{layer}")(known)
        known = keras.layers.LayerNormalization(epsilon=EPSILON, name=f"normalization_{layer}")(known)
        known = keras.layers.ReLU(name=f"relu_{layer}")(known)
        known = keras.layers.Dropout(dropout, seed=next(seeds), name=f"dropout_{layer}")(known)
    return keras.Model(inputs, _dense(1, units, seeds, "answer")(known), name="gcn")


def _dense(outputs: int, spread: int, seeds: Any, name: str) -> Any:
    import keras

    limit = 1 / np.sqrt(spread)
    weights, bias = (keras.initializers.RandomUniform(-limit, limit, seed=next(seeds)) for _ in range(2))
    return keras.layers.Dense(outputs, kernel_initializer=weights, bias_initializer=bias, name=name)


def answers(model: keras.Model, matrices: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """What the network says of each cell, without dropout."""
    import keras

    found = keras.ops.convert_to_numpy(model(list(matrices), training=False))
    return np.asarray(found[:, 0], dtype=np.float64)
