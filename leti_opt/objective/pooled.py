"""Several devices behind one service: those that agree share the work, different ones each get all of it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.pool import DevicePool, DeviceReport, PoolPatience
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import DeviceError
from leti_opt.objective.answers import Answer, Question, Source, slowest, without_runs
from leti_opt.objective.build_once import BuildOnce
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.introductions import introduce, refuse_twice
from leti_opt.objective.keyed_locks import KeyedLocks
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.service import LatencyService
from leti_opt.objective.twins import Twins
from leti_opt.store.latency_store import LatencyStore

_LOGGER = logging.getLogger("leti_opt")


class PooledService(LatencyService):
    """Answers from several devices at once.

    Devices of one identity (two phones of a model) share the work as soon as they are shown to agree. Where there are
    different ones, each measures every network, and the answer is the slowest of theirs: a network that meets a limit
    there meets it on all. What each took is in the store.

    A device that fails is set aside. Its work goes to its twins or waits, and it takes part again when it is back.

    Args:
        devices: two or more.
        store: what remembers.
        protocol: when a measurement holds.
        offline: answer from the store alone; no device is contacted.
        canary: how each device is watched.
        statistic: the figure by which the slowest is told.
        patience: with devices that fail.

    Raises:
        InvalidDeviceUriError: one device is named twice.

    >>> from leti_opt.device.open_device import open_device
    >>> devices = [open_device("replay:formula?seed=1"), open_device("replay:formula?seed=2")]
    >>> service = PooledService(devices, LatencyStore(":memory:"), MeasurementProtocol())
    >>> len(service.kinds)
    2
    >>> service.close()
    """

    def __init__(
        self,
        devices: Sequence[Device],
        store: LatencyStore,
        protocol: MeasurementProtocol,
        offline: bool = False,
        canary: CanarySettings | None = None,
        statistic: str = "mean",
        patience: PoolPatience | None = None,
    ) -> None:
        refuse_twice([device.uri for device in devices])
        self.store, self.protocol, self.offline = store, protocol, offline
        self.canary = canary or CanarySettings()
        self.statistic = statistic
        self.patience = patience
        self.counts: Counter[tuple[Source, str]] = Counter()
        self.notify: Callable[[str], None] = _LOGGER.warning
        self._members = tuple(MeasuringService(device, store, protocol, offline, canary) for device in devices)
        for member in self._members:
            member.notify = lambda line, uri=member.device.uri: self._notified(f"{uri}: {line}")  # type: ignore[misc]
            member.on_withdrawn = self._forget_withdrawn
        self._away: set[int] = set()
        self._kinds: tuple[Twins, ...] | None = None
        self._pool: DevicePool | None = None
        self._is_stopped = False
        self._withdrawn: set[str] = set()
        self._answers: dict[str, dict[DeviceIdentity, Answer]] = {}
        self._busy = KeyedLocks()
        self._lock = threading.RLock()

    @property
    def members(self) -> Sequence[MeasuringService]:
        """The services of the single devices, in the order in which they were named."""
        return self._members

    @property
    def judges(self) -> Sequence[MeasuringService]:
        """One of each group of devices that answer for each other: one that is there now, if any is."""
        pool = self._pool
        away = self._away if pool is None else {n for n in range(len(self._members)) if pool.state(n) != "ready"}
        return [
            self._members[min((place for group in circle for place in group), key=lambda place: (place in away, place))]
            for twins in self.kinds
            for circle in twins.circles()
        ]

    @property
    def kinds(self) -> tuple[Twins, ...]:
        """The different devices, each with its twins. The devices are contacted at the first call.

        Raises:
            DeviceError: one cannot be reached, and the store has never seen it.
        """
        with self._lock:
            if self._kinds is None:
                if not self.offline:
                    self._away |= introduce(self._members, self.store, self._notified)
                by_identity: dict[DeviceIdentity, dict[int, MeasuringService]] = {}
                for place, member in enumerate(self._members):
                    by_identity.setdefault(member.identity, {})[place] = member
                self._kinds = tuple(Twins(twins, self.statistic, self._notified) for twins in by_identity.values())
            return self._kinds

    @property
    def away(self) -> frozenset[int]:
        """Places of the devices that were away when they were asked what they are, and are known to the store."""
        return frozenset(self._away)

    @property
    def identity(self) -> DeviceIdentity:
        """The devices' common identity, or one that names all of them, in whatever order they were given."""
        found = sorted((twins.identity for twins in self.kinds), key=lambda identity: (identity.name, identity.digest))
        if len(found) == 1:
            return found[0]
        return DeviceIdentity(
            kind="pool",
            hardware=f"slowest of {'; '.join(identity.name for identity in found)}",
            runtime="; ".join(dict.fromkeys(identity.runtime for identity in found)),
            runner="; ".join(dict.fromkeys(identity.runner for identity in found)),
            delegate="",
            origin=next((identity.origin for identity in found if identity.origin != "measured"), "measured"),
        )

    @property
    def epoch(self) -> DeviceEpoch:
        """System builds and drivers of all devices. Units are left out: a twin more or less changes no figure."""
        _ = self.kinds
        epochs = [member.epoch for member in self._members]
        builds, drivers = (sorted({getattr(epoch, name) for epoch in epochs}) for name in ("system_build", "driver"))
        return DeviceEpoch("; ".join(builds), "; ".join(filter(None, drivers)))

    def submit(self, question: Question, fresh: bool = False) -> dict[DeviceIdentity, Future[Answer]]:
        """Ask each kind of device; the futures have the answers.

        Raises:
            DeviceError: a device cannot be reached at the first call, and the store has never seen it.
        """
        once = BuildOnce(question.build)
        asked = replace(question, build=once)
        pool = self._running()
        futures = {twins.identity: twins.submit(pool, asked, fresh) for twins in self.kinds}
        for future in futures.values():
            future.add_done_callback(lambda _: once.drop() if all(one.done() for one in futures.values()) else None)
        return futures

    def answer(self, question: Question, fresh: bool = False) -> Answer:
        """The latency on the slowest device, or why one of them cannot run the network."""
        with self._busy.of(question.alias or question.name):
            if self.offline:
                found = {twins.identity: twins.stored(question) for twins in self.kinds}
            else:
                found = {identity: future.result() for identity, future in self.submit(question, fresh).items()}
        answer = slowest(list(found.values()), self.statistic)
        with self._lock:
            self.counts[answer.source, answer.status] += 1
            light = {identity: without_runs(each) for identity, each in found.items()}
            for key in {one.measurement.model_key for one in found.values() if one.measurement is not None}:
                self._answers.setdefault(key, {}).update(light)
        return answer

    def current(self, answer: Answer) -> Answer:
        """The answer itself, or what its devices found when they measured the network again."""
        measurement = answer.measurement
        if measurement is None:
            return answer
        with self._lock:
            found = self._answers.get(measurement.model_key)
            withdrawn = measurement.model_key in self._withdrawn
        if found is None:
            return answer
        newer = [self._current_of(one) for one in found.values()]
        return (
            slowest(newer, self.statistic)
            if withdrawn or any(a is not b for a, b in zip(newer, found.values(), strict=True))
            else answer
        )

    def settle(self) -> None:
        """Look at each device's canary once more. A device that is away now keeps what it measured, and says so.

        Raises:
            DeviceError: figures were withdrawn, and could not be measured again.
        """
        pool = self._pool
        if pool is None:
            return
        settled = {
            member: pool.submit(
                lambda _device, member=member: member.settle(),  # type: ignore[misc]
                [place],
                is_patient=False,
                counts=False,
            )
            for place, member in enumerate(self._members)
            if pool.state(place) == "ready"
        }
        for place, member in enumerate(self._members):
            try:
                if member not in settled:
                    raise DeviceError(f"{member.device.uri} is {pool.state(place)}")
                settled[member].result()
            except DeviceError as error:
                self._notified(f"{error}; nobody looked whether its last figures were measured at its usual pace")
        missing = self._withdrawn_for_good()
        if missing:
            raise DeviceError(
                f"{len(missing)} network(s) were measured while a device was not at its usual pace, and could not be "
                "measured again; start again: everything else is kept, and they are measured anew"
            )

    def _withdrawn_for_good(self) -> list[str]:
        """Keys of the networks whose answers were withdrawn, and not replaced since."""
        with self._lock:
            found = {key: list(self._answers[key].values()) for key in self._withdrawn & self._answers.keys()}
        return [key for key, answers in found.items() if not all(map(self._stands, answers))]

    def _stands(self, answer: Answer) -> bool:
        measurement = self._current_of(answer).measurement
        return measurement is None or any(
            one.started_at == measurement.started_at
            for one in self.store.find(measurement.model_key, measurement.device, measurement.epoch)
        )

    def stop(self) -> None:
        """End what is queued and finish what is in progress; measure nothing more before :meth:`close`."""
        with self._lock:
            self._is_stopped = True
            pool = self._pool
        if pool is not None:
            pool.close()

    def report(self) -> list[DeviceReport]:
        """What became of each device's time."""
        return [] if self._pool is None else self._pool.report()

    def close(self) -> None:
        """Finish what is in progress and release the devices. The service may be used again."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._is_stopped = False
        if pool is not None:
            pool.close()
        for member in self._members:
            member.close()

    def _running(self) -> DevicePool:
        with self._lock:
            _ = self.kinds
            if self._is_stopped:
                raise DeviceError("it was interrupted, and measures nothing more; start again, everything is kept")
            if self._pool is None:
                devices = [member.device for member in self._members]
                for device in devices:
                    device.give_up_soon()
                self._pool = DevicePool(devices, self.patience, self._notified, self._away)
            return self._pool

    def _current_of(self, answer: Answer) -> Answer:
        measurement = answer.measurement
        if measurement is None:
            return answer
        here = (measurement.device, measurement.epoch)
        owner = next((one for one in self._members if (one.identity, one.epoch) == here), None)
        return answer if owner is None else owner.current(answer)

    def _forget_withdrawn(self, model_keys: Sequence[str]) -> None:
        with self._lock:
            self._withdrawn |= set(model_keys)
        for member in self._members:
            member.forget(model_keys)

    def _notified(self, line: str) -> None:
        self.notify(line)


def open_service(
    devices: Sequence[Device],
    store: LatencyStore,
    protocol: MeasurementProtocol,
    offline: bool = False,
    canary: CanarySettings | None = None,
    statistic: str = "mean",
) -> LatencyService:
    """What answers for one device, or for several."""
    if len(devices) == 1:
        return MeasuringService(devices[0], store, protocol, offline, canary)
    return PooledService(devices, store, protocol, offline, canary, statistic)
