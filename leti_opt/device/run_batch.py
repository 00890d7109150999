"""What one series of runs revealed: raw run times, or only the aggregates that the device prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leti_opt.errors import StatisticUnavailableError

STATISTICS = ("mean", "median", "p95", "p5", "min", "max", "std")


@dataclass(frozen=True)
class RunBatch:
    """Times of a series of runs, in milliseconds. What the device does not reveal is None, never made up.

    Args:
        count: how many runs were timed.
        mean_ms: their mean.
        std_ms: their population standard deviation.
        min_ms, max_ms, median_ms, p5_ms, p95_ms: further statistics.
        runs_ms: each run in order, where the device reveals them.
    """

    count: int
    mean_ms: float
    std_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    median_ms: float | None = None
    p5_ms: float | None = None
    p95_ms: float | None = None
    runs_ms: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a batch has at least one run, not {self.count}")
        for name in (f"{statistic}_ms" for statistic in STATISTICS):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} of a batch is a finite number of milliseconds, not {value}")

    @classmethod
    def from_runs(cls, runs_ms: Sequence[float]) -> RunBatch:
        """Compute every statistic from the raw times.

        >>> RunBatch.from_runs([1.0, 2.0, 3.0]).median_ms
        2.0
        """
        runs = np.asarray(runs_ms, dtype=np.float64)
        if runs.size == 0:
            raise ValueError("a batch has at least one run, not 0")
        p5, median, p95 = np.percentile(runs, [5, 50, 95])
        return cls(
            count=int(runs.size),
            mean_ms=float(runs.mean()),
            std_ms=float(runs.std()),
            min_ms=float(runs.min()),
            max_ms=float(runs.max()),
            median_ms=float(median),
            p5_ms=float(p5),
            p95_ms=float(p95),
            runs_ms=tuple(runs.tolist()),
        )

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
