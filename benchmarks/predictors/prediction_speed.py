"""How many architectures a second a fitted predictor answers for, features included, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.prediction_speed

The predictor is fitted to 900 cells of HELP's figures, a part of which ships with the package, or to a made-up sum for
NAS-Bench-101; what it predicts does not change how fast it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np

from benchmarks.result_table import Figure, write_result
from leti_opt import NAS_BENCH_101, NAS_BENCH_201, NetworkConfig, enumerate_architectures, network_cost
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.predictor import LatencyPredictor

TRAINING = 900
REPEATS = 5
Cells = CellRows | ArchitectureTable


def main() -> None:
    """Time every predictor on every space and write the table."""
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit("set OMP_NUM_THREADS=1, so that one core is timed")
    rows, figures = [], []
    for space, cells, network in spaces():
        kinds: dict[str, Callable[[], LatencyPredictor]] = {
            "KernelPredictor": lambda network=network: KernelPredictor(network),  # type: ignore[misc]
            "BoostedTreesPredictor": lambda network=network: BoostedTreesPredictor(network, vertices=8),  # type: ignore[misc]
        }
        for name, make in kinds.items():
            fit_seconds, speed = timed(make(), cells, network)
            rows.append([name, space, f"{len(cells):,}", f"{fit_seconds:.1f}", f"{speed:,.0f}"])
            if name == "KernelPredictor":
                figures.append(
                    Figure(f"predicting, features included, a core ({space})", speed, "architectures/s", 1e5, 5e5)
                )
    write_result(
        "prediction_speed",
        "Speed of fitted predictors",
        ["predictor", "cells", "how many", f"fit to {TRAINING}, s", "architectures/s"],
        rows,
        [f"Processor time of one thread; fastest of {REPEATS} runs over all cells."],
        figures,
    )


def spaces() -> list[tuple[str, Cells, NetworkConfig]]:
    """Cells to predict."""
    native = NAS_BENCH_201
    base, edges = len(native.operations), len(native.edges)
    choices = np.arange(base**edges)[:, np.newaxis] // base ** np.arange(edges) % base
    unpruned = CellRows.from_native(choices[connected(choices)], native)
    every = enumerate_architectures(NAS_BENCH_101)
    some = every[np.sort(np.random.default_rng(0).choice(len(every), 50_000, replace=False))]
    return [
        ("NAS_BENCH_201, unpruned", unpruned, NetworkConfig.nasbench201()),
        ("NAS_BENCH_101, a sample", some, NetworkConfig.nasbench101()),
    ]


def connected(choices: np.ndarray) -> np.ndarray:
    """Rows of NAS-Bench-201 whose input reaches the output."""
    reached = np.zeros((len(choices), NAS_BENCH_201.max_vertices), dtype=bool)
    reached[:, 0] = True
    for place, (source, target) in enumerate(NAS_BENCH_201.edges):
        reached[:, target] |= reached[:, source] & (choices[:, place] != 0)
    return reached[:, -1]


def timed(predictor: LatencyPredictor, cells: Cells, network: NetworkConfig) -> tuple[float, float]:
    """Seconds to fit, and architectures a second."""
    rows = np.sort(np.random.default_rng(1).choice(len(cells), TRAINING, replace=False))
    train = cells.take(rows) if isinstance(cells, CellRows) else cells[rows]
    table = train.table() if isinstance(train, CellRows) else train
    latency_ms = 1 + network_cost(table, network).flops / 1e8
    start = time.process_time()
    predictor.fit(train, latency_ms * np.exp(0.02 * np.random.default_rng(2).standard_normal(TRAINING)))
    fit_seconds = time.process_time() - start
    seconds = []
    for _ in range(REPEATS):
        # Fresh rows, so that nothing that an earlier run worked out is at hand.
        fresh = CellRows(cells.adjacency, cells.operations, cells.labels) if isinstance(cells, CellRows) else cells
        start = time.process_time()
        predictor.predict(fresh)
        seconds.append(time.process_time() - start)
    return fit_seconds, len(cells) / min(seconds)


if __name__ == "__main__":
    main()
