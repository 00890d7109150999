"""What a measuring service is asked: of a cell in a network, and of whatever a user's own build returned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InvalidModelError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.rendering import Renderer
from leti_opt.objective.answers import Question
from leti_opt.store.cells import cell_alias, cell_model


def cell_question(architecture: Architecture, network: NetworkConfig, renderer: Renderer = "auto") -> Question:
    """What the measuring service is asked about a cell in a network."""
    alias = cell_alias(architecture, network, renderer)
    return Question(
        alias.cell,
        lambda: cell_model(architecture, network, renderer),
        alias,
        network=network.settings,
    )


def as_measurable_model(network: Any, name: str) -> MeasurableModel:
    """Turn what a user's ``build`` returned into a model.

    Raises:
        InvalidModelError: it is none of the things that can be measured.
    """
    if isinstance(network, MeasurableModel):
        return network
    if isinstance(network, LayerGraph):
        return MeasurableModel.of_graph(network, name)
    if isinstance(network, str | Path):
        return MeasurableModel.of_file(network)
    if isinstance(network, bytes):
        return MeasurableModel.of_content(network, name, "file", "unknown")
    if hasattr(network, "inputs") and hasattr(network, "count_params"):
        from leti_opt.network.tflite_converter import convert_tflite, converter_version

        return MeasurableModel.of_content(convert_tflite(network), name, converter_version(), "float32")
    raise InvalidModelError(
        f"build returned a {type(network).__name__}; return a LayerGraph, a keras.Model, the path of a .tflite file "
        "or its content"
    )
