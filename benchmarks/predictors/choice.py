"""Settings of our predictor, judged on devices that are not among those whose figures are reported.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.choice [--data DIR] [--splits 2]

The five columns of ``public_columns`` are left out, so that what is chosen here was not chosen by what is reported
there. Splits are by isomorphism class, as there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import joblib
import numpy as np

from benchmarks.predictors.options import add_splits, add_workers, parser_of
from benchmarks.predictors.public_columns import COLUMNS, NETWORK
from benchmarks.predictors.public_data import PublicColumns, load_columns
from benchmarks.result_table import write_result
from leti_opt.predictor.evaluation import Split, split_by_class
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.metrics import coverage, share_within
from leti_opt.predictor.size_calibration import SizeCalibration

CHOSEN = "as it is"
PREDICTORS: dict[str, Callable[[], KernelPredictor]] = {
    CHOSEN: lambda: KernelPredictor(NETWORK),
    "pruned cells alone": lambda: KernelPredictor(NETWORK, view="pruned"),
    "always unpruned": lambda: KernelPredictor(NETWORK, view="unpruned"),
    "every size counts alike": lambda: KernelPredictor(NETWORK, balance=0.0),
    "rare sizes count fully": lambda: KernelPredictor(NETWORK, balance=1.0),
}
CALIBRATIONS: dict[str, Callable[[SizeCalibration], SizeCalibration]] = {
    CHOSEN: lambda found: found,
    "intervals by no size": lambda found: replace(found, prior=1e12, doubt=0.0),
    "no raise for few of a size": lambda found: replace(found, doubt=0.0),
    "twice the raise": lambda found: replace(found, doubt=2 * found.doubt),
    "twice the prior": lambda found: replace(found, prior=2 * found.prior),
}
"""Applied to the scores of the predictor as it is."""
SIZE = 900
INTERVAL_SAMPLE = 3000
_HELD = (87.0, 93.0)


@dataclass(frozen=True)
class Judged:
    """One candidate on one split of one column, in per cent.

    Args:
        candidate: its name.
        column: the device.
        within_5: share of predictions within ±5 %.
        within_10: within ±10 %.
        error: mean absolute percentage error.
        held: share of latencies in the 90 % intervals.
        width: mean of half an interval's width over the prediction.
    """

    candidate: str
    column: str
    within_5: float
    within_10: float
    error: float
    held: float
    width: float


def main() -> None:
    """Judge every candidate on every other column, and write the table."""
    parser = parser_of(__doc__)
    add_splits(parser, 2)
    parser.add_argument("--candidates", nargs="+", default=list(PREDICTORS), choices=list(PREDICTORS))
    add_workers(parser)
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    columns = [device for device in data.devices if device not in COLUMNS]
    splits = [split_by_class(data.classes, SIZE, seed) for seed in range(arguments.splits)]
    tasks = (
        joblib.delayed(judge)(data, column, name, split)
        for column in columns
        for split in splits
        for name in arguments.candidates
    )
    found = [one for part in joblib.Parallel(n_jobs=arguments.workers)(tasks) for one in part]
    candidates = list(dict.fromkeys(one.candidate for one in found))
    write_result(
        "predictor_choice",
        "Settings of our predictor, judged on other devices than those reported",
        ["candidate", "±5 %", "±10 %", "MAPE, %", "in 90 % interval, %", "off 90, points", "columns held", "width, %"],
        [row(name, [one for one in found if one.candidate == name]) for name in candidates],
        [
            f"Means over {len(columns)} columns, none of the five that `public_columns` reports: {', '.join(columns)}.",
            f"{SIZE} training cells of different classes, all cells of other classes; splits: {arguments.splits}.",
            "Columns held: how many have between 87 and 93 % of their latencies in the 90 % intervals. Width: half an "
            "interval over the prediction, geometric mean of the columns.",
        ],
    )


def judge(data: PublicColumns, column: str, name: str, split: Split) -> list[Judged]:
    """One candidate; for the predictor as it is also the other calibrations."""
    latency_ms = data.column(column)
    predictor = PREDICTORS[name]().fit(data.cells.take(split.train), latency_ms[split.train])
    predicted, measured = predictor.predict(data.cells.take(split.test)), latency_ms[split.test]
    few = split.test[:: max(1, len(split.test) // INTERVAL_SAMPLE)]
    cells, truth = data.cells.take(few), latency_ms[few]
    calibration = predictor.regressor_.calibration_
    found = []
    for other in CALIBRATIONS if name == CHOSEN else (CHOSEN,):
        predictor.regressor_.calibration_ = CALIBRATIONS[other](calibration)
        lower, upper = predictor.predict_interval(cells, 0.9)
        found.append(
            Judged(
                other if name == CHOSEN else name,
                column,
                100 * share_within(predicted, measured, 0.05),
                100 * share_within(predicted, measured, 0.1),
                100 * float(np.mean(np.abs(predicted / measured - 1))),
                100 * coverage(lower, upper, truth),
                100 * float(np.mean((upper - lower) / (upper + lower))),
            )
        )
        print(found[-1], flush=True)
    return found


def row(name: str, found: list[Judged]) -> list[str]:
    """For the table: means over the columns."""
    columns = sorted({one.column for one in found})
    held, width = (
        np.array([np.mean([getattr(one, of) for one in found if one.column == column]) for column in columns])
        for of in ("held", "width")
    )
    means = [float(np.mean([getattr(one, of) for one in found])) for of in ("within_5", "within_10", "error", "held")]
    inside = int(((held >= _HELD[0]) & (held <= _HELD[1])).sum())
    return [
        name,
        *(f"{mean:.2f}" for mean in means[:3]),
        f"{means[3]:.1f}",
        f"{np.mean(np.abs(held - 90)):.1f}",
        f"{inside} of {len(columns)}",
        f"{np.exp(np.mean(np.log(width))):.2f}",
    ]


if __name__ == "__main__":
    main()
