"""Few-shot transfer on published latencies of NAS-Bench-201: nine devices are known, one more by a few cells.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.transfer [--data DIR] [--splits 5]

Sources are those that HELP trains on, 900 cells each; targets are the four that it validates on, and LatBench's.
Beside the transfer run a predictor from scratch on the same few cells, and the best single source, scaled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.predictors.public_data import DEFAULT_FOLDER, PublicColumns, load_columns
from benchmarks.result_table import Figure, write_result
from leti_opt import NetworkConfig
from leti_opt.predictor.cells import CellRows, Cells
from leti_opt.predictor.evaluation import MeanInterval, Split
from leti_opt.predictor.kernel_features import columns_of
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import PredictionMetrics, coverage, prediction_metrics
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.spread_cells import spread_cells
from leti_opt.predictor.transfer import TransferPredictor
from leti_opt.predictor.transfer_basis import SOURCE, SOURCE_PRUNED

SOURCES = ("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r")
SOURCES += ("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7")
VALIDATION = ("titanx_1", "titanx_32", "titanx_256", "gold_6240")
SOURCE_CELLS = 900
SIZES = (10, 20, 50, 100)
LIMITS = {10: (0.94, 0.96), 20: (0.95, 0.97)}
"""Mean rank correlation that the transfer must reach with so many cells, and should."""
NETWORK = NetworkConfig.nasbench201()
OURS, CHOSEN = "transfer", "transfer, cells chosen far apart"
SCRATCH, SINGLE = "from scratch (KernelPredictor)", "best single source, scaled"
TEST_CELLS = 3000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What one method showed on one target with so many cells."""

    target: str
    method: str
    size: int
    metrics: list[PredictionMetrics]
    coverages: list[float]


