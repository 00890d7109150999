"""What one series of runs revealed: raw run times, or only the aggregates that the device prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leti_opt.device.certainty import mean_interval
from leti_opt.errors import StatisticUnavailableError

STATISTICS = ("mean", "median", "p95", "p5", "min", "max", "std")


@dataclass(frozen=True)
class RunBatch:
    """Times of a series of runs, in milliseconds. What the device does not reveal is None, never made up.

    Args:
        count: how many runs were timed; None where whoever published the figure did not say.
        mean_ms: their mean.
        std_ms: their population standard deviation.
        min_ms, max_ms, median_ms, p5_ms, p95_ms: further statistics.
        runs_ms: each run in order, where the device reveals them. With several runs a sample, each sample's time
            divided by its runs.
        mean_error_ms: half the width of the 95 % interval of the mean
            (:func:`leti_opt.device.certainty.mean_interval`); None where single runs are not revealed.
        runs_per_sample: back-to-back runs that were timed as one. Above 1 every statistic but the mean is one of
            samples, whose spread is smaller than that of runs.
    """

    count: int | None
    mean_ms: float
    std_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    median_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None
    runs_ms: tuple[float, ...] | None = None
    mean_error_ms: float | None = None
    runs_per_sample: int = 1

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ValueError(f"a batch has at least one run, not {self.count}")
        if self.runs_per_sample < 1:
            raise ValueError(f"a sample has at least one run, not {self.runs_per_sample}")
        for name in (*(f"{statistic}_ms" for statistic in STATISTICS), "mean_error_ms"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} of a batch is a finite number of milliseconds, not {value}")

    @classmethod
    def from_runs(cls, runs_ms: Sequence[float], runs_per_sample: int = 1) -> RunBatch:
        """Compute every statistic from the raw times.

        Args:
            runs_ms: time of each run, or of each sample divided by its runs.
            runs_per_sample: runs that were timed as one; ``count`` counts runs, not samples.

        >>> RunBatch.from_runs([1.0, 2.0, 3.0]).median_ms
        2.0
        """
        runs = np.asarray(runs_ms, dtype=np.float64)
        if runs.size == 0:
            raise ValueError("a batch has at least one run, not 0")
        p5, median, p95 = np.percentile(runs, [5, 50, 95])
        interval = mean_interval(runs)
        return cls(
            count=int(runs.size) * runs_per_sample,
            mean_ms=float(runs.mean()),
            std_ms=float(runs.std()),
            min_ms=float(runs.min()),
            max_ms=float(runs.max()),
            median_ms=float(median),
            p5_ms=float(p5),
            p95_ms=float(p95),
            runs_ms=tuple(runs.tolist()),
            mean_error_ms=None if interval is None else interval.half_width,
            runs_per_sample=runs_per_sample,
        )

    @property
    def checkable(self) -> bool:
        """Whether it says enough of its runs, their number and their spread, for a rule to be checked."""
        return self.count is not None and self.std_ms is not None

    @property
    def relative_error(self) -> float | None:
        """Half the width of the mean's 95 % interval over the mean; None where it is not known."""
        if self.mean_error_ms is None or self.mean_ms == 0:
            return None
        return self.mean_error_ms / self.mean_ms

    @property
    def relative_std(self) -> float | None:
        """Standard deviation over mean; None where the device reveals no standard deviation."""
        if self.std_ms is None:
            return None
        if self.mean_ms == 0:
            return 0.0 if self.std_ms == 0 else math.inf
        return self.std_ms / self.mean_ms

    def statistic(self, name: str) -> float:
        """One of :data:`STATISTICS`, in milliseconds.

        Raises:
            StatisticUnavailableError: unknown, or not revealed by the device.
        """
        if name not in STATISTICS:
            raise StatisticUnavailableError(f"{name!r} is no statistic; choose from {', '.join(STATISTICS)}")
        value: float | None = getattr(self, f"{name}_ms")
        if value is None:
            raise StatisticUnavailableError(
                f"the device reveals no {name} of its runs; ask for another statistic, for instance 'mean'"
            )
        return value
