"""The only place that decides how many runs are made, and whether a measurement holds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from leti_opt.device.device import Device
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.resource_lock import building_on_host, hold
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError, InfeasibleError, InvalidProtocolError
from leti_opt.version import source_commit, version


@dataclass(frozen=True)
class MeasurementProtocol:
    """How often to run a network, and when the result holds (LETI paper, 2020).

    Args:
        min_runs: timed runs of an attempt; None for the device's default (300, on CUDA 100).
        max_relative_std: an attempt holds if its standard deviation is at most this share of its mean.
        max_attempts: attempts before the network counts as unstable.
        warmup_runs: runs before the timed ones of each attempt, besides the very first.

    Raises:
        InvalidProtocolError: a number is out of range.

    >>> MeasurementProtocol(min_runs=300).accepts(RunBatch(count=300, mean_ms=5.0, std_ms=0.4))
    True
    >>> MeasurementProtocol(min_runs=300).accepts(RunBatch(count=300, mean_ms=5.0, std_ms=0.6))
    False
    """

    min_runs: int | None = None
    max_relative_std: float = 0.1
    max_attempts: int = 5
    warmup_runs: int = 10

    def __post_init__(self) -> None:
        for name in ("min_runs", "max_attempts", "warmup_runs"):
            number = getattr(self, name)
            if number is not None and not isinstance(number, int):
                raise InvalidProtocolError(f"{name} must be a whole number, not {number!r}")
        if self.min_runs is not None and self.min_runs < 1:
            raise InvalidProtocolError(f"min_runs must be 1 or more, not {self.min_runs}")
        if not self.max_relative_std > 0:
            raise InvalidProtocolError(f"max_relative_std must be above 0, not {self.max_relative_std}")
        if self.max_attempts < 1:
            raise InvalidProtocolError(f"max_attempts must be 1 or more, not {self.max_attempts}")
        if self.warmup_runs < 0:
            raise InvalidProtocolError(f"warmup_runs must be 0 or more, not {self.warmup_runs}")

    def runs_on(self, device: Device) -> int:
        """Timed runs of an attempt on this device."""
        return device.default_min_runs if self.min_runs is None else self.min_runs

    def accepts(self, batch: RunBatch, min_runs: int | None = None) -> bool:
        """Whether an attempt holds: enough runs, and a spread within the limit.

        A batch without a standard deviation never holds. ``min_runs`` is needed where the protocol leaves it to
        the device.
        """
        needed = self.min_runs if min_runs is None else min_runs
        if needed is None:
            raise InvalidProtocolError("this protocol leaves min_runs to the device; pass protocol.runs_on(device)")
        spread = batch.relative_std
        return batch.count >= needed and spread is not None and spread <= self.max_relative_std

    def gives_up(self, measurement: Measurement, min_runs: int) -> bool:
        """Whether an unstable measurement used up all the attempts that this protocol would make."""
        asked_enough = measurement.min_runs >= min_runs
        return asked_enough and len(measurement.attempts) + len(measurement.faults) >= self.max_attempts


def measure(device: Device, model: MeasurableModel, protocol: MeasurementProtocol | None = None) -> Measurement:
    """Measure one network, holding the device's resources.

    The model's file is rendered before the resources are taken. A crash or a hang costs one attempt. The
    result may be unstable: look at ``Measurement.stable``.

    Raises:
        InfeasibleError: the device refuses the network, or every attempt crashed or hung.
        DeviceError: the device is gone.
    """
    protocol = protocol or MeasurementProtocol()
    if device.needs_file:
        with building_on_host():
            device.prepare(model)
    with hold(device.resources):
        return _Attempts(device, model, protocol).measure()


class _Attempts:
    """The attempts at one network: a session is kept from one to the next unless it broke."""

    def __init__(self, device: Device, model: MeasurableModel, protocol: MeasurementProtocol) -> None:
        self.device = device
        self.model = model
        self.protocol = protocol
        self.min_runs = protocol.runs_on(device)
        self.batches: list[RunBatch] = []
        self.faults: list[str] = []
        self.initialization_ms: float | None = None
        self.first_run_ms: float | None = None
        self.metrics: tuple[Metric, ...] = ()

    def measure(self) -> Measurement:
        started_at, start = datetime.now(UTC), time.monotonic()
        # Read first: a device that vanishes right after the last run must not cost its results.
        identity, epoch = self.device.identity, self.device.epoch
        while self._attempts_left() and not self._stable():
            try:
                self._use_one_session()
            except AttemptError as error:
                self.faults.append(str(error))
        if not self.batches:
            raise InfeasibleError(f"every one of {len(self.faults)} attempts failed; the last: {self.faults[-1]}")
        return Measurement(
            model_key=self.model.key,
            device=identity,
            epoch=epoch,
            attempts=tuple(self.batches),
            stable=self._stable(),
            min_runs=self.min_runs,
            max_relative_std=self.protocol.max_relative_std,
            warmup_runs=self.protocol.warmup_runs,
            started_at=started_at,
            duration_s=time.monotonic() - start,
            faults=tuple(self.faults),
            initialization_ms=self.initialization_ms,
            first_run_ms=self.first_run_ms,
            metrics=self.metrics,
            tool=version(),
            commit=source_commit(),
        )

    def _attempts_left(self) -> bool:
        return len(self.batches) + len(self.faults) < self.protocol.max_attempts

    def _stable(self) -> bool:
        return bool(self.batches) and self.protocol.accepts(self.batches[-1], self.min_runs)

    def _use_one_session(self) -> None:
        with self.device.load(self.model) as session:
            first = session.run(1)
            if self.initialization_ms is None:
                self.initialization_ms = session.initialization_ms
                self.first_run_ms = first.mean_ms if first.count == 1 else None
            while self._attempts_left() and not self._stable():
                if self.protocol.warmup_runs:
                    session.run(self.protocol.warmup_runs)
                self.batches.append(session.run(self.min_runs))
                self.metrics = session.metrics()
