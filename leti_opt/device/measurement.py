"""The result of measuring one network on one device, with everything that stands behind the number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Literal

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.run_batch import RunBatch


@dataclass(frozen=True)
class Metric:
    """A further figure of a measurement, such as memory or energy.

    Args:
        name: what it is, for instance ``peak_memory``.
        value: the number.
        unit: its unit, for instance ``bytes``.
        source: who says so, for instance ``/proc/self/status``.
    """

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Measurement:
    """Every attempt at measuring one network, and whether the last one holds.

    Args:
        model_key: key of the :class:`~leti_opt.device.model.MeasurableModel`.
        device: the identity of what measured it.
        epoch: system build, driver and unit at that time.
        attempts: the batch of each attempt that gave figures, in order. Runs are never dropped.
        stable: whether the last attempt keeps the protocol's rule.
        min_runs: how many runs the protocol asked for.
        relative_error: the relative error of the mean that the protocol asked for in place of a number of runs.
        max_relative_std: the largest std / mean that the protocol allows.
        warmup_runs: runs before the timed ones, in each attempt.
        faults: what ended each attempt that gave no figures.
        initialization_ms: loading the model until it was ready to run.
        first_run_ms: the very first run after loading.
        metrics: further figures.
        started_at: UTC.
        duration_s: wall time of all attempts.
        tool: version of leti_opt.
        commit: its commit, where it runs from a checkout.
        source: the file that it was imported from; None for a measurement of this store's own.
    """

    model_key: str
    device: DeviceIdentity
    epoch: DeviceEpoch
    attempts: tuple[RunBatch, ...]
    stable: bool
    min_runs: int
    max_relative_std: float
    warmup_runs: int
    started_at: datetime
    duration_s: float
    faults: tuple[str, ...] = ()
    initialization_ms: float | None = None
    first_run_ms: float | None = None
    metrics: tuple[Metric, ...] = ()
    tool: str = ""
    commit: str | None = None
    relative_error: float | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if not self.attempts:
            raise ValueError("a measurement stands on at least one attempt with figures")

    @property
    def batch(self) -> RunBatch:
        """The attempt that the measurement stands on: the last one."""
        return self.attempts[-1]

    @property
    def status(self) -> Literal["stable", "unstable", "unchecked"]:
        """``unchecked`` where runs and spread of a published figure are not known, so that no rule can be checked.

        A device that measures must reveal both: without them its measurement is unstable.
        """
        if self.stable:
            return "stable"
        return "unchecked" if self.device.published and not self.batch.checkable else "unstable"

    def latency_ms(self, statistic: str = "mean") -> float:
        """The latency, or for an unstable measurement the median over its attempts (a provisional figure).

        Raises:
            StatisticUnavailableError: the device does not reveal this statistic.
        """
        if self.status != "unstable":
            return self.batch.statistic(statistic)
        return float(median(batch.statistic(statistic) for batch in self.attempts))