class Table:
    """Features of all cells, worked out once."""

    def __init__(self, predictor: LatencyPredictor, data: PublicColumns) -> None:
        self.values, self.names = predictor.features(data.cells)
        self.row_of = {row.tobytes(): place for place, row in enumerate(data.cells.operations)}

    def __call__(self, cells: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Of some of the cells."""
        assert isinstance(cells, CellRows), "cells are taken from the data"
        return self.values[[self.row_of[row.tobytes()] for row in cells.operations]], self.names


def main() -> None:
    """Judge every method on every target and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--splits", type=int, default=5)
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    rows = np.sort(np.random.default_rng(0).choice(len(data.cells), SOURCE_CELLS, replace=False))
    measured = data.cells.take(rows)
    ours = TransferPredictor(NETWORK, {name: (measured, data.column(f"help/{name}")[rows]) for name in SOURCES})
    scratch = KernelPredictor(NETWORK)
    table, plain = Table(ours, data), Table(scratch, data)
    ours.features, scratch.features = table, plain  # type: ignore[method-assign]
    targets = [f"help/{name}" for name in VALIDATION] + [name for name in data.devices if name.startswith("latbench/")]
    found = []
    for target in targets:
        latency_ms = data.column(target)
        for size in SIZES:
            splits = [random_split(data.classes, size, seed) for seed in range(arguments.splits)]
            chosen = [split_of(data.classes, spread_cells(data.cells.take(rows), NETWORK, size), rows)]
            found += [
                judge(target, OURS, size, ours, data, latency_ms, splits),
                judge(target, CHOSEN, size, ours, data, latency_ms, chosen),
                judge(target, SCRATCH, size, scratch, data, latency_ms, splits),
                single_source(target, size, table, latency_ms, splits),
            ]
            print(*(" ".join(line(one.method, [one])) for one in found[-4:]), sep="\n", flush=True)
    headings = ["cells", "method", "targets", "Spearman", "worst", "±10 %", "in 90 % interval, %"]
    write_result(
        "transfer",
        "Few-shot transfer to a new device",
        headings,
        [[str(size), *row] for size in SIZES for row in summary(found, size)],
        [*notes(arguments.splits), *per_target(found, targets)],
        figures(found),
    )


def random_split(classes: NDArray[np.int64], size: int, seed: int) -> Split:
    """Cells at random to learn from, each of another class; cells of all other classes to be judged by.

    Cells are drawn, not classes: large classes hold the cells with dead ends, as in the space itself.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    first = np.sort(np.unique(classes[order], return_index=True)[1])
    return split_of(classes, order[first[:size]])


def split_of(classes: NDArray[np.int64], train: NDArray[np.int64], rows: NDArray[np.int64] | None = None) -> Split:
    """These cells against some of other classes; positions count among the rows, if there are any."""
    own = train if rows is None else rows[train]
    test = np.flatnonzero(~np.isin(classes, classes[own]))
    return Split(own, test[:: max(1, len(test) // TEST_CELLS)])


def judge(
    target: str,
    method: str,
    size: int,
    predictor: LatencyPredictor,
    data: PublicColumns,
    latency_ms: Floats,
    splits: Sequence[Split],
) -> Found:
    """A predictor on every split."""
    metrics, coverages = [], []
    for split in splits:
        predictor.fit(data.cells.take(split.train), latency_ms[split.train])
        lower, upper = predictor.predict_interval(data.cells.take(split.test), 0.9)
        metrics.append(prediction_metrics(predictor.predict(data.cells.take(split.test)), latency_ms[split.test]))
        coverages.append(coverage(lower, upper, latency_ms[split.test]))
    return Found(target, method, size, metrics, coverages)


def single_source(target: str, size: int, table: Table, latency_ms: Floats, splits: Sequence[Split]) -> Found:
    """The source, as it is or of pruned cells, whose figures are most nearly a multiple of the few."""
    sources = table.values[:, columns_of(table.names, SOURCE, SOURCE_PRUNED)].astype(np.float64)
    metrics = []
    for split in splits:
        offsets = np.log(latency_ms[split.train, np.newaxis] / sources[split.train])
        best = int(offsets.std(axis=0).argmin())
        predicted = np.exp(np.median(offsets[:, best])) * sources[split.test, best]
        metrics.append(prediction_metrics(predicted, latency_ms[split.test]))
    return Found(target, SINGLE, size, metrics, [])


def line(name: str, found: Sequence[Found]) -> list[str]:
    """Means over targets and splits."""
    spearman = _means(found, lambda one: one.spearman)
    within = _means(found, lambda one: 100 * one.within[0.1])
    covered = [share for one in found for share in one.coverages]
    return [
        name,
        str(len(found)) if len(found) > 1 else f"{found[0].target}, {found[0].size} cells",
        f"{np.mean(spearman):.3f}",
        f"{np.min(spearman):.3f}",
        f"{np.mean(within):.1f}",
        f"{100 * np.mean(covered):.1f}" if covered else "",
    ]


def summary(found: Sequence[Found], size: int) -> list[list[str]]:
    """A line for each method and group of targets."""
    lines = []
    for method in (OURS, CHOSEN, SCRATCH, SINGLE):
        own = [one for one in found if one.method == method and one.size == size]
        for group in ("", "help/", "latbench/"):
            part = [one for one in own if one.target.startswith(group)]
            made = line(method, part)
            lines.append([made[0], f"{len(part)} {group.rstrip('/')}".strip(), *made[2:]])
    return lines


def per_target(found: Sequence[Found], targets: Sequence[str]) -> list[str]:
    """Spearman and share within ±10 % of ours on each target, by size."""
    lines = []
    for target in targets:
        own = [one for one in found if one.target == target and one.method == OURS]
        figures = "; ".join(
            f"{one.size} cells {MeanInterval.of([each.spearman for each in one.metrics]).mean:.3f}, "
            f"{100 * np.mean([each.within[0.1] for each in one.metrics]):.1f} %"
            for one in own
        )
        lines.append(f"{target} (transfer, Spearman and within ±10 %): {figures}.")
    return lines


def figures(found: Sequence[Found]) -> list[Figure]:
    """Ours beside what it should be."""
    made = []
    for size, limits in LIMITS.items():
        own = [one for one in found if one.method == OURS and one.size == size]
        value = float(np.mean(_means(own, lambda one: one.spearman)))
        made.append(
            Figure(f"transfer to a new device, {size} cells, mean of {len(own)} targets", value, "Spearman", *limits)
        )
    return made


def notes(splits: int) -> list[str]:
    """How to read the table."""
    return [
        f"Sources: {', '.join(SOURCES)} of HELP, {SOURCE_CELLS} cells each, the same for all, drawn with seed 0; of "
        "other cells no source's latency was seen.",
        f"Targets: {', '.join(VALIDATION)} of HELP, and LatBench's seven. Settings were chosen on the sources, one "
        "left out at a time, as they are, as if they pruned, and with operations exchanged. That a device may be like "
        "a single source was added after a first run on the targets had shown the need, and checked on the sources.",
        f"Few cells: drawn at random among all, each of another isomorphism class; mean of {splits} draws with the "
        f"seeds 0 to {splits - 1}. Judged by some {TEST_CELLS:,} cells, evenly spaced, of all other classes. Worst: "
        "of the targets' means. Chosen far apart: one choice, among the sources' cells, by `spread_cells`.",
        "Single source: nine sources, each as it is and of pruned cells; the one whose logarithms differ most evenly "
        "from the few, times the median ratio.",
        "Published, not measured here, other targets: HELP with 10 samples, mean of six devices .932 (Pixel 2 .802, "
        "Raspberry Pi 4 .890, ASIC .940, FPGA .985, Gold 6226 .989, Titan RTX .987); BRP-NAS with 900 samples on the "
        "same, mean .789.",
    ]


def _means(found: Sequence[Found], of: Callable[[PredictionMetrics], float]) -> list[float]:
    return [float(np.mean([of(metrics) for metrics in one.metrics])) for one in found]


if __name__ == "__main__":
    main()
