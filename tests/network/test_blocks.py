"""A Keras model cut into its layers: which there are, what they read, and what each is when built alone."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from leti_opt.network.blocks import cut_layers, cut_model
from leti_opt.network.cost import network_cost
from leti_opt.network.keras_weights import constants_freed, free_constants, seed_weights
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import read_tflite
from tests.network.keras_models import branched, layers, model_of, only, operators

pytestmark = pytest.mark.needs("tensorflow")


def test_layers_come_in_the_order_of_execution_with_the_shapes_that_they_read() -> None:
    blocks = cut_layers(branched())
    assert [block.position for block in blocks] == list(range(6))
    shapes = {block.name: block.input_shapes for block in blocks}
    assert shapes == {
        "left": ((1, 8, 8, 3),),
        "right": ((1, 8, 8, 3),),
        "norm": ((1, 8, 8, 4),),
        "sum": ((1, 8, 8, 4), (1, 8, 8, 4)),
        "joined": ((1, 8, 8, 3), (1, 8, 8, 4)),
        "mean": ((1, 8, 8, 7),),
    }
    places = {block.name: block.position for block in blocks}
    assert places["right"] < places["norm"] < places["sum"] < places["joined"] < places["mean"]
    assert {block.input_types for block in blocks if len(block.input_shapes) == 1} == {("float32",)}


def test_layers_alone_compute_as_much_as_the_whole() -> None:
    model = branched()
    alone = [network_cost(read_tflite(convert_tflite(block.build()))).flops for block in cut_layers(model)]
    assert sum(alone) == network_cost(read_tflite(convert_tflite(cut_model(model).whole))).flops > 0


def test_a_layer_alone_has_the_results_of_its_place_in_the_model() -> None:
    model = branched()
    results = {layer.name: tuple(layer.output.shape) for layer in model.layers}
    for block in cut_layers(model):
        assert tuple(block.build().output.shape) == (1, *results[block.name][1:])


def test_the_whole_has_a_batch_of_one_and_the_weights_of_the_model() -> None:
    model = branched()
    seed_weights(model, 3)
    whole = cut_model(model).whole
    images = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    assert whole.input_shape == (1, 8, 8, 3)
    np.testing.assert_allclose(whole(images), model(images), rtol=1e-5)


def test_the_model_itself_is_left_as_it_is() -> None:
    model = branched()
    before = model.get_weights()
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    cut_model(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls
    for weights, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, kept)


def test_models_within_the_model_are_cut_and_their_layers_named_after_them() -> None:
    import keras

    inner = keras.Sequential([layers().ReLU(name="relu"), layers().Dense(3, name="dense")], name="chain")
    image = keras.Input((4,))
    nested = keras.Model(image, layers().Dense(5, name="deep")(image), name="net")
    model = model_of(layers().Dense(4, name="first"), nested, inner, layers().Softmax(name="end"), shape=(3,))
    assert [(block.name, block.input_shapes) for block in cut_layers(model)] == [
        ("first", ((1, 3),)),
        ("net/deep", ((1, 4),)),
        ("chain/relu", ((1, 5),)),
        ("chain/dense", ((1, 5),)),
        ("end", ((1, 3),)),
    ]
    seed_weights(model, 1)
    image = np.random.default_rng(0).standard_normal((1, 3)).astype(np.float32)
    np.testing.assert_allclose(cut_model(model).whole(image), model(image), rtol=1e-5)


def test_a_model_within_the_model_may_be_called_by_keyword() -> None:
    import keras

    image = keras.Input((4,))
    nested = keras.Model(image, layers().Dense(5, name="deep")(image), name="net")
    outer = keras.Input((4,))
    assert [block.name for block in cut_layers(keras.Model(outer, nested(inputs=outer)))] == ["net/deep"]


def test_a_sequential_model_without_an_input_is_cut_whatever_batch_it_was_first_called_with() -> None:
    import keras

    model = keras.Sequential([layers().Conv2D(4, 3), layers().Flatten(), layers().Dense(2)])
    images = np.random.default_rng(0).standard_normal((16, 8, 8, 3)).astype(np.float32)
    model(images)
    assert model.inputs[0].shape == (16, 8, 8, 3)
    assert [block.input_shapes for block in cut_layers(model)] == [((1, 8, 8, 3),), ((1, 6, 6, 4),), ((1, 144),)]
    seed_weights(model, 2)
    np.testing.assert_allclose(cut_model(model).whole(images[:1]), model(images)[:1], rtol=1e-4, atol=1e-6)


def test_constants_are_freed_for_a_while() -> None:
    model = model_of(layers().Conv2D(4, 3), layers().BatchNormalization(), layers().Normalization())
    before = model.get_weights()
    images = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    results = model(images)
    with constants_freed(model, 0):
        assert all(np.unique(weights).size == weights.size for weights in model.get_weights())
        assert not np.allclose(model(images), results)
    np.testing.assert_array_equal(model(images), results)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_a_sequential_model_is_cut() -> None:
    import keras

    model = keras.Sequential([keras.Input((6,)), layers().Dense(4), layers().ReLU()])
    assert [block.layer_class for block in cut_layers(model)] == ["Dense", "ReLU"]


def test_a_layer_that_is_called_twice_is_two_equal_blocks() -> None:
    import keras

    shared = layers().Dense(4, name="shared")
    image = keras.Input((4,))
    blocks = cut_layers(keras.Model(image, shared(shared(image))))
    assert [block.name for block in blocks] == ["shared", "shared"]
    assert blocks[0].signature == blocks[1].signature
    assert cut_model(keras.Model(image, shared(shared(image)))).whole.count_params() == 20


def test_arguments_of_a_call_belong_to_the_block() -> None:
    import keras

    query, value = keras.Input((5, 8)), keras.Input((7, 8))
    attention = layers().MultiHeadAttention(2, 4, name="attention")
    blocks = cut_layers(keras.Model([query, value], attention(query, value, use_causal_mask=False)))
    assert [(block.name, block.input_shapes) for block in blocks] == [("attention", ((1, 5, 8), (1, 7, 8)))]
    assert tuple(blocks[0].build().output.shape) == (1, 5, 8)
    twice = cut_layers(keras.Model(query, layers().MultiHeadAttention(2, 4)(query, query)))
    assert twice[0].input_shapes == ((1, 5, 8),)
    assert tuple(twice[0].build().output.shape) == (1, 5, 8)


def test_models_with_several_inputs_and_outputs_are_cut() -> None:
    import keras

    left, right = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    total = layers().Add(name="total")([left, right])
    model = keras.Model({"a": left, "b": right}, [layers().Dense(2, name="out")(total), total])
    cut = cut_model(model)
    assert [block.name for block in cut.blocks] == ["total", "out"]
    assert [tuple(output.shape) for output in cut.whole.outputs] == [(1, 2), (1, 4)]


def test_operations_that_are_no_layers_are_blocks_too() -> None:
    import keras

    image = keras.Input((8,))
    blocks = cut_layers(keras.Model(image, keras.ops.relu(image * 2.0)))
    assert [block.layer_class for block in blocks] == ["Multiply", "Relu"]
    assert [operators(block) for block in blocks] == [["MUL"], ["RELU"]]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: layers().Dropout(0.5), []),
        (lambda: layers().Identity(), []),
        (lambda: layers().Activation("linear"), []),
        (lambda: layers().Reshape((8, 8, 3)), []),
        (lambda: layers().Flatten(), ["RESHAPE"]),
        (lambda: layers().ZeroPadding2D(2), ["PAD"]),
        (lambda: layers().BatchNormalization(), ["MUL", "ADD"]),
        (lambda: layers().Conv2D(4, 3), ["CONV_2D"]),
    ],
    ids=["Dropout", "Identity", "linear", "same shape", "Flatten", "ZeroPadding2D", "BatchNormalization", "Conv2D"],
)
def test_a_layer_alone_converts_to_its_operators(make: Any, expected: list[str]) -> None:
    assert operators(only(model_of(make()))) == expected


def test_names_initializers_and_weights_do_not_tell_layers_apart() -> None:
    first = only(model_of(layers().Conv2D(4, 3, name="one", kernel_initializer="zeros")))
    second = only(model_of(layers().Conv2D(4, 3, name="two", kernel_regularizer="l2", trainable=False)))
    assert first.signature == second.signature


def frames_of(kernel_size: int, name: str) -> Any:
    """A model for each of four images, held by one layer."""
    import keras

    image = keras.Input((8, 8, 3))
    first = layers().Conv2D(4, kernel_size, name=name)(image)
    single = keras.Model(image, layers().Add()([first, layers().ReLU()(first)]))
    return model_of(layers().TimeDistributed(single), shape=(4, 8, 8, 3))


def test_names_within_a_model_that_a_layer_holds_do_not_tell_it_apart_and_its_settings_do() -> None:
    signatures = [only(frames_of(*given)).signature for given in ((3, "a"), (3, "b"), (1, "a"))]
    assert signatures[0] == signatures[1] != signatures[2]


@pytest.mark.parametrize(
    "other",
    [
        lambda: model_of(layers().Conv2D(4, 3, strides=2)),
        lambda: model_of(layers().Conv2D(4, 3, use_bias=False)),
        lambda: model_of(layers().Conv2D(4, 3, activation="relu")),
        lambda: model_of(layers().Conv2D(4, 3), shape=(9, 8, 3)),
        lambda: model_of(layers().Conv2D(4, 3, dtype="mixed_float16")),
        lambda: model_of(layers().DepthwiseConv2D(4)),
    ],
)
def test_what_changes_the_work_changes_the_signature(other: Any) -> None:
    assert only(other()).signature != only(model_of(layers().Conv2D(4, 3))).signature


def test_a_layer_has_one_signature_in_every_process() -> None:
    code = (
        "import keras; from leti_opt.network.blocks import cut_layers; image = keras.Input((8, 8, 3)); "
        "print(cut_layers(keras.Model(image, keras.layers.Conv2D(4, 3, name='x')(image)))[0].signature)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == only(model_of(layers().Conv2D(4, 3))).signature


def test_weights_of_a_block_are_the_seeds() -> None:
    block = only(model_of(layers().Conv2D(4, 3)))
    first, again, other = (block.build(seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert all(np.unique(weights).size == weights.size for weights in first)


def test_only_constant_weights_are_made_uneven() -> None:
    model = model_of(layers().Conv2D(4, 3), layers().BatchNormalization())
    before = model.get_weights()
    free_constants(model, 0)
    kernel, *rest = model.get_weights()
    np.testing.assert_array_equal(kernel, before[0])
    assert len(rest) == 5
    assert all(np.unique(weights).size == weights.size for weights in rest)


@pytest.mark.slow
def test_a_published_network_falls_into_its_layers() -> None:
    import keras

    blocks = cut_layers(keras.applications.MobileNetV2(weights=None))
    kinds = Counter(block.layer_class for block in blocks)
    assert kinds["Conv2D"] == 35
    assert kinds["DepthwiseConv2D"] == 17
    assert len(blocks) == 155
    assert len({block.signature for block in blocks}) < 80
