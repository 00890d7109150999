"""Few-shot transfer on published latencies of NAS-Bench-201: nine devices are known, one more by a few cells.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.transfer [--data DIR] [--splits 5]

Sources are those that HELP trains on, 900 cells each; targets are the four that it validates on, and LatBench's.
Beside the transfer run a predictor from scratch on the same few cells, and the best single source, scaled; and what is
possible at all, as 900 cells of the target tell it. How settings are chosen: `benchmarks.predictors.transfer_choice`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import DOCS, put_into_page
from benchmarks.predictors.options import add_splits, parser_of
from benchmarks.predictors.public_data import PublicColumns, load_columns
from benchmarks.result_table import Figure, write_result
from leti_opt import NetworkConfig
from leti_opt.predictor.cells import CellRows, Cells
from leti_opt.predictor.evaluation import Split
from leti_opt.predictor.kernel_features import columns_of
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import PredictionMetrics, coverage, prediction_metrics
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.spread_cells import spread_cells
from leti_opt.predictor.transfer import TransferPredictor
from leti_opt.predictor.transfer_basis import SOURCE, SOURCE_PRUNED
from leti_opt.report.lut_table import markdown_table

SOURCES = (
    *("1080ti_1", "1080ti_32", "1080ti_256", "silver_4114", "silver_4210r"),
    *("samsung_a50", "pixel3", "essential_ph_1", "samsung_s7"),
)
VALIDATION = ("titanx_1", "titanx_32", "titanx_256", "gold_6240")
SOURCE_CELLS = 900
SIZES = (10, 20, 50, 100)
LIMITS = {10: (0.94, 0.96), 20: (0.95, 0.97)}
"""Mean rank correlation that the transfer must reach with so many cells, and should."""
NETWORK = NetworkConfig.nasbench201()
OURS, CHOSEN = "transfer", "transfer, cells chosen far apart"
SCRATCH, SINGLE = "from scratch", "best single source, scaled"
CEILING = "900 cells of its own"
METHODS = (OURS, CHOSEN, SCRATCH, SINGLE, CEILING)
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
    parser = parser_of(__doc__)
    add_splits(parser, 5)
    parser.add_argument("--sources", nargs="+", default=[f"help/{name}" for name in SOURCES], help="columns")
    parser.add_argument("--targets", nargs="+", help="columns; HELP's and LatBench's if absent, or all but the sources")
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    rows = measured_rows(data)
    ours = transfer_predictor(data, rows, arguments.sources)
    scratch = KernelPredictor(NETWORK)
    table, plain = Table(ours, data), Table(scratch, data)
    ours.features, scratch.features = table, plain  # type: ignore[method-assign, assignment]
    targets = arguments.targets or usual_targets(data, arguments.sources)
    found = []
    for target in targets:
        latency_ms = data.column(target)
        ceiling = judge(target, CEILING, len(rows), scratch, data, latency_ms, [ceiling_split(data.classes, rows)])
        for size in SIZES:
            splits = [random_split(data.classes, size, seed) for seed in range(arguments.splits)]
            chosen = [split_of(data.classes, spread_cells(data.cells.take(rows), NETWORK, size), rows)]
            found += [
                judge(target, OURS, size, ours, data, latency_ms, splits),
                judge(target, CHOSEN, size, ours, data, latency_ms, chosen),
                judge(target, SCRATCH, size, scratch, data, latency_ms, splits),
                single_source(target, size, table, latency_ms, splits),
                replace(ceiling, size=size),
            ]
        print(*(" | ".join(row) for row in lines(found, target, target)), sep="\n", flush=True)
    parts = [pair for pair in (("HELP's", "help/"), ("LatBench's", "latbench/")) if any_starts(targets, pair[1])]
    groups = [("all", ""), *parts, *((target, target) for target in targets)]
    rows_by_group = [row for name, start in groups for row in lines(found, name, start)]
    put_into_page(DOCS / "predictors.md", "transfer", page_table(rows_by_group), "benchmarks.predictors.transfer")
    write_result(
        "transfer",
        "Few-shot transfer to a new device",
        ["target", "cells", *METHODS, "transfer: worst draw", "transfer: in 90 % interval, %"],
        rows_by_group,
        notes(arguments.splits, arguments.sources, targets),
        figures(found),
    )


def measured_rows(data: PublicColumns) -> NDArray[np.int64]:
    """The cells that every source measured."""
    return np.sort(np.random.default_rng(0).choice(len(data.cells), SOURCE_CELLS, replace=False))


def usual_targets(data: PublicColumns, sources: Sequence[str]) -> list[str]:
    """HELP's validation devices and LatBench's; of a file that has none of them, all that are no sources."""
    named = {f"help/{name}" for name in VALIDATION}
    found = [name for name in data.devices if name in named or name.startswith("latbench/")]
    return [name for name in found or data.devices if name not in sources]


def any_starts(names: Sequence[str], start: str) -> bool:
    """Whether a name begins so."""
    return any(name.startswith(start) for name in names)


def transfer_predictor(data: PublicColumns, rows: NDArray[np.int64], sources: Sequence[str]) -> TransferPredictor:
    """The transfer that knows these cells' latencies on the sources."""
    measured = data.cells.take(rows)
    return TransferPredictor(NETWORK, {name: (measured, data.column(name)[rows]) for name in sources})


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


