"""A short real training: handwritten digits that come with scikit-learn, no download."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.device.resource_lock import building_on_host
from leti_opt.errors import InvalidConfigError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig

if TYPE_CHECKING:
    import keras

_TRAINING_VERSION = 1
_TRAINING_IMAGES = 1347
_SPLIT_SEED = 20_210_101
"""Every evaluator trains and tests on the same images."""


def digits_network(like: NetworkConfig | None = None) -> NetworkConfig:
    """The small network that digits are learned with: 8x8x1 images, one cell, 16 filters.

    Args:
        like: take the wiring, stem, head and operations of this network; NAS-Bench-101's by default.
    """
    return (like or NetworkConfig()).changed(
        scope="stacked",
        input_shape=(8, 8, 1),
        classes=10,
        filters=16,
        stacks=1,
        cells_per_stack=1,
        precision="float32",
    )


@dataclass(frozen=True)
class DigitsAccuracy:
    """Test accuracy of a cell after a short training on scikit-learn's 1,797 digits.

    It tells cells apart coarsely: tens of seconds of CIFAR-10 training in miniature, not NAS-Bench-101's accuracy. The
    same settings and seed give the same accuracy on the same machine and versions.

    Args:
        network: how cells become networks; images are 8x8x1 and there are 10 classes.
        epochs: passes over the 1,347 training images.
        batch_size: images a step.
        learning_rate: of gradient descent with momentum, at the start; it falls to zero as a cosine.
        seed: of weights and order of images.

    Raises:
        InvalidConfigError: the network takes other images or holds one cell alone, or a number is out of range.
    """

    network: NetworkConfig = field(default_factory=digits_network)
    epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 0.3
    seed: int = 0
    name: str = field(default="digits", init=False)

    def __post_init__(self) -> None:
        if (self.network.input_shape, self.network.classes) != ((8, 8, 1), 10):
            raise InvalidConfigError(
                f"digits are images of 8x8x1 in 10 classes; the network takes {self.network.input_shape} "
                f"and {self.network.classes} classes"
            )
        if self.network.scope != "stacked":
            raise InvalidConfigError("digits are learned by a whole network; set scope='stacked'")
        if self.epochs < 1:
            raise InvalidConfigError(f"epochs must be 1 or more, not {self.epochs}")
        if not 1 <= self.batch_size <= _TRAINING_IMAGES:
            raise InvalidConfigError(
                f"batch_size must be between 1 and the {_TRAINING_IMAGES} training images, not {self.batch_size}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise InvalidConfigError(f"learning_rate must be a positive number, not {self.learning_rate}")
        if self.seed < 0:
            raise InvalidConfigError(f"seed must be 0 or more, not {self.seed}")

    @property
    def digest(self) -> str:
        """Hexadecimal identity: all settings, and the versions that training depends on."""
        settings = {**asdict(self), "network": self.network.digest, "training": _TRAINING_VERSION}
        settings["versions"] = [metadata.version(name) for name in ("tensorflow", "keras", "scikit-learn")]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def __call__(self, architecture: Architecture) -> float:
        """Train the cell's network and return its share of right answers on 450 images it never saw.

        It takes seconds, and imports TensorFlow. While it trains, nothing is measured on this machine's cores.
        """
        from leti_opt.network.keras_model import build_keras_model

        with building_on_host():
            graph = build_layer_graph(architecture, self.network.changed(batch_size=self.batch_size))
            model = build_keras_model(graph, self.seed)
            _quicken_batch_norms(model)
            return self._train(model)

    def _train(self, model: keras.Model) -> float:
        import tensorflow as tf

        images, labels, test_images, test_labels = digits_split()
        steps = len(images) // self.batch_size * self.epochs
        step = _training_step(model, self.learning_rate, steps)
        shuffle = np.random.default_rng(self.seed)
        for _ in range(self.epochs):
            order = shuffle.permutation(len(images))
            for start in range(0, len(images) - self.batch_size + 1, self.batch_size):
                chosen = order[start : start + self.batch_size]
                step(tf.constant(images[chosen]), tf.constant(labels[chosen]))
        return _share_right(model, test_images, test_labels, self.batch_size)


def digits_split() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Training images and labels, test images and labels; images are (n, 8, 8, 1) between -1 and 1."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[..., None] / 8 - 1).astype(np.float32)
    train, test, train_labels, test_labels = train_test_split(
        images, digits.target.astype(np.int64), test_size=450, random_state=_SPLIT_SEED, stratify=digits.target
    )
    return train, train_labels, test, test_labels


def _quicken_batch_norms(model: keras.Model) -> None:
    """Moving statistics must settle within a hundred steps, where NAS-Bench-101's networks have ten thousands."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9


def _training_step(model: keras.Model, learning_rate: float, steps: int) -> Any:
    """One compiled step of gradient descent; the seeded order of images makes it repeatable."""
    import keras
    import tensorflow as tf

    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)

    def step(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    return tf.function(step)


def _share_right(model: keras.Model, images: NDArray[np.float32], labels: NDArray[np.int64], batch_size: int) -> float:
    """The model's batch is fixed, so the last batch is filled up with images that do not count."""
    right = 0
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        filled = np.concatenate([batch, np.zeros((batch_size - len(batch), *batch.shape[1:]), np.float32)])
        guesses = np.argmax(model(filled, training=False).numpy()[: len(batch)], axis=1)
        right += int((guesses == labels[start : start + batch_size]).sum())
    return right / len(images)
