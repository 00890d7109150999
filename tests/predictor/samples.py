"""Cells and latencies that predictors are tried on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leti_opt import NAS_BENCH_101, NAS_BENCH_201, NetworkConfig, enumerate_architectures, network_cost
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.device.published import DATA_FILE, LATENCY
from leti_opt.predictor.cells import CellRows

SMALL = NetworkConfig.small()
NATIVE = NetworkConfig.nasbench201()


def small_table(count: int = 80, seed: int = 0) -> ArchitectureTable:
    """Some cells of NAS-Bench-101, all of up to five vertices."""
    table = enumerate_architectures(NAS_BENCH_101)
    few = np.flatnonzero(table.vertices <= 5)
    return table[np.sort(np.random.default_rng(seed).choice(few, count, replace=False))]


def made_up_latency_ms(table: ArchitectureTable, noise: float = 0.02, seed: int = 0) -> NDArray[np.float64]:
    """What a device would take whose time goes with FLOPs and memory, give or take some per cent."""
    cost = network_cost(table, SMALL)
    plain = 1.0 + cost.flops / 2e7 + cost.peak_memory_bytes / 1e6
    return plain * np.exp(noise * np.random.default_rng(seed).standard_normal(len(table)))


def published(device: str) -> tuple[CellRows, NDArray[np.float64]]:
    """Every connected cell of NAS-Bench-201, unpruned, and what HELP measured."""
    with np.load(DATA_FILE, allow_pickle=False) as file:
        index, latency_ms = file["cell"].astype(np.int64), file[LATENCY + device].astype(np.float64)
    base = len(NAS_BENCH_201.operations)
    choices = index[:, np.newaxis] // base ** np.arange(len(NAS_BENCH_201.edges)) % base
    return CellRows.from_native(choices, NAS_BENCH_201), latency_ms