def ceiling_split(classes: NDArray[np.int64], rows: NDArray[np.int64]) -> Split:
    """The sources' cells against those by which the first draw of ten is judged.

    Cells of the same class are on both sides, but no cell is: what it shows is rather too good.
    """
    return Split(rows, np.setdiff1d(random_split(classes, SIZES[0], 0).test, rows))


def lines(found: Sequence[Found], name: str, start: str) -> list[list[str]]:
    """A row for each number of cells: means over the targets whose names start so, and over draws."""
    rows = []
    for size in SIZES:
        row = [name, str(size)]
        for method in METHODS:
            own = [one for one in found if (one.method, one.size) == (method, size) and one.target.startswith(start)]
            spearman, within = _means(own, lambda one: one.spearman), _means(own, lambda one: 100 * one.within[0.1])
            row.append(f"{np.mean(spearman):.3f}, {np.mean(within):.1f} %")
        ours = [one for one in found if (one.method, one.size) == (OURS, size) and one.target.startswith(start)]
        row.append(f"{min(metrics.spearman for one in ours for metrics in one.metrics):.3f}")
        row.append(f"{100 * np.mean([share for one in ours for share in one.coverages]):.1f}")
        rows.append(row)
    return rows


def page_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The means over all targets, for the page of predictors."""
    return markdown_table(["cells measured", *METHODS], [row[1:-2] for row in rows if row[0] == "all"])


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


def notes(splits: int, sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """How to read the table."""
    return [
        "Each field: Spearman's rank correlation, and the share within ±10 % of the latency.",
        f"Sources: {', '.join(sources)}, {SOURCE_CELLS} cells each, the same for all, drawn with seed 0; of "
        "other cells no source's latency was seen.",
        f"Targets: {', '.join(targets)}. Settings "
        "were chosen on HELP's sources (`benchmarks.predictors.transfer_choice`). That a device may be like a single "
        "source was added after a first run on the targets had shown the need, and checked on the sources; so the "
        "targets are not quite unseen.",
        f"transfer: the few cells are drawn at random among all, as HELP's are, but each of another isomorphism class; "
        f"mean of {splits} draws with the seeds 0 to {splits - 1}. Judged by some {TEST_CELLS:,} cells, evenly spaced, "
        "of all other classes. From scratch (`KernelPredictor`) and single source: the same cells.",
        "cells chosen far apart: one choice among the sources' cells by `spread_cells`, without a look at any latency; "
        "the cells that judge it are of other classes than these.",
        f"Single source: {len(sources)} sources, each as it is and of pruned cells; the one whose logarithms differ "
        "most evenly from the few, times the median ratio.",
        "900 cells of its own: `KernelPredictor` after the sources' cells were measured on the target, judged by the "
        "first draw's cells of ten without these. It has cells of the same classes, so is rather too good: a ceiling. "
        "It is the same in all four rows.",
        "Published, not measured here, other targets: HELP with 10 samples, mean of six devices .932 (Pixel 2 .802, "
        "Raspberry Pi 4 .890, ASIC .940, FPGA .985, Gold 6226 .989, Titan RTX .987); BRP-NAS with 900 samples on the "
        "same, mean .789.",
    ]


def _means(found: Sequence[Found], of: Callable[[PredictionMetrics], float]) -> list[float]:
    return [float(np.mean([of(metrics) for metrics in one.metrics])) for one in found]


if __name__ == "__main__":
    main()
