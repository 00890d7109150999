"""Results of searches on simulated devices, small and quick."""

from __future__ import annotations

from leti_opt.architecture import Architecture
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.accuracy_latency import AccuracyLatencyObjective
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.search import ArchitectureSearch, SearchSettings
from leti_opt.search.architecture_search import SearchResult
from leti_opt.store import LatencyStore

NETWORK = NetworkConfig.small(filters=8)


def edges_as_accuracy(architecture: Architecture) -> float:
    """Stands for a training: more edges, more accurate."""
    return len(architecture.canonical().edges) / 10


def searched(
    device: str = "replay:formula?seed=1",
    budget: int = 12,
    with_accuracy: bool = True,
    store: str | LatencyStore = ":memory:",
    seed: int = 1,
) -> SearchResult:
    """A finished search."""
    latency = DeviceLatencyObjective(device, NETWORK, store=store, protocol=MeasurementProtocol(min_runs=10))
    objective = AccuracyLatencyObjective(edges_as_accuracy, latency) if with_accuracy else latency
    return ArchitectureSearch(objective, SearchSettings("RandomSearch", budget, seed=seed)).run()
