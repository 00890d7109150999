"""From what a user names on the command line to something that can be measured."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leti_opt.cli.common import existing_store
from leti_opt.errors import InvalidModelError, NotFoundError

if TYPE_CHECKING:
    from leti_opt.architecture import Architecture

KERAS_SUFFIXES = (".keras", ".h5")
FILE_SUFFIXES = (".tflite", *KERAS_SUFFIXES)


def is_file(name: str) -> bool:
    """Whether a name means a model's file rather than a cell."""
    return name.endswith(FILE_SUFFIXES) or (":" not in name and Path(name).is_file())


def load_keras(path: str) -> Any:
    """Read a Keras file; ours and the user's layers must be registered.

    Raises:
        InvalidModelError: no such file, or Keras cannot read it.
    """
    if not Path(path).is_file():
        raise InvalidModelError(f"there is no file {path}")
    import keras

    import leti_opt.network.keras_layers  # noqa: F401 - registers what our own Keras files hold

    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InvalidModelError(f"Keras cannot read {path}: {error}") from error


def converted(model: Any, path: str, precision: str = "float32") -> bytes:
    """A user's Keras model as the content of a ``.tflite`` file.

    Raises:
        InvalidModelError: TensorFlow has no way to write it.
    """
    from tensorflow.lite.python.convert_phase import ConverterError

    from leti_opt.device.resource_lock import building_on_host
    from leti_opt.network.tflite_converter import convert_tflite

    try:
        with building_on_host():
            return convert_tflite(model, precision)
    except ConverterError as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidModelError(f"TensorFlow cannot convert {path}: {reason}") from error


def is_hash(name: str) -> bool:
    """Whether a name is a cell's hash."""
    return re.fullmatch(r"[0-9a-f]{32}", name) is not None


def cell_of_hash(graph_hash: str, store: str) -> Architecture:
    """A cell by the hash of one that the store knows.

    Raises:
        NotFoundError: there is no store, or it knows no cell of this hash, or several.
    """
    from leti_opt.architecture import Architecture

    with existing_store(store) as opened:
        cells = sorted({alias.cell for alias in opened.aliases(graph_hash=graph_hash)})
    if not cells:
        raise NotFoundError(f"the store {opened.url} knows no cell with hash {graph_hash}; give the cell's text")
    if len(cells) > 1:
        raise NotFoundError(f"hash {graph_hash} stands for {len(cells)} cells; give one of {' '.join(cells)}")
    return Architecture.parse(cells[0])
