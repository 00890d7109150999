"""The only place that decides how many runs are made, and whether a measurement holds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from leti_opt.device.certainty import MIN_RUNS, least_relative_error, with_wander
from leti_opt.device.device import Device, Session
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.resource_lock import building_on_host, hold
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError, InfeasibleError, InvalidProtocolError
from leti_opt.version import source_commit, version

SAMPLE_MS = 1.0
"""A timing sample lasts at least so long where the protocol may choose: shorter ones are mostly the clock's noise."""

_GROWTH = 1.5
MOST_RUNS_PER_SAMPLE = 1000
"""However short a run is, no sample holds more of them where the protocol may choose."""


@dataclass(frozen=True)
class MeasurementProtocol:
    """How often to run a network, and when the result holds (LETI paper, 2020).

    Args:
        min_runs: timed runs of an attempt, or timed samples where ``runs_per_sample`` is not 1; None for the device's
            default (300, on CUDA 100).
        max_relative_std: an attempt holds if its standard deviation is at most this share of its mean.
        max_attempts: attempts before the network counts as unstable.
        warmup_runs: runs before the timed ones of each attempt, besides the very first.
        relative_error: in place of a number of runs: run until the 95 % interval of the mean
            (:func:`~leti_opt.device.certainty.mean_interval`), the device's wander included, is within plus and minus
            this share of it. Such a measurement never answers a request for a number of runs.
        max_runs: with ``relative_error``, where an attempt ends that did not get there.
        runs_per_sample: runs timed as one; None for as many as last a millisecond. With a number of runs, single runs
            and samples of several do not answer for each other: the spread of samples is the smaller one.

    Raises:
        InvalidProtocolError: a number is out of range, or two contradict each other.

    >>> MeasurementProtocol(min_runs=300).accepts(RunBatch(count=300, mean_ms=5.0, std_ms=0.4))
    True
    >>> MeasurementProtocol(min_runs=300).accepts(RunBatch(count=300, mean_ms=5.0, std_ms=0.6))
    False
    >>> batch = RunBatch(count=60, mean_ms=5.0, std_ms=0.1, mean_error_ms=0.03)
    >>> MeasurementProtocol(relative_error=0.01).accepts(batch)
    True
    """

    min_runs: int | None = None
    max_relative_std: float = 0.1
    max_attempts: int = 5
    warmup_runs: int = 10
    relative_error: float | None = None
    max_runs: int = 10_000
    runs_per_sample: int | None = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("min_runs", 1),
            ("max_attempts", 1),
            ("warmup_runs", 0),
            ("max_runs", MIN_RUNS),
            ("runs_per_sample", 1),
        ):
            number = getattr(self, name)
            if number is not None and not isinstance(number, int):
                raise InvalidProtocolError(f"{name} must be a whole number, not {number!r}")
            if number is not None and number < least:
                raise InvalidProtocolError(f"{name} must be {least} or more, not {number}")
        if not self.max_relative_std > 0:
            raise InvalidProtocolError(f"max_relative_std must be above 0, not {self.max_relative_std}")
        if self.relative_error is None:
            return
        if not 0 < self.relative_error < 1:
            raise InvalidProtocolError(f"relative_error must be between 0 and 1, not {self.relative_error}")
        if self.min_runs is not None:
            raise InvalidProtocolError("give min_runs or relative_error, not both: one replaces the other")

    def runs_on(self, device: Device) -> int:
        """Timed runs of an attempt on this device; with ``relative_error`` the fewest that it may end with."""
        return self.runs_of(device.default_min_runs)

    def runs_of(self, default_min_runs: int) -> int:
        """The same on a kind of device, by :attr:`Device.default_min_runs`."""
        if self.relative_error is not None:
            return MIN_RUNS
        return default_min_runs if self.min_runs is None else self.min_runs

    def accepts(self, batch: RunBatch, min_runs: int | None = None) -> bool:
        """Whether an attempt holds: enough runs, and a spread within the limit.

        A batch without a standard deviation never holds, nor one of other samples than were asked for. ``min_runs``
        is needed where the protocol leaves it to the device.
        """
        spread = batch.relative_std
        if batch.count is None or spread is None or spread > self.max_relative_std:
            return False
        if self.relative_error is not None:
            error = batch.relative_error
            return (
                batch.count >= MIN_RUNS * batch.runs_per_sample and error is not None and error <= self.relative_error
            )
        needed = self.min_runs if min_runs is None else min_runs
        if needed is None:
            raise InvalidProtocolError("this protocol leaves min_runs to the device; pass protocol.runs_on(device)")
        return batch.count >= needed * batch.runs_per_sample and self._has_its_samples(batch)

    def _has_its_samples(self, batch: RunBatch) -> bool:
        """Whether a batch of a number of runs was timed in samples as this protocol wants them."""
        per_sample = batch.runs_per_sample
        if self.runs_per_sample is not None:
            return per_sample == self.runs_per_sample
        # How many runs fill a sample was told by earlier ones, which may have been slower.
        return per_sample >= MOST_RUNS_PER_SAMPLE or per_sample * batch.mean_ms >= SAMPLE_MS / 2

    def served_by(self, measurement: Measurement, min_runs: int) -> bool:
        """Whether a stored measurement is good enough to answer for one by this protocol."""
        if self.relative_error is None and measurement.relative_error is not None:
            return False  # it ended when its runs looked good, so it is no fair sample of a fixed number
        return self.accepts(measurement.batch, min_runs)

    def gives_up(self, measurement: Measurement, min_runs: int) -> bool:
        """Whether an unstable measurement used up all the attempts that this protocol would make."""
        if self.relative_error is None:
            asked_enough = (
                measurement.relative_error is None
                and measurement.min_runs >= min_runs
                and self._has_its_samples(measurement.batch)
            )
        else:
            asked_enough = measurement.relative_error is not None and measurement.relative_error <= self.relative_error
        return asked_enough and len(measurement.attempts) + len(measurement.faults) >= self.max_attempts

    def chosen_runs_per_sample(self, run_ms: float) -> int:
        """How many runs make a sample, for a network of this latency.

        >>> MeasurementProtocol(relative_error=0.01, runs_per_sample=None).chosen_runs_per_sample(0.3)
        4
        """
        if self.runs_per_sample is not None:
            return self.runs_per_sample
        return 1 if run_ms >= SAMPLE_MS else min(MOST_RUNS_PER_SAMPLE, math.ceil(SAMPLE_MS / max(run_ms, 1e-6)))


