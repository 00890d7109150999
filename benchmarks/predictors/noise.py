"""How much of the error on published latencies is noise of the measurements, and which cells are predicted worst.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.noise [--data DIR] [--columns NAME ...]

Some cells were measured twice without anybody's knowing: where nothing leads from node 1 to node 2, swapping the two
gives another cell of the same operations, additions and wiring. What two such figures differ by is noise, apart from
the order of execution. A predictor that knew the expectation of each would be off by the spread of one figure.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from benchmarks.predictors.options import add_columns, parser_of
from benchmarks.predictors.public_columns import COLUMNS, NETWORK
from benchmarks.predictors.public_data import PublicColumns, load_columns
from benchmarks.result_table import write_result
from leti_opt import NAS_BENCH_201
from leti_opt.predictor.evaluation import split_by_class
from leti_opt.predictor.kernel_model import KernelPredictor

SWAPPED = (1, 0, 2, 3, 5, 4)
"""Edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3 after nodes 1 and 2 have changed places."""
TOLERANCE = 0.1
WORST_SHARE = 0.02


def main() -> None:
    """Judge the noise of each column, look at the worst cells, and write both down."""
    parser = parser_of(__doc__)
    add_columns(parser)
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    pairs = swapped_pairs(data.operations)
    rows: list[list[str]] = []
    notes = [
        f"Twins: {len(pairs):,} pairs of cells that differ in the names of nodes 1 and 2 alone. If both figures of a "
        "pair scatter alike around one expectation, a predictor that knew it would be within ±10 % of a figure as "
        "often as the pair's difference is within ±10 % times the square root of 2.",
        "Class median: share of cells within ±10 % of their isomorphism class's median; members of a class differ in "
        "what leads nowhere, which some runtimes execute.",
        "Ours: KernelPredictor, 900 cells of different classes, seed 0; all cells of other classes. Quick and slow: "
        "the same among the fifths of the cells that take shortest and longest.",
    ]
    for column in arguments.columns or data.present(COLUMNS):
        row, note = judge(data, column, pairs)
        rows.append(row)
        notes.append(note)
    headings = ["column", "twins within ±10 %, %", "class median, %", "ours, %", "quick, %", "slow, %"]
    write_result("prediction_noise", "How much of the error is noise", headings, rows, notes)


def swapped_pairs(operations: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of each cell and its twin."""
    places = {tuple(row): place for place, row in enumerate(operations.tolist())}
    found = []
    for row, place in places.items():
        twin = tuple(row[edge] for edge in SWAPPED)
        if row[2] == 0 and twin > row and twin in places:
            found.append((place, places[twin]))
    return np.array(found)


def judge(data: PublicColumns, column: str, pairs: NDArray[np.int64]) -> tuple[list[str], str]:
    """One line of the table, and what the worst cells share."""
    latency_ms = data.column(column)
    one, other = latency_ms[pairs].T
    twins = np.abs(np.log(one / other)) <= np.sqrt(2) * np.log1p(TOLERANCE)
    _, member = np.unique(data.classes, return_inverse=True)
    medians = np.array([np.median(part) for part in _by_member(latency_ms, member)])[member]
    split = split_by_class(data.classes, 900, 0)
    predictor = KernelPredictor(NETWORK).fit(data.cells.take(split.train), latency_ms[split.train])
    errors = np.abs(predictor.predict(data.cells.take(split.test)) / latency_ms[split.test] - 1)
    order = np.argsort(latency_ms[split.test], kind="stable")
    fifths = [100 * float(np.mean(errors[part] <= TOLERANCE)) for part in np.array_split(order, 5)]
    row = [
        column,
        f"{100 * np.mean(twins):.1f}",
        f"{100 * np.mean(np.abs(latency_ms / medians - 1) <= TOLERANCE):.1f}",
        f"{100 * np.mean(errors <= TOLERANCE):.1f}",
        f"{fifths[0]:.1f}",
        f"{fifths[-1]:.1f}",
    ]
    worst = split.test[np.argsort(-errors)[: int(WORST_SHARE * len(errors))]]
    return row, f"{column}: the worst {100 * WORST_SHARE:.0f} % of the cells ({_shared(data, worst, split.test)})."


def _by_member(values: NDArray[np.float64], member: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    order = np.argsort(member, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(member))[:-1])


def _shared(data: PublicColumns, worst: NDArray[np.int64], every: NDArray[np.int64]) -> str:
    """What is more frequent among some cells than among all."""
    live = data.cells.live[:, 1:-1]
    counts = live.sum(axis=1)
    sizes = Counter(counts[worst].tolist())
    text = [
        f"{np.mean(counts[worst]):.1f} live edges against {np.mean(counts[every]):.1f}, "
        f"most often {sizes.most_common(1)[0][0]}"
    ]
    for label in NAS_BENCH_201.labels[:-1]:
        own = (data.cells.operations == data.cells.labels.index(label)) & live
        share = [float(own[rows].any(axis=1).mean()) for rows in (worst, every)]
        text.append(f"{label} in {100 * share[0]:.0f} % against {100 * share[1]:.0f} %")
    return "; ".join(text)


if __name__ == "__main__":
    main()
