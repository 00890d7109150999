"""Keras models with every weight at random, as training might leave them, and how near two outputs are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import LayerGraph


def trained_model(graph: LayerGraph, seed: int = 0) -> Any:
    """A Keras model in which no batch norm and no bias is as it was made."""
    model = build_keras_model(graph, seed)
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        kind = type(layer).__name__
        arrays = layer.get_weights()
        if kind == "BatchNormalization":
            size = arrays[0].shape
            layer.set_weights(
                [
                    generator.uniform(0.5, 1.5, size) * generator.choice([-1, 1, 1], size),
                    generator.normal(0, 0.2, size),
                    generator.normal(0, 0.2, size),
                    generator.uniform(0.5, 2, size),
                ]
            )
        elif len(arrays) == 2:
            layer.set_weights([arrays[0], generator.normal(0, 0.2, arrays[1].shape)])
    return model


def noise(graph: LayerGraph, seed: int = 0) -> NDArray[np.float32]:
    """Input for a network."""
    shape = (graph.batch_size, *graph.input_shape)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def keras_output(model: Any, image: NDArray[np.float32]) -> NDArray[Any]:
    """What the model gives for an image; batch norms use their moving statistics."""
    output: NDArray[Any] = model(image, training=False).numpy()
    return output


def assert_near(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    """The largest difference is at most ``tolerance`` times the expected output's largest value.

    Outputs that are not finite, or all one number, would be near for no reason.
    """
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    assert np.isfinite(found).all()
    assert np.ptp(expected) > 0
    difference = np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max()
    assert difference <= tolerance, f"off by {difference:.2e} of the largest output"
