"""The contract that everything which can run a network fulfils."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from leti_opt.device.run_batch import RunBatch
from leti_opt.device.use import DeviceUse
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.device.measurement import Metric
    from leti_opt.device.model import MeasurableModel
    from leti_opt.device.operator_time import OperatorTime

Origin = Literal["measured", "simulated", "replayed", "imported"]


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class DeviceIdentity:
    """What determines a latency besides the network. Two devices with equal identities may share results.

    Args:
        kind: ``host-cpu``, ``replay``, …
        hardware: model, SoC, or name of the CPU or GPU.
        runtime: what executes the network, with its version or the SHA-256 of its binary.
        runner: how it is started: ``worker``, ``shell``, ``app``.
        delegate: ``cpu``, ``xnnpack``, ``gpu`` …
        options: every option that matters, as pairs, which are kept sorted: threads, affinity, precision loss.
        origin: whether its figures are measured, simulated from a formula, replayed from a file, or imported from a
            table whose rows say too little of how they were measured.
    """

    kind: str
    hardware: str
    runtime: str
    runner: str
    delegate: str
    options: tuple[tuple[str, str], ...] = ()
    origin: Origin = "measured"

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of all fields."""
        return _digest(asdict(self))

    @property
    def published(self) -> bool:
        """Whether its figures were taken over from a table or a recording, which says of its runs what it says."""
        return self.origin in ("replayed", "imported")

    @property
    def name(self) -> str:
        """One line for people: hardware, delegate, options, and a warning where nothing is measured."""
        options = " ".join(f"{key}={value}" for key, value in self.options)
        mark = "" if self.origin == "measured" else f" [{self.origin.upper()}]"
        return " ".join(filter(None, [self.hardware, self.delegate, options])) + mark


@dataclass(frozen=True)
class DeviceEpoch:
    """What may change while a device keeps its identity.

    Args:
        system_build: build fingerprint or kernel.
        driver: GPU driver; empty where there is none.
        unit: pseudonymous serial of this very unit.
    """

    system_build: str
    driver: str = ""
    unit: str = ""

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of all fields."""
        return _digest(asdict(self))


class Session(ABC):
    """One loaded network, ready to run. Use it as a context manager; it belongs to one thread.

    Attributes:
        initialization_ms: how long loading took; None where the device does not say, or has not said yet.
        first_run_ms: the very first run after loading; None likewise.
    """

    initialization_ms: float | None = None
    first_run_ms: float | None = None

    @abstractmethod
    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        """Take ``n`` samples, one after the other, and say what the device reveals.

        A sample is one run, or several back to back where one is too short to be timed well. The batch says how many
        runs it holds: a recording has as many as were recorded.

        Raises:
            AttemptError: crashed or hung; the session is of no more use.
            InfeasibleError: the device cannot run this network.
            InvalidProtocolError: the device times single runs only.
            DeviceError: the device is gone.
        """

    def first_run(self) -> float | None:
        """Make the very first run, before any other.

        Returns:
            How long a run takes, roughly, in milliseconds; None where every attempt is a start of its own, which
            makes its first run by itself.

        Raises:
            as :meth:`run`.
        """
        first = self.run(1)
        self.first_run_ms = first.mean_ms if first.count == 1 else None
        return first.mean_ms

    def attempt(self, n: int, warmup_runs: int) -> RunBatch:
        """Warm up, then take ``n`` samples of one run each.

        Raises:
            as :meth:`run`.
        """
        if warmup_runs:
            self.run(warmup_runs)
        return self.run(n)

    def metrics(self) -> tuple[Metric, ...]:
        """Further figures, such as peak memory, as of now."""
        return ()

    def close(self) -> None:
        """Release the network. May be called twice."""

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Device(ABC):
    """Something that can run a network and time it.

    Whoever calls :meth:`load` holds the locks of :attr:`resources`
    (:func:`leti_opt.device.resource_lock.hold`); :func:`leti_opt.device.protocol.measure` does. A device may be
    opened in many threads and processes; it must be cheap to open and to close, and starts no work before
    :meth:`load`.

    Attributes:
        uri: what :func:`leti_opt.device.open_device` opens it by again, in this process or another.
        needs_file: whether :meth:`load` reads the model's TFLite file; false for devices that answer from elsewhere.
        watched: whether a canary tells if its pace has changed; false for devices that do not really run anything.
        reveals_runs: whether single runs are known; false for devices that print aggregates only, on which
            ``relative_error`` cannot be checked.
        canary_every_s: seconds between two looks at the canary, where the user says nothing else.
        profile_method: how it times the operators of a network by itself, in a line for people; empty where it cannot.
        default_min_runs: runs that a measurement needs on this kind of device (LETI paper: 300, on CUDA 100).
    """

    uri: str
    needs_file: bool = True
    watched: bool = True
    reveals_runs: bool = True
    canary_every_s: float = 10.0
    profile_method: str = ""
    default_min_runs: int = 300

    @property
    @abstractmethod
    def identity(self) -> DeviceIdentity:
        """What it is. May contact the device.

        Raises:
            DeviceError: it cannot be reached.
        """

    @property
    @abstractmethod
    def epoch(self) -> DeviceEpoch:
        """What about it may change. May contact the device."""

    @property
    @abstractmethod
    def resources(self) -> frozenset[str]:
        """Names of the physical things that only one measurement may use at a time; empty if it uses none."""

    @cached_property
    def use(self) -> DeviceUse:
        """What its time went into, as far as it or its pool counts it."""
        return DeviceUse()

    def contact(self) -> None:
        """Make sure that it answers, and is still the same one.

        Raises:
            DeviceError: it does not, or another one answers.
        """

    def give_up_soon(self) -> None:
        """Wait only for moments, from now on, for a device that went away: who calls this sees to the rest."""

    def interrupt(self) -> None:
        """End waits that are going on in other threads, for instance for a phone to cool; they raise a DeviceError.

        A measurement in progress is finished. After :meth:`close` the device may be used again.
        """

    def check_statistic(self, statistic: str) -> None:
        """Refuse a statistic that this device is known not to reveal, before anything is measured.

        Raises:
            StatisticUnavailableError: it is not revealed of every network; the message says what is.
        """

    def is_prepared(self, model: MeasurableModel) -> bool:
        """Whether :meth:`prepare` has nothing left to build, and nobody need wait for a core to build on."""
        return model.is_rendered

    def prepare(self, model: MeasurableModel) -> None:
        """Build now what :meth:`load` will read, so that no time of the device goes into it.

        It is called before :attr:`resources` are held, where :attr:`needs_file` is true.
        """
        model.prepare()

    def operator_times(self, model: MeasurableModel, runs: int) -> tuple[OperatorTime, ...]:
        """Time every operator within the whole network, where :attr:`profile_method` says how.

        Raises:
            InvalidInputError: this device cannot.
            as :meth:`load` and :meth:`Session.run`.
        """
        raise InvalidInputError(f"{self.uri} cannot time the operators of {model.name} within {runs} of its runs")

    @abstractmethod
    def load(self, model: MeasurableModel) -> Session:
        """Load a network.

        Raises:
            InfeasibleError: the device refuses it.
            InvalidModelError: the model's file is no model.
            AttemptError: loading crashed or hung.
            DeviceError: the device cannot be reached.
        """

    def close(self) -> None:
        """Release what the device holds. May be called twice; the device may be used again afterwards."""

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
