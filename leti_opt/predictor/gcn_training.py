"""How BRP-NAS's network is trained: AdamW on absolute errors, a slower pace on a plateau, an early end.

The settings are those of the published code (``SamsungLabs/eagle``) but for the batch: one cell there, which keeps
a CPU busy with the optimizer alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.gcn_model import answers
from leti_opt.predictor.gcn_neighbourhoods import Integers, Neighbourhoods

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float64]

_UNWATCHED_EPOCHS = 21
_SLOWDOWN = 0.5
_SLOWDOWN_PATIENCE = 10
_NOTABLE = 0.01
_END_PATIENCE = 35
_DECAY = 5e-4
_EPSILON = 1e-8


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Args:
        epochs: at most.
        batch_size: cells in a step.
        learning_rate: at first.
        seed: of the order of cells.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


@dataclass
class Patience:
    """Counts losses that are no better than the best; "better" is by a share of it.

    >>> patience = Patience(notable=0.1)
    >>> [patience.without_progress(loss) for loss in (1.0, 0.95, 0.8, 0.9)]
    [0, 1, 0, 1]
    """

    notable: float = 0.0
    best: float = float("inf")
    count: int = 0

    def without_progress(self, loss: float) -> int:
        """How many losses in a row brought none, this one included."""
        better = loss < self.best * (1 - self.notable)
        self.count = 0 if better else self.count + 1
        self.best = loss if better else self.best
        return self.count


def train(
    model: keras.Model,
    cells: Neighbourhoods,
    targets: Floats,
    weights: Floats,
    rows: tuple[Integers, Integers],
    schedule: Schedule,
) -> int:
    """Train a network; it ends with the weights that had the least weighted error on the validation cells.

    Args:
        model: of :func:`~leti_opt.predictor.gcn_model.build_gcn`.
        cells: all of them.
        targets: of each.
        weights: how much each counts; their mean is 1.
        rows: those to learn from, and those of validation.
        schedule: how long and how fast.

    Returns:
        how many epochs were run.
    """
    import keras

    optimizer = keras.optimizers.AdamW(schedule.learning_rate, weight_decay=_DECAY, epsilon=_EPSILON)
    model.compile(optimizer=optimizer, loss="mean_absolute_error", jit_compile=False)
    learned, judged = rows
    validation, counts = cells.matrices(judged), weights[judged] / weights[judged].sum()
    slow, end, least, kept = Patience(_NOTABLE), Patience(), float("inf"), model.get_weights()
    draw, epoch = np.random.default_rng(schedule.seed), 0
    for epoch in range(1, schedule.epochs + 1):
        _run_epoch(model, cells, targets, weights, draw.permutation(learned), schedule.batch_size)
        loss = float(counts @ np.abs(answers(model, validation) - targets[judged]))
        if loss < least:
            least, kept = loss, model.get_weights()
        if epoch > _UNWATCHED_EPOCHS:
            if slow.without_progress(loss) > _SLOWDOWN_PATIENCE:
                optimizer.learning_rate.assign(optimizer.learning_rate * _SLOWDOWN)
                slow.count = 0
            if end.without_progress(loss) >= _END_PATIENCE:
                break
    model.set_weights(kept)
    return epoch


def _run_epoch(
    model: keras.Model, cells: Neighbourhoods, targets: Floats, weights: Floats, order: Integers, batch_size: int
) -> None:
    """A step for each batch; the last may be smaller."""
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        wanted, counts = targets[batch, np.newaxis].astype(np.float32), weights[batch].astype(np.float32)
        model.train_on_batch(cells.matrices(batch), wanted, sample_weight=counts)
