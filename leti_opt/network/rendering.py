"""Which way a layer graph takes to a TFLite file."""

from __future__ import annotations

from typing import Literal

from leti_opt.errors import InvalidConfigError
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_converter import converter_version
from leti_opt.network.tflite_writer import (
    WRITABLE_PRECISIONS,
    check_writable,
    write_tflite,
    writer_version,
)

Renderer = Literal["auto", "writer", "converter"]
RENDERERS: tuple[Renderer, ...] = ("auto", "writer", "converter")


def chosen_renderer(precision: str, renderer: Renderer = "auto") -> Literal["writer", "converter"]:
    """``auto`` takes the direct writer where it can (all but ``dynamic``) and the TF converter elsewhere.

    Raises:
        InvalidConfigError: no such renderer.
    """
    if renderer == "auto":
        return "writer" if precision in WRITABLE_PRECISIONS else "converter"
    if renderer not in RENDERERS:
        raise InvalidConfigError(f"unknown renderer {renderer!r}; known: {', '.join(RENDERERS)}")
    return renderer


def check_renderer(precision: str, renderer: Renderer) -> None:
    """Refuse a renderer that cannot write this precision, before anything is built.

    Raises:
        InvalidConfigError: no such renderer, or the writer was asked for one that it does not write.
    """
    if chosen_renderer(precision, renderer) == "writer":
        check_writable(precision)


def renderer_version(precision: str, renderer: Renderer = "auto") -> str:
    """Name and version of the way that is taken, for keys; imports no TensorFlow."""
    return writer_version() if chosen_renderer(precision, renderer) == "writer" else converter_version()


def render_tflite(graph: LayerGraph, renderer: Renderer = "auto", seed: int = 0) -> bytes:
    """The content of a ``.tflite`` file with seeded random weights.

    The converter imports TensorFlow and takes seconds; the writer takes milliseconds.
    """
    if chosen_renderer(graph.precision, renderer) == "writer":
        return write_tflite(graph, seed=seed)
    from leti_opt.network.keras_model import build_keras_model
    from leti_opt.network.tflite_converter import convert_tflite

    return convert_tflite(build_keras_model(graph, seed), graph.precision, seed=seed)
