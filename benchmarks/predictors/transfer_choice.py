"""How the settings of the transfer to a new device are chosen: each source in turn is taken for the new device.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.transfer_choice [--data DIR] [--draws 4]

Nothing but the nine sources is looked at. With each, its relatives are left out: the other columns of the same chip,
from which it would be all too easy to tell. Each stands for three devices: as it is, as if it pruned (a cell takes what
its pruned cell was measured to take), and with the two convolutions exchanged, as far from the others as may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.predictors.options import parser_of
from benchmarks.predictors.public_data import PublicColumns, load_columns
from benchmarks.predictors.transfer import (
    NETWORK,
    SOURCES,
    Table,
    measured_rows,
    random_split,
    split_of,
    transfer_predictor,
)
from benchmarks.result_table import write_result
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.evaluation import Split
from leti_opt.predictor.kernel_features import CORE_GROUPS, UNPRUNED_GROUPS
from leti_opt.predictor.metrics import PredictionMetrics, prediction_metrics
from leti_opt.predictor.residual_process import Scales
from leti_opt.predictor.spread_cells import spread_cells
from leti_opt.predictor.transfer_basis import LINEAR_GROUPS, SOURCE, SOURCE_PRUNED, VIEWS, pruned_rows
from leti_opt.predictor.transfer_process import FewLatencies, Hypothesis, hypotheses
from leti_opt.predictor.transfer_sources import SourceKnowledge

SIZES = (10, 20)
SOURCE_POINTS = 150
FIRST_SEED = 1000
"""Of the draws; they are others than those that targets are judged by."""
RELATIVES = ("1080ti", "silver")
RANDOM, SPREAD = "at random", "far apart"
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """A way to transfer.

    Args:
        linear_groups: features whose costs are equally uncertain.
        guess: hypotheses from what the sources teach.
    """

    linear_groups: Sequence[Sequence[str]] = LINEAR_GROUPS
    guess: Callable[[Sequence[Scales]], list[Hypothesis]] = hypotheses


def resized(learned: Sequence[Scales], costs: float) -> list[Hypothesis]:
    """The hypotheses with other sizes of the costs of what is executed; the sources' mixture stays."""
    return [
        replace(guess, scales=replace(guess.scales, linear=np.append(own[:1], costs * own[1:])))
        for guess in hypotheses(learned)
        for own in (guess.scales.linear,)
    ]


DETAILS = ("pairs", "depths")
SETTINGS = {
    "as it is": Setting(),
    "counts with sums and paths": Setting((CORE_GROUPS, DETAILS, UNPRUNED_GROUPS)),
    "sums and paths apart": Setting(
        (("counts", "work"), ("sums",), ("paths", "activations"), DETAILS, UNPRUNED_GROUPS)
    ),
    "costs also 16 times as uncertain": Setting(guess=lambda learned: hypotheses(learned) + resized(learned, 16.0)),
    "like no single source": Setting(guess=lambda own: [one for one in hypotheses(own) if one.origin < len(VIEWS)]),
}
"""What is compared; the first is what the transfer does."""


@dataclass(frozen=True)
class Case:
    """A source taken for a new device.

    Args:
        name: of the source, and what was made of it.
        knowledge: what the sources that are no relatives teach, by groups of features.
        features: of all cells, without what the source and its relatives tell.
        latency_ms: of all cells.
    """

    name: str
    knowledge: dict[Sequence[Sequence[str]], SourceKnowledge]
    features: NDArray[np.float32]
    latency_ms: Floats

    def judge(self, split: Split) -> dict[str, PredictionMetrics]:
        """How good every setting is from these few cells."""
        found = {}
        for groups, knowledge in self.knowledge.items():
            few, others = (
                knowledge.basis.origins(self.features[rows].astype(np.float64)) for rows in (split.train, split.test)
            )
            for name, setting in SETTINGS.items():
                if setting.linear_groups == groups:
                    guesses = setting.guess(knowledge.scales)
                    fitted = FewLatencies(few, self.latency_ms[split.train], np.ones(len(split.train)), guesses)
                    found[name] = prediction_metrics(fitted.predict(others)[0], self.latency_ms[split.test])
        return found


