"""Names cells as the store knows them."""

from __future__ import annotations

from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.rendering import Renderer, renderer_version
from leti_opt.store.records import CellAlias


def cell_alias(architecture: Architecture, network: NetworkConfig, renderer: Renderer = "auto") -> CellAlias:
    """By what a store finds a cell in a network, without building it."""
    version = renderer_version(network.precision, renderer)
    return CellAlias(architecture.graph_hash, network.digest, version, str(architecture.canonical()))


def cell_model(architecture: Architecture, network: NetworkConfig, renderer: Renderer = "auto") -> MeasurableModel:
    """A cell in a network, ready to be measured."""
    name = str(architecture.canonical())
    return MeasurableModel.of_graph(build_layer_graph(architecture, network), name, renderer)
