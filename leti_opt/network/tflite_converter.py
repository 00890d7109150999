"""keras.Model -> TFLite through the TF converter: the reference way."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network.calibration import noise_batches
from leti_opt.temporary_folder import temporary_folder

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "float16", "dynamic", "int8")

_CONVERTER_LOCK = threading.Lock()
"""TensorFlow's converter redirects the process's standard streams and cannot run twice at once."""


@cache
def converter_version() -> str:
    """Name and versions of this way to TFLite, for keys; imports nothing."""
    return f"tf-converter/{metadata.version('tensorflow')}+keras/{metadata.version('keras')}"


def convert_tflite(
    model: keras.Model,
    precision: str = "float32",
    representative: Iterable[NDArray[np.float32]] | None = None,
    seed: int = 0,
) -> bytes:
    """Convert a Keras model to the content of a ``.tflite`` file.

    Args:
        model: with one input and a static batch dimension.
        precision: ``float32``; ``float16`` (weights only); ``dynamic`` (int8 weights, float activations); ``int8``
            (weights, activations, input and output).
        representative: batches of input that calibrate ``int8``; standard normal noise by default.
        seed: of that noise.

    Raises:
        InvalidInputError: unknown precision, or noise cannot calibrate the model.
    """
    import tensorflow as tf

    check_precision(precision)
    calibration = _calibration(model, representative, seed) if precision == "int8" else None
    with contextlib.ExitStack() as stack:
        for context in (_CONVERTER_LOCK, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings()):
            stack.enter_context(context)
        # It asks for statistics of the input, which the representative data are.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs")
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        stack.enter_context(_saved_in_our_folder(converter))
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if calibration is not None:
            converter.representative_dataset = calibration
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        content = converter.convert()
    return bytes(content)


@contextlib.contextmanager
def _saved_in_our_folder(converter: Any) -> Iterator[None]:
    """Have the converter save the model, which may be hundreds of megabytes, where a killed process leaves nothing.

    Its own folder would stay. A TensorFlow that saves it in another way goes on doing so.
    """
    save = getattr(converter, "_convert_keras_to_saved_model", None)
    if save is None:
        yield
        return
    with temporary_folder("convert") as folder:
        converter._convert_keras_to_saved_model = lambda _folder_of_tensorflow: save(str(folder / "saved"))
        yield


def check_precision(precision: str) -> None:
    """Refuse an unknown precision before anything is built.

    Raises:
        InvalidInputError: it is none of :data:`PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InvalidInputError(f"unknown precision {precision!r}; {did_you_mean(precision, PRECISIONS)}")


def _calibration(
    model: keras.Model, representative: Iterable[NDArray[np.float32]] | None, seed: int
) -> Callable[[], Iterator[list[Any]]]:
    if len(model.inputs) != 1:
        raise InvalidInputError(f"int8 needs a model with one input to calibrate; {model.name} has {len(model.inputs)}")
    batch, *image = model.inputs[0].shape
    if representative is None and None in image:
        raise InvalidInputError(
            f"the input of {model.name} is {(batch, *image)}: give its sizes, or representative data of the size in use"
        )
    shape = (batch or 1, *image)

    def batches() -> Iterator[list[Any]]:
        given = noise_batches(shape, seed) if representative is None else representative
        yield from ([np.asarray(batch, dtype=np.float32)] for batch in given)

    return batches
