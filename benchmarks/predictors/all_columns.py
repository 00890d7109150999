"""Our predictor on every device of the public data, with 900 training cells.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.public_columns --all-columns --splits 2

Without the other predictors, and with few splits: the five columns with aims have both in ``public_columns``.
"""

from __future__ import annotations

from pathlib import Path

import joblib

from benchmarks.predictors.learning_curves import HEADINGS, row
from benchmarks.predictors.public_data import load_columns
from benchmarks.result_table import write_result

SIZE = 900


def judge_all(folder: Path, splits: int, workers: int) -> None:
    """Judge it on every column of the file in a folder, and write the table."""
    data = load_columns(folder)
    tasks = (joblib.delayed(row)(data, column, SIZE, splits) for column in data.devices)
    write_result(
        "all_columns",
        "Our predictor on every device of the public data",
        ["column", "training cells", *HEADINGS],
        joblib.Parallel(n_jobs=workers)(tasks),
        [
            f"{SIZE} training cells, one of each of as many isomorphism classes; judged by all cells of the other "
            f"classes; mean of {splits} splits, ± half a 95 % interval of that mean.",
            "Fifths: of the judged cells, by measured latency.",
        ],
    )
