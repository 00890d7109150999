"""BRP-NAS's graph convolutional network on published latencies of NAS-Bench-201, with its published settings.

    python -m benchmarks.predictors.gcn [--data DIR] [--columns NAME ...] [--splits 2] [--size 900]

The splits are those of ``benchmarks.predictors.public_columns``. A column's row is printed as soon as it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.predictors.options import add_columns, add_splits, add_workers, on_every_column, parser_of
from benchmarks.predictors.public_columns import COLUMNS, NETWORK, with_interval
from benchmarks.predictors.public_data import PublicColumns
from benchmarks.result_table import write_result
from leti_opt.predictor.evaluation import MeanInterval, Split, SplitResult, evaluate
from leti_opt.predictor.gcn import GcnPredictor

VERTICES = 8
"""Of NAS-Bench-201's largest cells, with an operation a vertex."""

HEADINGS = ["column", "±1 %", "±5 %", "±10 %", "Spearman", "in 90 % interval, %", "epochs", "fit, s", "predict, s"]


@dataclass(frozen=True)
class Found:
    """What the network showed on one column.

    Args:
        column: its name.
        results: one a split.
        epochs: that were run, one a split.
    """

    column: str
    results: list[SplitResult]
    epochs: list[int]

    def row(self) -> list[str]:
        """For the table."""
        within = [
            MeanInterval.of([100 * result.metrics.within[tolerance] for result in self.results])
            for tolerance in (0.01, 0.05, 0.1)
        ]
        return [
            self.column,
            *map(with_interval, within),
            f"{np.mean([result.metrics.spearman for result in self.results]):.3f}",
            f"{100 * np.mean([result.coverage for result in self.results]):.1f}",
            ", ".join(map(str, self.epochs)),
            f"{np.median([result.fit_seconds for result in self.results]):.0f}",
            f"{np.median([result.predict_seconds for result in self.results]):.1f}",
        ]


def main() -> None:
    """Train on every column and write the table."""
    parser = parser_of(__doc__)
    add_columns(parser)
    add_splits(parser, 2)
    parser.add_argument("--size", type=int, default=900, help="cells to train on, a tenth of them for validation")
    add_workers(parser)
    arguments = parser.parse_args()
    found = on_every_column(judge, COLUMNS, arguments)
    write_result(
        "gcn",
        "BRP-NAS's graph convolutional network on published latencies of NAS-Bench-201",
        HEADINGS,
        [one.row() for one in found],
        notes(arguments.size, arguments.splits),
    )


def judge(data: PublicColumns, column: str, splits: Sequence[Split]) -> Found:
    """Train on one column's splits."""
    latency_ms, results, epochs = data.column(column), [], []
    for split in splits:
        predictor = GcnPredictor(NETWORK, vertices=VERTICES)
        results.append(evaluate(predictor, data.cells, latency_ms, split))
        epochs.append(predictor.epochs_)
    found = Found(column, results, epochs)
    print(found.row(), flush=True)
    return found


def notes(size: int, splits: int) -> list[str]:
    """How to read the table."""
    usual = GcnPredictor(NETWORK, vertices=VERTICES)
    return [
        f"{size} cells of different isomorphism classes (NAS-Bench-201's rule) to train on, a tenth of them for "
        f"validation; judged by all cells of the other classes; mean of {splits} split(s) with the seeds 0 to "
        f"{splits - 1}, ± half a 95 % interval of that mean.",
        f"{usual.layers} graph convolutions of {usual.units} units, dropout {usual.dropout}, AdamW "
        f"{usual.learning_rate}, absolute error of latencies scaled to 0 to 1, at most {usual.epochs} epochs with an "
        f"early end, as published; batches of {usual.batch_size} cells, where the published code has one. It sees "
        "pruned cells, though these were measured unpruned. Seconds are processor time of one thread.",
        "The published figures are from random splits, with cells of one class on both sides, and 1,000 cells "
        "(100 of them for validation).",
    ]


if __name__ == "__main__":
    main()
