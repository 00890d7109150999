"""Kinds of predictors judged on the same cells: by repeated splits, or by cells of another file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.evaluation import LEARNING_CURVE_SIZES, repeated
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.scores import COVERAGE, Scores, scores_of_cells, scores_of_splits
from leti_opt.predictor.training_data import TrainingData, TrainingStory

Maker = Callable[[], LatencyPredictor]

TRAIN_SHARE = 0.8
"""Of the cells, to learn from, where nobody says how many."""


@dataclass(frozen=True)
class Judged:
    """One kind of predictor on some data.

    Args:
        kind: what the command line calls it.
        scores: how good it is.
        fit_seconds: processor time of a fit; None where it was fitted before.
    """

    kind: str
    scores: Scores
    fit_seconds: float | None


@dataclass(frozen=True)
class Judgement:
    """Kinds of predictors on the same data.

    Args:
        learned: where the figures come from that they learned; None where a predictor's file does not say.
        judged_by: where those come from that they were judged by, if others.
        network: digest of the network.
        splits: how often the cells were split; None where they were judged by a file of its own.
        train_cells, test_cells: how many, in each split.
        left_out: networks without a latency, by why; and ``learned``, cells that were among the learned ones.
        rows: the kinds.
        all_unseen: whether surely no cell that judges was learned; a kept predictor's file does not say which were.
    """

    learned: TrainingStory | None
    judged_by: TrainingStory | None
    network: str
    splits: int | None
    train_cells: int
    test_cells: int
    rows: tuple[Judged, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    all_unseen: bool = True


def judged_by_splits(makers: Mapping[str, Maker], data: TrainingData, size: int | None, splits: int) -> Judgement:
    """Fit each kind to a random part of the cells and judge it by the rest, again and again; all on the same splits.

    Args:
        makers: makes an unfitted predictor, by kind.
        data: the cells.
        size: how many to learn from; None for four fifths.
        splits: how often.

    Raises:
        InvalidInputError: no cell would be left to judge by.
    """
    hashes = data.cells.graph_hashes
    wanted = int(TRAIN_SHARE * len(np.unique(hashes))) if size is None else size
    rows, tested = [], 0
    for kind, make in makers.items():
        results = repeated(make, data.cells, data.latency_ms, hashes, wanted, splits)
        seconds = float(np.mean([result.fit_seconds for result in results]))
        rows.append(Judged(kind, scores_of_splits(results), seconds))
        tested = results[0].metrics.count
    return Judgement(data.story, None, data.network.digest, splits, wanted, tested, tuple(rows), data.left_out)


def judged_at_sizes(kind: str, make: Maker, data: TrainingData, splits: int) -> list[Judgement]:
    """One kind with more and more cells to learn from, up to four fifths of them: a learning curve.

    Args:
        kind: what the command line calls it.
        make: makes an unfitted predictor.
        data: the cells.
        splits: how often they are split for each size.
    """
    most = int(TRAIN_SHARE * len(np.unique(data.cells.graph_hashes)))
    sizes = [*(size for size in LEARNING_CURVE_SIZES if size < most), most]
    return [judged_by_splits({kind: make}, data, size, splits) for size in sizes]


def judged_by_cells(
    kind: str,
    predictor: LatencyPredictor,
    learned: TrainingStory | None,
    test: TrainingData,
    learned_from: TrainingData | None = None,
) -> Judgement:
    """Judge a fitted predictor by cells that it has not seen.

    Args:
        kind: what the command line calls it.
        predictor: is not fitted anew.
        learned: where the figures come from that it learned.
        test: the cells to judge by.
        learned_from: the cells that it learned from; those of them that are among the test cells are left out.

    Raises:
        InvalidInputError: none are left.
    """
    fresh = np.ones(len(test), dtype=bool)
    if learned_from is not None:
        fresh = ~np.isin(test.cells.graph_hashes, learned_from.cells.graph_hashes)
    if not fresh.any():
        raise InvalidInputError(f"all cells of {test.story.source} are among the learned ones; judge by others")
    cells, latency_ms = test.cells[fresh], test.latency_ms[fresh]
    interval = predictor.predict_interval(cells, COVERAGE)
    scores = scores_of_cells(predictor.predict(cells), interval, latency_ms)
    seen = {"learned": int((~fresh).sum())} if not fresh.all() else {}
    story = replace(test.story, cells=len(test))
    return Judgement(
        learned,
        story,
        test.network.digest,
        None,
        predictor.training_size_,
        len(cells),
        (Judged(kind, scores, None),),
        {**test.left_out, **seen},
        all_unseen=learned_from is not None,
    )
