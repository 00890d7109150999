"""A campaign on this machine: a thread for each device, builds on the cores that nobody measures on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from leti_opt.campaign.building import Builders, on_cores
from leti_opt.campaign.events import OUT, STARTED, EventLog, started_text
from leti_opt.campaign.interference import check_interference, taking_turns
from leti_opt.campaign.progress import ProgressRow
from leti_opt.campaign.pulling import DevicePuller
from leti_opt.campaign.replaying import Replay, is_replayed
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device
from leti_opt.device.host_cpu import HostCpu, host_pseudonym
from leti_opt.device.resource_lock import core_resource
from leti_opt.errors import DeviceError
from leti_opt.host_cores import usable_cores
from leti_opt.store.latency_store import LatencyStore

_TICK_S = 0.25

OnTick = Callable[[Sequence[ProgressRow]], None]


@dataclass(frozen=True)
class Outcome:
    """How the work ended.

    Args:
        rows: how far each device is.
        errors: of the devices that were left out, by URI.
        is_stopped: whether somebody stopped it before everything was measured.
        seconds: it took.
    """

    rows: tuple[ProgressRow, ...]
    errors: dict[str, str]
    is_stopped: bool
    seconds: float


def owner_of(campaign: int, uri: str) -> str:
    """Names a device of this host in a campaign to others.

    It is the same after a restart, so that what a killed run had claimed is its own. Users of one host do not see each
    other's locks, so they are told apart.
    """
    return f"{host_pseudonym()}/{os.getuid()}/{campaign}/{uri}"


def free_cores(devices: Sequence[Device]) -> list[int]:
    """This host's cores that none of the devices measures on; empty if they take all."""
    taken = {resource for device in devices for resource in _resources(device)}
    return [core for core in usable_cores() if core_resource(core) not in taken]


def _resources(device: Device) -> frozenset[str]:
    """What a device uses; nothing of this host's, if it is away and cannot say."""
    try:
        return device.resources
    except DeviceError:
        return frozenset()


class LocalRun:
    """Runs a campaign's devices side by side in this process.

    Args:
        work: the campaign's networks.
        devices: what measures; they are closed by who opened them.
        store: what remembers.
        events: where to tell what happens.
        retry_unstable: ask once more for the networks that the store holds as unstable.
        render: make the file of every network that a recording answers, too.
    """

    def __init__(
        self,
        work: CampaignWork,
        devices: Sequence[Device],
        store: LatencyStore,
        events: EventLog,
        retry_unstable: bool = False,
        render: bool = False,
    ) -> None:
        self.work, self.store, self.events = work, store, events
        replayed = [device for device in devices if is_replayed(device)]
        self._real = [device for device in devices if device not in replayed]
        self._cores = free_cores(self._real)
        backend = {"backend": work.execution.backend}
        workers = work.execution.builders or max(1, len(self._cores) or len(usable_cores()))
        self._builders = Builders(backend, workers, self._cores or None, work.renderer)
        self._pullers = [
            DevicePuller(
                work, device, store, self._builders, events, owner_of(work.campaign, device.uri), retry_unstable
            )
            for device in self._real
        ]
        self._replay = Replay(work, replayed, store, backend, workers, render) if replayed else None
        self._errors: dict[str, str] = {}
        self._fatal: BaseException | None = None
        self._over = threading.Event()

    def rows(self) -> list[ProgressRow]:
        """How far each device is now."""
        own = [puller.progress.row() for puller in self._pullers]
        return own + [progress.row() for progress in (self._replay.progress if self._replay else [])]

    def run(self, deadline: float | None = None, on_tick: OnTick | None = None) -> Outcome:
        """Measure until nothing is lacking, or until a moment.

        Args:
            deadline: of ``time.monotonic()``; what is being measured then is finished.
            on_tick: called a few times a second with how far each device is.

        Raises:
            StoreError, InvalidProtocolError: as of the devices; all of them end then.
            KeyboardInterrupt: it was interrupted; what was being measured is finished and stored.
        """
        start = time.monotonic()
        self.events.add(STARTED, started_text(self.work, len(self.rows())))
        is_stopped = self._wait(threading.Thread(target=self._work, name="campaign"), deadline, on_tick)
        if self._fatal is not None:
            raise self._fatal
        lacking = any(row.lacking for row in self.rows())
        return Outcome(tuple(self.rows()), dict(self._errors), is_stopped and lacking, time.monotonic() - start)

    def _wait(self, working: threading.Thread, deadline: float | None, on_tick: OnTick | None) -> bool:
        """Have the work done, and look on until it ends; whether somebody ended it."""
        is_stopped = False
        try:
            with on_cores(self._cores or None):  # threads stay on the cores on which they were started
                working.start()
            is_over = False
            while not is_over:
                is_over = self._over.wait(_TICK_S)  # a join that Ctrl-C interrupts takes the thread for ended
                if on_tick is not None:
                    on_tick(self.rows())
                is_stopped = is_stopped or (deadline is not None and time.monotonic() >= deadline)
                if is_stopped or self._fatal is not None:
                    self._stop()  # again and again: a device may go away meanwhile, and is not waited for
        except BaseException:  # Ctrl-C above all: nothing that is being measured is left behind
            self._stop(at_once=True)
            if working.ident is not None:
                self._over.wait()
            raise
        return is_stopped

    def _work(self) -> None:
        from joblib import Parallel, delayed

        # Not one of joblib's own threads: below these it would start no processes.
        replaying = threading.Thread(target=self._replayed, name="replay")
        try:
            replaying.start()
            with ExitStack() as stack:
                stack.enter_context(self._builders)
                for group in self._disturbing():
                    stack.enter_context(taking_turns(group))
                if self._pullers:
                    works = [delayed(self._pull)(puller) for puller in self._pullers]
                    Parallel(n_jobs=len(works), backend="threading")(works)
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            self._end(error)
        finally:
            if replaying.ident is not None:
                replaying.join()
            self._over.set()

    def _disturbing(self) -> list[list[HostCpu]]:
        """Groups of devices that must take turns."""
        if len(self._real) < 2:
            return []
        looked_at = [puller.progress for puller in self._pullers if isinstance(puller.device, HostCpu)]
        for progress in looked_at:
            progress.state = "looking whether it disturbs others"
        groups = check_interference(self._real, self.events)
        for progress in looked_at:
            progress.state = "starting"
        return groups

    def _pull(self, puller: DevicePuller) -> None:
        try:
            puller.run()
        except DeviceError as error:
            if not puller.is_stopped:
                self._errors[puller.device.uri] = str(error)
                puller.progress.state = "out"
                self.events.add(OUT, str(error), puller.device.uri)
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            self._end(error)

    def _replayed(self) -> None:
        if self._replay is None:
            return
        try:
            self._replay.run()
        except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """What is nobody's device's fault ends everything."""
        self._fatal = self._fatal or error
        self._stop()

    def _stop(self, at_once: bool = False) -> None:
        working: list[DevicePuller | Replay] = [*self._pullers]
        if self._replay is not None:
            working.append(self._replay)
        for one in working:
            if at_once:
                one.interrupt()
            else:
                one.stop()