def main() -> None:
    """Judge every setting on every source and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, default=4)
    arguments = parser.parse_args()
    data = load_columns(arguments.data)
    rows = measured_rows(data)
    splits = {}
    for size in SIZES:
        splits[RANDOM, size] = [random_split(data.classes, size, FIRST_SEED + draw) for draw in range(arguments.draws)]
        splits[SPREAD, size] = [split_of(data.classes, spread_cells(data.cells.take(rows), NETWORK, size), rows)]
    found: dict[tuple[str, int], list[list[dict[str, PredictionMetrics]]]] = {key: [] for key in splits}
    for case in cases(data, rows):
        for key, own in splits.items():
            found[key].append([case.judge(split) for split in own])
        print(case.name, flush=True)
    write_result(
        "transfer_choice",
        "Settings of the transfer, by the nine sources alone",
        ["cells", "chosen", "setting", "Spearman", "worst", "±10 %"],
        [
            line(name, choice, size, [[one[name] for one in own] for own in judged])
            for (choice, size), judged in found.items()
            for name in SETTINGS
        ],
        notes(arguments.draws),
    )


def cases(data: PublicColumns, rows: Rows) -> Iterator[Case]:
    """Every source as it is, as if it pruned, and with the convolutions exchanged."""
    table = Table(transfer_predictor(data, rows, [f"help/{name}" for name in SOURCES]), data)
    emulated = {
        "as it is": np.arange(len(data.cells)),
        "pruned": pruned_places(data),
        "exchanged": exchanged_places(data),
    }
    for name in SOURCES:
        features, names, others = without(table, name)
        samples = [(features[rows], data.column(f"help/{other}")[rows]) for other in others]
        draw = np.sort(np.random.default_rng(0).choice(len(rows), SOURCE_POINTS, replace=False))
        some = [(own[draw], latency_ms[draw]) for own, latency_ms in samples]
        knowledge = {
            groups: SourceKnowledge.of(some, names, groups)
            for groups in {setting.linear_groups for setting in SETTINGS.values()}
        }
        for kind, places in emulated.items():
            yield Case(f"{name}, {kind}", knowledge, features, data.column(f"help/{name}")[places])


def without(table: Table, name: str) -> tuple[NDArray[np.float32], tuple[str, ...], list[str]]:
    """Features without a source and its relatives, their names, and the sources that are left."""
    family = next((own for own in RELATIVES if name.startswith(own)), name)
    others = [other for other in SOURCES if not other.startswith(family)]
    columns = {f"help/{other}" for other in others}
    kept = [
        place
        for place, (group, own) in enumerate(one.split("/", 1) for one in table.names)
        if group not in (SOURCE, SOURCE_PRUNED) or own in columns
    ]
    return table.values[:, kept], tuple(table.names[place] for place in kept), others


def pruned_places(data: PublicColumns) -> Rows:
    """For each cell the place of the one that is left of it."""
    pruned = pruned_rows(data.cells)
    assert isinstance(pruned, CellRows), "cells of the data are rows"
    return _places(data, pruned.operations)


def exchanged_places(data: PublicColumns) -> Rows:
    """For each cell the place of the one that has the other convolutions."""
    one, other = (data.cells.labels.index(name) for name in CONVOLUTIONS)
    swap = np.arange(len(data.cells.labels), dtype=np.uint8)
    swap[[one, other]] = other, one
    return _places(data, swap[data.cells.operations])


def _places(data: PublicColumns, operations: NDArray[np.uint8]) -> Rows:
    place_of = {row.tobytes(): place for place, row in enumerate(data.cells.operations)}
    return np.array([place_of[row.tobytes()] for row in operations], dtype=np.int64)


def line(name: str, choice: str, size: int, judged: Sequence[Sequence[PredictionMetrics]]) -> list[str]:
    """Means over devices and draws."""
    spearman = [np.mean([one.spearman for one in own]) for own in judged]
    within = [100 * np.mean([one.within[0.1] for one in own]) for own in judged]
    return [str(size), choice, name, f"{np.mean(spearman):.4f}", f"{np.min(spearman):.3f}", f"{np.mean(within):.1f}"]


def notes(draws: int) -> list[str]:
    """How to read the table."""
    return [
        f"New devices: {', '.join(SOURCES)} of HELP, one at a time and each in three forms (as it is, as if it pruned, "
        "with the convolutions exchanged). Sources: the others, without columns of the same chip.",
        f"At random: mean of {draws} draws, each cell of another isomorphism class; far apart: one choice by "
        "`spread_cells`. Judged by some 3,000 cells of all other classes, which no source's predictor saw. Worst: of "
        "the devices' means.",
        "No latency of a target of `benchmarks.predictors.transfer` is read.",
    ]


if __name__ == "__main__":
    main()
