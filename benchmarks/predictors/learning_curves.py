"""How good our predictor is with more and more training cells, and in which fifth of the cells it is off.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.learning_curves [--data DIR] [--columns NAME ...] [--splits 3]

Cells are split by isomorphism class: one cell of each of as many classes as there are training cells, judged by all
cells of the other classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import joblib
import numpy as np

from benchmarks.predictors.options import add_columns, add_splits, add_workers, parser_of
from benchmarks.predictors.public_columns import COLUMNS, NETWORK, with_interval
from benchmarks.predictors.public_data import PublicColumns, load_columns
from benchmarks.result_table import write_result
from leti_opt.predictor.evaluation import LEARNING_CURVE_SIZES, MeanInterval, SplitResult, repeated
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import TOLERANCES

HEADINGS = (
    *("±1 %", "±5 %", "±10 %", "MAPE, %", "Spearman", "in 90 % interval, %"),
    *("MAPE of the quickest fifth, %", "second", "third", "fourth", "of the slowest"),
)


def main() -> None:
    """Judge our predictor at every size on every column, and write the table."""
    parser = parser_of(__doc__)
    add_columns(parser)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(LEARNING_CURVE_SIZES))
    add_splits(parser, 3)
    add_workers(parser)
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    tasks = (
        joblib.delayed(row)(data, column, size, arguments.splits)
        for column in arguments.columns or data.present(COLUMNS)
        for size in arguments.sizes
    )
    write_result(
        "learning_curves",
        "Our predictor with more and more training cells",
        ["column", "training cells", *HEADINGS],
        joblib.Parallel(n_jobs=arguments.workers)(tasks),
        [
            "One training cell of each of so many isomorphism classes, judged by all cells of the other classes; mean "
            f"of {arguments.splits} splits, ± half a 95 % interval of that mean.",
            "Fifths: of the judged cells, by measured latency.",
        ],
    )


def row(data: PublicColumns, column: str, size: int, splits: int) -> list[str]:
    """One line of the table."""
    found = repeated(lambda: KernelPredictor(NETWORK), data.cells, data.column(column), data.classes, size, splits)
    line = [column, f"{size:,}", *figures_of(found)]
    print(line, flush=True)
    return line


def figures_of(results: Sequence[SplitResult]) -> list[str]:
    """What :data:`HEADINGS` say, as means over splits."""
    metrics = [result.metrics for result in results]
    fifths = np.mean([each.by_quantile for each in metrics], axis=0)
    return [
        *(with_interval(MeanInterval.of([100 * each.within[within] for each in metrics])) for within in TOLERANCES),
        f"{np.mean([each.mean_absolute_percentage_error for each in metrics]):.2f}",
        f"{np.mean([each.spearman for each in metrics]):.3f}",
        f"{100 * np.mean([result.coverage for result in results]):.1f}",
        *(f"{fifth:.2f}" for fifth in fifths),
    ]


if __name__ == "__main__":
    main()
