"""Layers of users' own, and what Keras cannot make again: cut, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from leti_opt.errors import InvalidModelError
from leti_opt.network.blocks import cut_layers, cut_model
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import read_tflite
from tests.network.keras_models import layers, model_of, only, operators

pytestmark = pytest.mark.needs("tensorflow")


def doubled(image: Any) -> Any:
    return np.float32(2.0) * image


@pytest.mark.parametrize("function", [doubled, lambda image: np.float32(2.0) * image])
def test_a_lambda_keeps_its_function_and_the_names_that_this_uses(function: Any) -> None:
    block = only(model_of(layers().Lambda(function, name="mine")))
    assert (block.name, block.layer_class, operators(block)) == ("mine", "Lambda", ["MUL"])


def test_a_normalization_that_has_seen_data_keeps_its_operators_and_its_results() -> None:
    normalization = layers().Normalization()
    images = np.random.default_rng(0).normal(5.0, 3.0, (20, 8, 8, 3)).astype(np.float32)
    normalization.adapt(images)
    model = model_of(normalization)
    np.testing.assert_allclose(cut_model(model).whole(images[:1]), model(images[:1]), rtol=1e-5)
    assert operators(only(model)) == ["SUB", "MUL"]


def test_an_unused_normalization_has_the_operators_of_a_used_one() -> None:
    whole = convert_tflite(cut_model(model_of(layers().Normalization())).whole)
    assert [layer.operator for layer in read_tflite(whole).layers if layer.operator] == ["SUB", "MUL"]


def own_layer(**methods: Any) -> Any:
    """An instance of a user's layer class that doubles its input."""
    kind = type("Twice", (layers().Layer,), {"call": lambda _self, inputs: inputs * 2, **methods})
    return kind(name="mine")


def test_a_users_own_layer_is_cut() -> None:
    block = only(model_of(own_layer()))
    assert (block.layer_class, operators(block)) == ("Twice", ["MUL"])


def fails(*_: Any) -> dict[str, Any]:
    raise RuntimeError("no settings here")


@pytest.mark.parametrize("methods", [{"get_config": fails}, {"from_config": classmethod(fails)}])
def test_a_layer_that_keras_cannot_make_again_is_refused_by_name(methods: dict[str, Any]) -> None:
    with pytest.raises(InvalidModelError, match=r"layer mine \(Twice\) again .* no settings here; give the class"):
        cut_layers(model_of(own_layer(**methods)))


def test_settings_that_are_no_plain_data_are_refused_by_name() -> None:
    def settings(self: Any) -> dict[str, Any]:
        return {"name": self.name, "helper": object()}

    def make(_kind: Any, config: dict[str, Any]) -> Any:
        return own_layer()

    layer = own_layer(get_config=settings, from_config=classmethod(make))
    with pytest.raises(InvalidModelError, match=r"settings of layer mine .* not plain data"):
        cut_layers(model_of(layer))


def subclassed() -> Any:
    import keras

    class Mine(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="mine")
            self.dense = keras.layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    model = Mine()
    model(np.zeros((1, 4), np.float32))
    return model


def unbuilt() -> Any:
    import keras

    return keras.Sequential([keras.layers.Dense(2)], name="chain")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (subclassed, "'mine' is a Mine, whose layers Keras does not know"),
        (unbuilt, "chain has no input shape yet"),
        (lambda: model_of(layers().ReLU(), shape=(None, 8, 3)), "must leave open nothing but the batch"),
        (lambda: "resnet50", "whose layers Keras does not know"),
    ],
)
def test_what_cannot_be_cut_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(InvalidModelError, match=reason):
        cut_layers(make())


def test_a_batch_of_another_size_is_refused() -> None:
    import keras

    image = keras.Input(batch_shape=(2, 4))
    with pytest.raises(InvalidModelError, match="have a batch of 1"):
        cut_layers(keras.Model(image, layers().ReLU()(image)))


def test_a_subclassed_model_within_a_model_is_one_block_if_keras_can_make_it_again() -> None:
    import keras

    @keras.saving.register_keras_serializable("test_blocks")
    class Inner(keras.Model):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs + 1.0

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

        @classmethod
        def from_config(cls, config: dict[str, Any], **_: Any) -> Any:
            return cls(**config)

    block = only(model_of(Inner(name="inner")))
    assert (block.layer_class, operators(block)) == ("Inner", ["ADD"])