def measure(
    device: Device, model: MeasurableModel, protocol: MeasurementProtocol | None = None, wander: float | None = None
) -> Measurement:
    """Measure one network, holding the device's resources.

    The model's file is rendered before the resources are taken. A crash or a hang costs one attempt. The
    result may be unstable: look at ``Measurement.stable``. A published figure without runs or spread is asked for once,
    whatever the protocol: ``Measurement.status`` is then ``unchecked``.

    Raises:
        InfeasibleError: the device refuses the network, or every attempt crashed or hung.
        DeviceError: the device is gone.
    """
    protocol = protocol or MeasurementProtocol()
    check_protocol(device, protocol)
    _check_wander(device, protocol, wander)
    if device.needs_file and not device.is_prepared(model):
        with building_on_host():
            device.prepare(model)
    with hold(device.resources):
        return _Attempts(device, model, protocol, wander).measure()


def check_protocol(device: Device, protocol: MeasurementProtocol) -> None:
    """Refuse a protocol that a device cannot follow, before anything runs.

    Raises:
        InvalidProtocolError: it asks for a relative error, and the device does not reveal single runs; or for samples
            of several runs, and the device times single ones.
    """
    if protocol.relative_error is not None and not device.reveals_runs:
        raise _without_runs(device)
    if protocol.relative_error is None and protocol.runs_per_sample != 1 and not device.reveals_runs:
        raise InvalidProtocolError(f"{device.uri} times single runs only; leave runs_per_sample at 1")


def _without_runs(device: Device) -> InvalidProtocolError:
    return InvalidProtocolError(
        f"{device.uri} does not reveal single runs, so relative_error cannot be checked; use min_runs"
    )


