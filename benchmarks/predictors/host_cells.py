"""The data set that we measured ourselves: stacked small NAS-Bench-101 cells on a host, some of them twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import DOCS
from leti_opt import NetworkConfig
from leti_opt.predictor.training_data import TrainingData, campaign_data

HOST_CELLS = Path(__file__).resolve().parents[2] / "examples" / "data" / "host_small_cells"
"""Its folder; the README there says how it was measured."""

PAGE = DOCS / "predictor_figures.md"
"""Where the tables of these cells go, too."""

NETWORK = NetworkConfig.small(filters=64)


@dataclass(frozen=True)
class MeasuredTwice:
    """Cells with two figures.

    Args:
        first_ms: the one that is in the data set.
        again_ms: the one that was measured later.
    """

    first_ms: NDArray[np.float64]
    again_ms: NDArray[np.float64]


def host_cells(folder: Path = HOST_CELLS) -> TrainingData:
    """All cells that have a latency."""
    return campaign_data(folder / "latencies.parquet", NETWORK)


def measured_twice(first: TrainingData, folder: Path = HOST_CELLS) -> MeasuredTwice:
    """The cells of the second campaign that have a latency in both."""
    again = campaign_data(folder / "again" / "latencies.parquet", NETWORK)
    rows = {cell.graph_hash: row for row, cell in enumerate(first.cells)}
    both = [(rows[cell.graph_hash], row) for row, cell in enumerate(again.cells) if cell.graph_hash in rows]
    mine, others = (np.array(places, dtype=np.int64) for places in zip(*both, strict=True))
    return MeasuredTwice(first.latency_ms[mine], again.latency_ms[others])
