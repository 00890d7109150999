"""The LETI paper's Table 2 on data that we measured: every predictor, with 5 % and 50 % of the cells to learn from.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.table2 [--data DIR] [--splits 10] [--slow-splits 2]

The last row is no predictor: some cells were measured a second time at another hour, and it says how often the second
figure is as close to the first as a prediction has to be. Both figures have noise there. A prediction that smooths over
many cells or kernels has hardly any of its own, so the best may lie above that row.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.page import put_into_page
from benchmarks.predictors.host_cells import HOST_CELLS, PAGE, MeasuredTwice, host_cells, measured_twice
from benchmarks.predictors.public_columns import with_interval
from benchmarks.result_table import write_result
from leti_opt import NetworkConfig
from leti_opt.predictor.better_flops import BetterFlopsPredictor
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.evaluation import MeanInterval, SplitResult, evaluate, split_by_class
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.gcn import GcnPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.lut import LatencyTable
from leti_opt.predictor.lut_predictor import LutPredictor
from leti_opt.predictor.metrics import TOLERANCES, PredictionMetrics, prediction_metrics
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.training_data import TrainingData

SHARES = (0.05, 0.5)
SLOW = "GCN of BRP-NAS"
Makers = Mapping[str, Callable[[], LatencyPredictor]]


def makers(network: NetworkConfig, kernels: LatencyTable) -> Makers:
    """Every predictor by what the table calls it."""
    return {
        "FLOPs": lambda: FlopsPredictor(network),
        "Better FLOPs": lambda: BetterFlopsPredictor(network),
        "XGBoost of the paper": lambda: BoostedTreesPredictor(network),
        SLOW: lambda: GcnPredictor(network),
        "LUT: sum of kernels": lambda: LutPredictor(network, kernels, residual="none"),
        "LUT and two constants": lambda: LutPredictor(network, kernels),
        "KernelPredictor": lambda: KernelPredictor(network),
    }


def main() -> None:
    """Judge every predictor with both shares and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOST_CELLS)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--slow-splits", type=int, default=2, help="of predictors that take minutes to fit")
    arguments = parser.parse_args()
    data = host_cells(arguments.data)
    twice = measured_twice(data, arguments.data)
    kernels = LatencyTable.load(arguments.data / "kernels.parquet")
    rows = [
        judged(name, make, data, share, arguments.slow_splits if name == SLOW else arguments.splits)
        for share in SHARES
        for name, make in makers(data.network, kernels).items()
    ]
    rows.append(measured_again(twice))
    headings = ["predictor", "learned from", *(f"±{100 * each:.0f} %" for each in TOLERANCES)]
    headings += ["MAPE, %", "Spearman", "in 90 % interval, %", "fit, s"]
    title = "Predictors on cells that we measured"
    path = write_result("table2", title, headings, rows, notes(data, twice, arguments.splits))
    put_into_page(PAGE, "table2", path.read_text().splitlines()[2:], "benchmarks.predictors.table2")


def judged(name: str, make: Callable[[], LatencyPredictor], data: TrainingData, share: float, splits: int) -> list[str]:
    """A predictor's row."""
    size = round(share * len(data))
    classes = np.arange(len(data))
    start = time.perf_counter()
    results = [
        evaluate(make(), data.cells, data.latency_ms, split_by_class(classes, size, seed)) for seed in range(splits)
    ]
    print(f"{name}, {size} cells, {splits} splits: {time.perf_counter() - start:.0f} s", flush=True)
    return [
        name,
        f"{100 * share:.0f} %: {size:,} cells",
        *_accuracy([each.metrics for each in results]),
        *_cost(results),
    ]


def measured_again(twice: MeasuredTwice) -> list[str]:
    """The second figures as if they were predictions of the first."""
    metrics = prediction_metrics(twice.again_ms, twice.first_ms)
    return [f"measuring again ({metrics.count} cells)", "", *_accuracy([metrics]), "", ""]


def _accuracy(metrics: list[PredictionMetrics]) -> list[str]:
    within = [
        with_interval(MeanInterval.of([100 * each.within[tolerance] for each in metrics])) for tolerance in TOLERANCES
    ]
    error = np.mean([each.mean_absolute_percentage_error for each in metrics])
    return [*within, f"{error:.2f}", f"{np.mean([each.spearman for each in metrics]):.4f}"]


def _cost(results: list[SplitResult]) -> list[str]:
    coverage = 100 * np.mean([each.coverage for each in results])
    return [f"{coverage:.1f}", f"{np.median([each.fit_seconds for each in results]):.2f}"]


def notes(data: TrainingData, twice: MeasuredTwice, splits: int) -> list[str]:
    """How to read the table."""
    ratio = twice.again_ms / twice.first_ms
    return [
        f"{data.story.statement()}; mean latencies from {data.latency_ms.min():.2f} to {data.latency_ms.max():.2f} ms. "
        f"No two cells are the same graph. Each split learns from a random share and is judged by all others; mean of "
        f"{splits} splits with the seeds 0 to {splits - 1} (of predictors that take minutes fewer), ± half a 95 % "
        "interval of that mean.",
        f"Measuring again: {len(ratio)} of the cells at another hour. The second figures are "
        f"{100 * (np.median(ratio) - 1):+.2f} % off the first in the median, and half of them within "
        f"{100 * np.median(np.abs(ratio - 1)):.2f} %.",
        "LUT: every kernel was measured alone beforehand (`kernels.parquet`); the sum learns nothing from cells but "
        "how wide its intervals must be.",
        "Fitting: processor time, features included.",
    ]


if __name__ == "__main__":
    main()
