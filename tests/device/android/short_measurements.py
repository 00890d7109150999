"""A small network and a protocol that is over soon."""

from __future__ import annotations

from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig

SHORT = MeasurementProtocol(min_runs=5, warmup_runs=1, max_relative_std=1e6)


def small_network(cell: str = "0-1,1-2:conv1x1-bn-relu") -> MeasurableModel:
    return MeasurableModel.of_graph(build_layer_graph(Architecture.parse(cell), NetworkConfig.small(filters=8)))
