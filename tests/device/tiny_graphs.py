"""Layer graphs of a few layers, for devices that look at costs only."""

from __future__ import annotations

from leti_opt.device.model import MeasurableModel
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind


def tiny_graph(filters: int = 4, side: int = 8) -> LayerGraph:
    """Input and one convolution."""
    return LayerGraph(
        (
            Layer("input", LayerKind.INPUT, (), (side, side, 3)),
            Layer("conv", LayerKind.CONV, (0,), (side, side, filters), kernel_size=3),
        )
    )


def graph_model(key: str, filters: int = 4, side: int = 8) -> MeasurableModel:
    """A network known by its layers only."""
    return MeasurableModel(key=key, name=key, renderer="none", layer_graph=tiny_graph(filters, side))
