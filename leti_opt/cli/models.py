"""From what a user names on the command line to something that can be measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leti_opt.errors import InvalidModelError, NotFoundError

if TYPE_CHECKING:
    from leti_opt.architecture import Architecture
    from leti_opt.store.latency_store import LatencyStore

KERAS_SUFFIXES = (".keras", ".h5")
FILE_SUFFIXES = (".tflite", *KERAS_SUFFIXES)


def is_file(name: str) -> bool:
    """Whether a name means a model's file rather than a cell."""
    return name.endswith(FILE_SUFFIXES) or Path(name).is_file()


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
    except (ValueError, OSError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(f"Keras cannot read {path}: {error}") from error


def named_cell(name: str, store: LatencyStore) -> Architecture:
    """A cell by its text, or by the hash of one that the store knows.

    Raises:
        NotFoundError: the store knows no cell of this hash, or several.
        InvalidArchitectureError: the text is no cell.
    """
    from leti_opt.architecture import Architecture

    if not re.fullmatch(r"[0-9a-f]{32}", name):
        return Architecture.parse(name)
    cells = sorted({alias.cell for alias in store.aliases(graph_hash=name)})
    if not cells:
        raise NotFoundError(f"the store {store.url} knows no cell with hash {name}; give the cell's text")
    if len(cells) > 1:
        raise NotFoundError(f"hash {name} stands for {len(cells)} cells; give one of {' '.join(cells)}")
    return Architecture.parse(cells[0])
