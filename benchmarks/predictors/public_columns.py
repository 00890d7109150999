"""Predictors on published latencies of NAS-Bench-201: 900 training cells of different classes, all others to be judged.

    python -m benchmarks.predictors.public_columns [--data DIR] [--columns NAME ...] [--splits 10]
    python -m benchmarks.predictors.public_columns --all-columns --splits 2

Each split learns from one cell of each of 900 classes and is judged by all cells of the other classes. Beside the
package's predictors run the plain baselines, on the same splits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.predictors.baselines import ProcessBaseline, baseline_features, xgboost_prediction
from benchmarks.predictors.options import add_columns, add_splits, add_workers, on_every_column, parser_of
from benchmarks.predictors.public_data import PublicColumns
from benchmarks.result_table import Figure, write_result
from leti_opt import NetworkConfig
from leti_opt.predictor.better_flops import BetterFlopsPredictor
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.evaluation import MeanInterval, Split, SplitResult, evaluate
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import PredictionMetrics, prediction_metrics
from leti_opt.predictor.predictor import LatencyPredictor

COLUMNS = {
    "latbench/desktop_gtx_1080ti_fp32": (90.0, 96.0),
    "latbench/jetson_nano_gpu_fp32": (95.0, 98.5),
    "latbench/snapdragon_855_cpu_int8": (88.5, 92.0),
    "latbench/snapdragon_855_gpu_adreno_640_int8": (89.0, 93.5),
    "help/pixel3": (60.0, 68.0),
}
"""Share within 10 per cent that our predictor must reach, and should."""

NETWORK = NetworkConfig.nasbench201()
OURS = "KernelPredictor"
MAKERS: dict[str, Callable[[], LatencyPredictor]] = {
    "FLOPs": lambda: FlopsPredictor(NETWORK),
    "Better FLOPs": lambda: BetterFlopsPredictor(NETWORK),
    "XGBoost of the paper": lambda: BoostedTreesPredictor(NETWORK, vertices=8),
    OURS: lambda: KernelPredictor(NETWORK),
}


@dataclass(frozen=True)
class Found:
    """What one predictor showed on one column."""

    column: str
    predictor: str
    metrics: list[PredictionMetrics]
    coverages: list[float]
    fit_seconds: float

    def mean(self, of: Callable[[PredictionMetrics], float]) -> MeanInterval:
        """Over the splits."""
        return MeanInterval.of([of(metrics) for metrics in self.metrics])

    def within(self, tolerance: float) -> MeanInterval:
        """Share within a tolerance, in per cent."""
        return self.mean(lambda metrics: 100 * metrics.within[tolerance])

    def row(self) -> list[str]:
        """For the table."""
        covered = f"{100 * np.mean(self.coverages):.1f}" if self.coverages else ""
        return [
            self.column,
            self.predictor,
            with_interval(self.within(0.01)),
            with_interval(self.within(0.05)),
            with_interval(self.within(0.1)),
            f"{self.mean(lambda metrics: metrics.mean_absolute_percentage_error).mean:.2f}",
            f"{self.mean(lambda metrics: metrics.root_mean_squared_error_ms).mean:.3f}",
            f"{self.mean(lambda metrics: metrics.spearman).mean:.3f}",
            f"{self.mean(lambda metrics: metrics.kendall).mean:.3f}",
            covered,
            f"{self.fit_seconds:.1f}",
        ]


def main() -> None:
    """Judge every predictor on every column and write the table."""
    parser = parser_of(__doc__)
    add_columns(parser)
    add_splits(parser, 10)
    parser.add_argument("--size", type=int, default=900, help="training cells")
    add_workers(parser)
    parser.add_argument("--all-columns", action="store_true", help="our predictor alone, on every column of the file")
    arguments = parser.parse_args()
    if arguments.all_columns:
        from benchmarks.predictors.all_columns import judge_all

        judge_all(arguments.data, arguments.splits, arguments.workers)
        return
    found = [one for part in on_every_column(judge, COLUMNS, arguments) for one in part]
    headings = ["column", "predictor", "±1 %", "±5 %", "±10 %", "MAPE, %", "RMSE, ms", "Spearman", "Kendall"]
    headings += ["in 90 % interval, %", "fit, s"]
    write_result(
        "public_columns",
        "Predictors on published latencies of NAS-Bench-201",
        headings,
        [one.row() for one in found],
        notes(arguments.size, arguments.splits),
        figures(found),
    )


def judge(data: PublicColumns, column: str, splits: Sequence[Split]) -> list[Found]:
    """All predictors on one column."""
    latency_ms = data.column(column)
    found = []
    for name, maker in MAKERS.items():
        results = [evaluate(maker(), data.cells, latency_ms, split) for split in splits]
        found.append(_summary(column, name, results))
        print(found[-1].row(), flush=True)
    features = baseline_features(data.operations)
    for name, predict in (("baseline XGBoost", xgboost_prediction), ("baseline GP", ProcessBaseline())):
        start = time.process_time()
        metrics = [
            prediction_metrics(
                predict(features[split.train], latency_ms[split.train], features[split.test]), latency_ms[split.test]
            )
            for split in splits
        ]
        found.append(Found(column, name, metrics, [], (time.process_time() - start) / len(splits)))
        print(found[-1].row(), flush=True)
    return found


def _summary(column: str, name: str, results: Sequence[SplitResult]) -> Found:
    return Found(
        column,
        name,
        [result.metrics for result in results],
        [result.coverage for result in results],
        float(np.median([result.fit_seconds for result in results])),
    )


def figures(found: Sequence[Found]) -> list[Figure]:
    """Ours beside what it should be."""
    ours = [one for one in found if one.predictor == OURS]
    made = [
        Figure(f"within ±10 % of the latency, {one.column}, 900 cells", one.within(0.1).mean, "%", *COLUMNS[one.column])
        for one in ours
        if one.column in COLUMNS
    ]
    for one in ours:
        off = abs(100 * float(np.mean(one.coverages)) - 90)
        made.append(Figure(f"90 % intervals off their share, {one.column}", off, "points", 3.0, None, True))
    fitting = max(one.fit_seconds for one in ours)
    made.append(Figure("fitting our predictor to 900 cells, processor time", fitting, "s", 60, 5, True))
    return made


def notes(size: int, splits: int) -> list[str]:
    """How to read the table."""
    return [
        f"{size} training cells, one drawn at random of each of as many isomorphism classes (NAS-Bench-201's rule); "
        f"judged by all cells of the other classes; mean of {splits} splits with the seeds 0 to {splits - 1}, ± half a "
        "95 % interval of that mean.",
        "The cells were handed in unpruned, as they were measured. Whether our predictor looks at what leads nowhere "
        "is decided on the training cells alone.",
        "Baselines: all that is easily read off a cell (`benchmarks/predictors/baselines.py`), with XGBoost (1,500 "
        "trees) and with a Gaussian process, whose scales are chosen on the first split. Their fitting includes "
        "predicting.",
    ]


def with_interval(found: MeanInterval) -> str:
    """A mean, with half its interval where there is one."""
    return f"{found.mean:.1f}" + (f" ± {found.half_width:.1f}" if np.isfinite(found.half_width) else "")


if __name__ == "__main__":
    main()
