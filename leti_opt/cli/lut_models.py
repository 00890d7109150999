"""From what a user names for ``leti-opt lut`` to a network that can be cut."""

from __future__ import annotations

import re
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leti_opt.cli.models import KERAS_SUFFIXES, cell_of_hash, is_file, is_hash, load_keras
from leti_opt.errors import InvalidModelError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.network.config import NetworkConfig

IMAGE = (224, 224, 3)
"""What networks without a size of their own are built for (LETI paper)."""


def lut_network(name: str, config: NetworkConfig, store: str) -> Any:
    """A ``.tflite`` file's path, a Keras model, or the layers of a cell.

    Args:
        name: a file, a network of ``keras.applications``, a cell's text, or the hash of one that the store knows.
        config: how a cell becomes a network.
        store: where hashes are looked up.

    Raises:
        InvalidInputError: no such file or network, an unreadable one, or no cell.
        NotFoundError: the store knows no cell of this hash.
    """
    from leti_opt.architecture import Architecture
    from leti_opt.device.model import MeasurableModel
    from leti_opt.network.assembly import build_layer_graph

    if is_file(name):
        if name.endswith(KERAS_SUFFIXES):
            return load_keras(name)
        MeasurableModel.of_file(name)
        return Path(name)
    if is_hash(name):
        return build_layer_graph(cell_of_hash(name, store), config)
    if re.fullmatch(r"\w+", name):
        return application(name)
    _refuse_folder(name)
    return build_layer_graph(Architecture.parse(name), config)


def application(name: str, seed: int = 0) -> Any:
    """A network of ``keras.applications`` with seeded random weights, by its name in any case.

    Raises:
        InvalidModelError: there is none of this name.
    """
    import keras

    from leti_opt.network.keras_weights import seed_weights

    makers = {key.lower(): maker for key, maker in vars(keras.applications).items() if isfunction(maker)}
    maker = makers.get(name.lower())
    if maker is None:
        _refuse_folder(name)
        raise InvalidModelError(
            f"{name!r} is no file, no cell and no network of keras.applications; {did_you_mean(name.lower(), makers)}"
        )
    model = maker(weights=None)
    if None in model.inputs[0].shape[1:]:
        model = maker(weights=None, input_shape=IMAGE)
    seed_weights(model, seed)
    return model


def _refuse_folder(name: str) -> None:
    if Path(name).is_dir():
        raise InvalidModelError(
            f"{name} is a folder, perhaps a SavedModel, which holds no Keras layers; convert it to a .tflite file with "
            "tf.lite.TFLiteConverter.from_saved_model, or save the Keras model as .keras"
        )
