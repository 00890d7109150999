"""Cells and networks of the published table."""

from __future__ import annotations

from typing import Any

from leti_opt import NAS_BENCH_201, Architecture, NetworkConfig, build_layer_graph
from leti_opt.device.model import MeasurableModel

CONFIG = NetworkConfig.nasbench201()
ONE_CONV = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
"""Many published cells do nothing but this convolution, and differ in operations that lead nowhere."""

FULL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
"""A cell whose network no other cell makes."""


def native(text: str) -> Architecture:
    return NAS_BENCH_201.parse_native(text)


def model(text: str, config: NetworkConfig = CONFIG, **settings: Any) -> MeasurableModel:
    return MeasurableModel.of_graph(build_layer_graph(native(text), config), text, **settings)