def _check_wander(device: Device, protocol: MeasurementProtocol, wander: float | None) -> None:
    if protocol.relative_error is None or wander is None:
        return
    least = least_relative_error(wander)
    if least >= protocol.relative_error:
        raise InvalidProtocolError(
            f"±{100 * protocol.relative_error:g} % cannot be reached on {device.uri}: its pace wanders by "
            f"{100 * wander:.1f} % from one moment to another (so says its canary), and no number of runs "
            f"in a row gets below ±{100 * least:.0f} %; ask for more than that, or for a number of runs, or measure at "
            "its quiet pace"
        )


class _Attempts:
    """The attempts at one network: a session is kept from one to the next unless it broke."""

    def __init__(
        self, device: Device, model: MeasurableModel, protocol: MeasurementProtocol, wander: float | None
    ) -> None:
        self.wander = wander
        self.device = device
        self.model = model
        self.protocol = protocol
        self.min_runs = protocol.runs_on(device)
        self.published = False
        self.batches: list[RunBatch] = []
        self.faults: list[str] = []
        self.initialization_ms: float | None = None
        self.first_run_ms: float | None = None
        self.metrics: tuple[Metric, ...] = ()

    def measure(self) -> Measurement:
        started_at, start = datetime.now(UTC), time.monotonic()
        # Read first: a device that vanishes right after the last run must not cost its results.
        identity, epoch = self.device.identity, self.device.epoch
        self.published = identity.published
        while self._attempts_left() and not self._ended():
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
            relative_error=self.protocol.relative_error,
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

    def _ended(self) -> bool:
        return self._stable() or (bool(self.batches) and self._beyond_checking(self.batches[-1]))

    def _beyond_checking(self, batch: RunBatch) -> bool:
        """Whether it is a published figure that no rule can be checked on: asked for again, it is the same."""
        return self.published and not batch.checkable

    def _use_one_session(self) -> None:
        with self.device.load(self.model) as session:
            run_ms = session.first_run()
            while self._attempts_left() and not self._ended():
                self.batches.append(self._attempt(session, run_ms))
                self.metrics = self._metrics(session)
                if self.initialization_ms is None:
                    self.initialization_ms, self.first_run_ms = session.initialization_ms, session.first_run_ms

    def _attempt(self, session: Session, run_ms: float | None) -> RunBatch:
        if self.protocol.relative_error is None:
            return self._wandering(self._fixed_number(session, run_ms))
        if run_ms is None:
            raise _without_runs(self.device)
        if self.protocol.warmup_runs:
            session.run(self.protocol.warmup_runs)
        per_sample = self.protocol.chosen_runs_per_sample(run_ms)
        runs_ms: list[float] = []
        batch: RunBatch | None = None
        while batch is None or not (
            self.protocol.accepts(batch) or len(runs_ms) * per_sample >= self.protocol.max_runs
        ):
            target = max(MIN_RUNS, math.ceil(_GROWTH * len(runs_ms)))
            more = session.run(target - len(runs_ms), per_sample)
            if self._beyond_checking(more):
                return more
            if more.runs_ms is None:
                raise _without_runs(self.device)
            runs_ms += more.runs_ms
            batch = self._wandering(RunBatch.from_runs(runs_ms, per_sample))
        return batch

    def _fixed_number(self, session: Session, run_ms: float | None) -> RunBatch:
        warmup_runs = self.protocol.warmup_runs
        if self.protocol.runs_per_sample == 1 or run_ms is None:
            return session.attempt(self.min_runs, warmup_runs)
        if warmup_runs:
            warm = session.run(warmup_runs)
            run_ms = warm.mean_ms if warm.median_ms is None else warm.median_ms
        if self.batches:
            run_ms = self.batches[-1].mean_ms
        return session.run(self.min_runs, self.protocol.chosen_runs_per_sample(run_ms))

    def _wandering(self, batch: RunBatch) -> RunBatch:
        if self.wander is None or batch.mean_error_ms is None:
            return batch
        return replace(batch, mean_error_ms=with_wander(batch.mean_error_ms, batch.mean_ms, self.wander))

    def _metrics(self, session: Session) -> tuple[Metric, ...]:
        wander = () if self.wander is None else (Metric("wander", self.wander, "share of the latency", "canary"),)
        return (*session.metrics(), *wander)
