"""Keras layers that Keras itself does not write as one TFLite operator. Importing this imports TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("leti_opt")
class AddN(keras.layers.Layer):  # type: ignore[misc]
    """Sum of several tensors as one ADD_N operator, where ``keras.layers.Add`` would chain ADDs."""

    def call(self, inputs: list[Any]) -> Any:
        """Sum tensors of one shape."""
        return tf.add_n(inputs)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> Any:
        """Shape of any of the inputs."""
        return input_shape[0]


@keras.saving.register_keras_serializable("leti_opt")
class SliceChannels(keras.layers.Layer):  # type: ignore[misc]
    """The first channels of a tensor as a SLICE operator, where indexing would give STRIDED_SLICE.

    Args:
        channels: how many to keep.
    """

    def __init__(self, channels: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.channels = channels

    def call(self, inputs: Any) -> Any:
        """Keep the first channels of (batch, height, width, channels)."""
        return tf.slice(inputs, [0, 0, 0, 0], [-1, -1, -1, self.channels])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """The input's shape with fewer channels."""
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:
        """What :meth:`from_config` needs."""
        return {**super().get_config(), "channels": self.channels}
