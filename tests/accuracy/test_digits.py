"""A real short training: repeatable, far better than guessing, and only of networks that fit."""

from __future__ import annotations

import pickle
from functools import cache

import numpy as np
import pytest

from leti_opt.accuracy import DigitsAccuracy
from leti_opt.accuracy.training import digits_network, digits_split
from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidConfigError
from leti_opt.network.config import NetworkConfig

CELL = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
POOL = Architecture.parse("0-1,1-2:maxpool3x3")

needs_tensorflow = pytest.mark.needs("tensorflow")


def short(**changes: object) -> DigitsAccuracy:
    network = digits_network().changed(filters=4, stacks=1)
    return DigitsAccuracy(**{"network": network, "epochs": 1, **changes})


@cache
def first_accuracy() -> float:
    return short()(CELL)


@needs_tensorflow
def test_training_twice_gives_the_same_accuracy() -> None:
    assert short()(CELL) == first_accuracy()


@needs_tensorflow
def test_another_seed_gives_another_training() -> None:
    assert short(seed=1)(CELL) != first_accuracy()


@needs_tensorflow
def test_default_training_is_far_better_than_guessing() -> None:
    accuracy = DigitsAccuracy()(CELL)
    assert 0.5 < accuracy <= 1.0, "guessing gives 0.1"


@needs_tensorflow
def test_an_accuracy_is_a_share_of_the_test_images() -> None:
    right = first_accuracy() * 450
    assert right == pytest.approx(round(right))
    assert 0 < right <= 450


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NetworkConfig.small(), r"8x8x1 in 10 classes; the network takes \(32, 32, 3\)"),
        (NetworkConfig.small(input_shape=(8, 8, 1), classes=11), "and 11 classes"),
        (NetworkConfig(scope="cell", input_shape=(8, 8, 1)), "whole network; set scope='stacked'"),
    ],
)
def test_a_network_for_other_images_is_refused(network: NetworkConfig, words: str) -> None:
    with pytest.raises(InvalidConfigError, match=words):
        DigitsAccuracy(network)


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"batch_size": 1348},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"seed": -1},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused_before_training(setting: dict[str, float]) -> None:
    ((name, _),) = setting.items()
    with pytest.raises(InvalidConfigError, match=name):
        DigitsAccuracy(**setting)


def test_images_are_split_alike_every_time_and_apart() -> None:
    images, labels, test_images, test_labels = digits_split()
    assert (images.shape, labels.shape) == ((1347, 8, 8, 1), (1347,))
    assert (test_images.shape, test_labels.shape) == ((450, 8, 8, 1), (450,))
    assert all(
        np.array_equal(a, b) for a, b in zip(digits_split(), (images, labels, test_images, test_labels), strict=True)
    )
    assert (images.dtype, float(images.min()), float(images.max())) == (np.float32, -1.0, 1.0)
    assert np.bincount(test_labels).min() >= 40


def test_every_setting_changes_the_digest() -> None:
    changes = [
        {},
        {"network": digits_network().changed(filters=8)},
        {"epochs": 5},
        {"batch_size": 32},
        {"learning_rate": 0.02},
        {"seed": 1},
    ]
    digests = {DigitsAccuracy(**change).digest for change in changes}
    assert len(digests) == len(changes)
    assert DigitsAccuracy().digest in digests


def test_the_evaluator_travels_pickled() -> None:
    evaluator = short(seed=2)
    copy = pickle.loads(pickle.dumps(evaluator))
    assert (copy, copy.digest, copy.name) == (evaluator, evaluator.digest, "digits")
