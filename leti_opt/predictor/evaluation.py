"""Honest evaluation: repeated splits by class, learning curves, and how sure a mean over splits is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.metrics import PredictionMetrics, coverage, prediction_metrics
from leti_opt.predictor.row_predictor import Asked, RowPredictor

Rows = NDArray[np.int64]

LEARNING_CURVE_SIZES = (10, 30, 100, 300, 900, 3000)


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be judged by.

    Args:
        train: at most one of each class.
        test: of other classes.
    """

    train: Rows
    test: Rows


def split_by_class(classes: ArrayLike, size: int, seed: int) -> Split:
    """One cell at random of each of some classes to learn from; all cells of the other classes to be judged by.

    Cells of one class stand for the same network, so that a split among them would test what was learned by heart.

    Args:
        classes: of each cell; anything that compares, such as a graph hash.
        size: how many cells to learn from.
        seed: of the draw.

    Raises:
        InvalidInputError: there are no more classes than that.

    >>> split = split_by_class(["a", "a", "b", "c"], 2, seed=0)
    >>> len(split.train), set(split.test) & set(split.train)
    (2, set())
    """
    labels = np.asarray(classes)
    _, member = np.unique(labels, return_inverse=True)
    count = int(member.max(initial=-1)) + 1
    if not 0 < size < count:
        raise InvalidInputError(f"{size} training cells of {count} classes; one class at least must be left to test")
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(count)[:size]
    one_of_each = np.empty(count, dtype=np.int64)
    shuffled = draw.permutation(len(labels))
    one_of_each[member[shuffled]] = shuffled
    return Split(one_of_each[chosen], np.flatnonzero(~np.isin(member, chosen)))


@dataclass(frozen=True)
class SplitResult:
    """What one split showed.

    Args:
        metrics: on the test cells.
        coverage: share of their latencies in the 90 % intervals.
        fit_seconds: processor time of fitting, features included.
        predict_seconds: the same of predicting the test cells.
    """

    metrics: PredictionMetrics
    coverage: float
    fit_seconds: float
    predict_seconds: float


def evaluate(
    predictor: RowPredictor[Asked],
    cells: Asked,
    latency_ms: ArrayLike,
    split: Split,
    interval_sample: int = 3000,
) -> SplitResult:
    """Fit to a split's training cells and judge by its test cells.

    Args:
        predictor: is fitted anew.
        cells: all cells, or vectors.
        latency_ms: of each, in milliseconds.
        split: rows of them.
        interval_sample: the intervals are judged on so many test cells at most, evenly spaced.
    """
    rows, latencies = predictor.rows(cells), np.asarray(latency_ms, dtype=np.float64)
    start = time.process_time()
    predictor.fit(rows.take(split.train), latencies[split.train])
    fitted = time.process_time()
    predicted = predictor.predict(rows.take(split.test))
    done = time.process_time()
    few = split.test[:: max(1, len(split.test) // interval_sample)]
    lower, upper = predictor.predict_interval(rows.take(few), 0.9)
    return SplitResult(
        prediction_metrics(predicted, latencies[split.test]),
        coverage(lower, upper, latencies[few]),
        fitted - start,
        done - fitted,
    )


def repeated(
    make: Callable[[], RowPredictor[Asked]],
    cells: Asked,
    latency_ms: ArrayLike,
    classes: ArrayLike,
    size: int,
    splits: int,
) -> list[SplitResult]:
    """Evaluate on splits with the seeds 0, 1 and so on."""
    return [evaluate(make(), cells, latency_ms, split_by_class(classes, size, seed)) for seed in range(splits)]


def learning_curve(
    make: Callable[[], RowPredictor[Asked]],
    cells: Asked,
    latency_ms: ArrayLike,
    classes: ArrayLike,
    sizes: Sequence[int] = LEARNING_CURVE_SIZES,
    splits: int = 3,
) -> Iterator[tuple[int, list[SplitResult]]]:
    """Evaluate with more and more cells to learn from."""
    for size in sizes:
        yield size, repeated(make, cells, latency_ms, classes, size, splits)


@dataclass(frozen=True)
class MeanInterval:
    """A mean over splits.

    Args:
        mean: of all splits.
        half_width: of its 95 % interval by Student's distribution; infinity for one split.
    """

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: ArrayLike) -> MeanInterval:
        """Mean and interval of some values.

        >>> found = MeanInterval.of([1.0, 2.0, 3.0])
        >>> round(found.mean, 3), round(found.half_width, 3)
        (2.0, 2.484)
        """
        from scipy.stats import t

        numbers = np.asarray(values, dtype=np.float64)
        if numbers.size < 2:
            return cls(float(numbers.mean()), float("inf"))
        error = numbers.std(ddof=1) / np.sqrt(numbers.size)
        return cls(float(numbers.mean()), float(t.ppf(0.975, numbers.size - 1) * error))
