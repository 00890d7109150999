"""A campaign on a Dask cluster: one long task for each device, on a worker that has it, through joblib's own backend.

Workers say which devices hang on them by resources (``dask worker … --resources "pixel-7=2"``). The tasks pull networks
from the shared store, so that a worker which dies loses the measurement in progress at most.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from leti_opt.campaign.claims import Claims
from leti_opt.campaign.dask_backend import dask_backend, deaths
from leti_opt.campaign.dask_client import connected, failure_text, resources_of, worker_fault, workers_of
from leti_opt.campaign.events import NOTE, OUT, STARTED, EventLog, started_text
from leti_opt.campaign.local import OnTick, Outcome
from leti_opt.campaign.progress import ProgressRow
from leti_opt.campaign.remote import STOP, PullTask, pull, runner_key, topic_of
from leti_opt.campaign.sections import DeviceEntry
from leti_opt.campaign.work import CampaignWork
from leti_opt.errors import CampaignRunningError, DeviceError, InvalidInputError, LetiError
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.postgresql_url import is_postgresql

RUNNER_LASTS_S = 30.0
"""Tasks stop by themselves when their runner has not been heard of for so long."""

WORKERS_WITHIN_S = 20.0
"""A worker that is not there when the campaign starts is waited for so long: its nanny may be starting it again."""

_TICK_S = 0.5
_LOOK_EVERY_S = 5.0
_ENDING_S = 120.0


@dataclass(eq=False)
class _Pulling:
    """A task that waits for its worker, or runs there."""

    entry: DeviceEntry
    worker: str
    lost_since: float = 0.0
    is_killed: bool = False
    row: ProgressRow | None = None
    error: str | None = None
    is_done: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether its worker is gone, or died again and again, or the scheduler forgot the task."""
        return self.lost_since > 0 or self.is_killed


class ClusterRun:
    """Runs a campaign's devices on the workers of a Dask cluster.

    Args:
        work: the campaign's networks.
        entries: the devices, each with the resource that stands for it.
        store: what remembers; every worker must reach it by its URL.
        events: where to tell what happens.
        cluster: address of the scheduler.
        retry_unstable: ask once more for the networks that the store holds as unstable.

    Raises:
        InvalidInputError: a device has no resource, or the store is a file.
        DeviceError: Dask is missing, the scheduler cannot be reached, or no worker has the devices.
    """

    def __init__(
        self,
        work: CampaignWork,
        entries: Sequence[DeviceEntry],
        store: LatencyStore,
        events: EventLog,
        cluster: str,
        retry_unstable: bool = False,
    ) -> None:
        for entry in entries:
            if entry.resource is None:
                raise InvalidInputError(
                    f'on a cluster the device {entry.uri} needs a resource: write resource = "NAME" beside its uri, '
                    'and start the worker that it hangs on with --resources "NAME=1"'
                )
        if not is_postgresql(store.url):
            raise InvalidInputError(
                f"on a cluster the store must be one that every host reaches, not the file {store.url}; "
                'write store = "postgresql://USER:PASSWORD@HOST/NAME"'
            )
        self.work, self.entries, self.store, self.events = work, tuple(entries), store, events
        self.retry_unstable = retry_unstable
        self._cluster, self._client = cluster, connected(cluster)
        self._run = uuid.uuid4().hex
        self._subscribed: Any = None
        self._pullings: list[_Pulling] = []
        self._lock = threading.Lock()
        self._is_stopping = self._is_over = False

    def run(self, deadline: float | None = None, on_tick: OnTick | None = None) -> Outcome:
        """Measure until nothing is lacking, or until a moment; see :meth:`LocalRun.run`."""
        start = time.monotonic()
        try:
            self._refuse_without_workers()
            with Claims(self.store, self._run, RUNNER_LASTS_S) as claims:
                if claims.take([[runner_key(self.work.campaign)]]) != [True]:
                    raise CampaignRunningError(
                        f"the campaign {self.work.name!r} is running on another host, or its runner was killed less "
                        f"than {RUNNER_LASTS_S:.0f} s ago; wait until it is done, or try again then"
                    )
                self.events.add(STARTED, started_text(self.work, len(self.entries)))
                is_stopped = self._look_after(claims, deadline, on_tick)
        finally:
            self._is_over = True
            self._client.close()
        errors = {self._name_of(pulling): pulling.error for pulling in self._pullings if pulling.error is not None}
        rows = tuple(self.rows())
        return Outcome(rows, errors, is_stopped and any(row.lacking for row in rows), time.monotonic() - start)

    def rows(self) -> list[ProgressRow]:
        """How far each device is, as far as it was heard of."""
        with self._lock:
            found = [
                replace(pulling.row, uri=self._name_of(pulling))
                for pulling in self._pullings
                if pulling.row is not None
            ]
        return sorted(found, key=lambda row: row.uri)

    def _name_of(self, pulling: _Pulling) -> str:
        """A device's URI; also its worker, where another host has a device that is called the same there."""
        uri = _uri(pulling)
        same = [one for one in self._pullings if (one.row or one.error) and _uri(one) == uri]
        if all(one is pulling for one in same):
            return uri
        here = [one for one in same if one.worker == pulling.worker]
        number = f" ({here.index(pulling) + 1})" if pulling in here[1:] else ""
        return f"{uri} on {pulling.worker.partition('://')[2]}{number}"

    def _look_after(self, claims: Claims, deadline: float | None, on_tick: OnTick | None) -> bool:
        """Start tasks for all the devices that the workers have, until all of them are done."""
        is_stopped = False
        looked = -_LOOK_EVERY_S
        try:
            while not self._pullings or not all(pulling.is_done for pulling in self._pullings):
                if not is_stopped and time.monotonic() - looked >= _LOOK_EVERY_S:
                    looked = time.monotonic()
                    self._look(claims)
                if on_tick is not None:
                    on_tick(self.rows())
                if not is_stopped and deadline is not None and time.monotonic() >= deadline:
                    is_stopped = True
                    self._ask_to_stop()
                if is_stopped and deadline is not None and time.monotonic() >= deadline + _ENDING_S:
                    break
                time.sleep(_TICK_S)
        except BaseException:
            with suppress(LetiError):
                self._ask_to_stop()
            raise
        return is_stopped

    def _look(self, claims: Claims) -> None:
        """See which workers there are, unless the scheduler is away for the moment."""
        if self._client.status == "closed":  # it was tried again and again
            raise DeviceError(
                f"the Dask scheduler at {self._cluster} is gone; everything measured is kept: start it and its workers "
                "again, and then the same command"
            )
        if not claims.are_sure and claims.take([[runner_key(self.work.campaign)]]) != [True]:  # it stood still for long
            raise CampaignRunningError(
                f"the campaign {self.work.name!r} was taken over by another host while this one stood still; see how "
                "far it is with 'leti-opt campaign status'"
            )
        if self._client.status == "running":
            if self._client.scheduler_comm is not self._subscribed:  # another scheduler knows nothing of it
                self._subscribed = self._client.scheduler_comm
                self._client.subscribe_topic(topic_of(self._run), self._heard)
            self._give_up_missing()
            self._start_new()

    def _ask_to_stop(self) -> None:
        self._is_stopping = True
        self.store.add_event(self.work.campaign, STOP, self._run)

    def _start_new(self) -> None:
        """Start a task for every device that a worker has and that has none yet: also on hosts that came later.

        Each task is bound to its worker. Left to choose, Dask would queue it behind another one that holds the same
        resource for days.
        """
        for address, there in workers_of(self._client).items():
            for entry in self.entries:
                # One that failed is not tried again and again: it counts as started.
                here = [one for one in self._pullings if one.entry == entry and one.worker == address]
                started = sum(1 for one in here if not one.is_killed)
                for _ in range(int(there.get(str(entry.resource), 0)) - started):
                    pulling = _Pulling(entry, address)
                    self._replace_lost(pulling)
                    self._pullings.append(pulling)
                    threading.Thread(target=self._pull, args=(pulling,), daemon=True, name=entry.uri).start()

    def _replace_lost(self, pulling: _Pulling) -> None:
        """A new task takes the place of one whose worker died: a worker that was started again has a new address."""
        entry = pulling.entry
        lost = next((one for one in self._pullings if one.entry == entry and one.is_lost and not one.is_done), None)
        if lost is not None:
            lost.is_done = True
            with self._lock:
                pulling.row, lost.row = lost.row, None
            self.events.add(NOTE, f"the worker with {entry.uri} is back, it goes on", entry.uri)

    def _pull(self, pulling: _Pulling) -> None:
        """Have one device's task done on its worker, and keep what became of it."""
        try:
            fault = worker_fault(self._client, pulling.worker)
            row, error = self._pulled(pulling) if fault is None else (None, fault)
        except deaths():  # its worker died again and again, or the scheduler forgot it
            pulling.is_killed = True  # another task takes its place when the worker is back
            return
        except BaseException as failed:  # noqa: BLE001  # told in the summary; the other devices go on
            row, error = None, failure_text(failed, pulling.worker)
        if error is None and row is not None and row.lacking and not self._is_stopping:
            # It had not heard of this process for long, which stood still; it is started again.
            pulling.is_killed = True
            return
        if pulling.lost_since or self._is_over:  # nobody waits for it any more, and the store may be closed
            return
        with self._lock:
            pulling.row, pulling.error = row or pulling.row, error
        if error is not None:
            self.events.add(OUT, error, _uri(pulling))
        pulling.is_done = True

    def _pulled(self, pulling: _Pulling) -> tuple[ProgressRow | None, str | None]:
        from joblib import Parallel, delayed, parallel_config

        entry = pulling.entry
        number = self._pullings.index(pulling)
        task = PullTask(self.work, entry.uri, self.store, self._run, number, self.retry_unstable)
        # As bytes it travels within the task; joblib would leave a large object on one worker, which may die.
        packed = pickle.dumps(task)
        bound = {"resources": {entry.resource: 1}, "workers": [pulling.worker]}
        with parallel_config(backend=dask_backend(self._client, **bound)):
            [found] = Parallel(n_jobs=1)([delayed(pull)(packed)])
        told: tuple[ProgressRow | None, str | None] = found
        return told

    def _give_up_missing(self) -> None:
        """Note the tasks whose workers are gone; leave a device out when its worker has been gone for too long."""
        there = workers_of(self._client)
        for pulling in self._pullings:
            uri = pulling.entry.uri
            if pulling.is_done:
                continue
            if pulling.worker in there:
                if pulling.lost_since:  # under its old address, so that Dask gives it the task again
                    pulling.lost_since = 0.0
                    self.events.add(NOTE, f"the worker with {uri} is back, it goes on", uri)
            elif not pulling.lost_since:
                pulling.lost_since = time.monotonic()
                self.events.add(NOTE, f"the worker with {uri} is gone; it is waited for", uri)
            elif time.monotonic() - pulling.lost_since > self.work.execution.patience_h * 3600:
                pulling.error = f"no worker with the resource {pulling.entry.resource} has been there for too long"
                pulling.is_done = True

    def _refuse_without_workers(self) -> None:
        """Refuse to start where a device has no worker; one that is just being started is waited for."""
        ends = time.monotonic() + WORKERS_WITHIN_S
        while (missing := self._missing()) and time.monotonic() < ends:
            time.sleep(_TICK_S)
        if missing:
            there = resources_of(self._client)
            listed = ", ".join(f"{name}={count:g}" for name, count in sorted(there.items())) or "none"
            raise DeviceError(
                f"no worker of the cluster has the resource {missing[0]}; the workers have: {listed}; start one on the "
                f'host of the device with: dask worker ADDRESS --resources "{missing[0]}=1"'
            )

    def _missing(self) -> list[str]:
        there = resources_of(self._client)
        return [str(entry.resource) for entry in self.entries if not int(there.get(str(entry.resource), 0))]

    def _heard(self, event: Any) -> None:
        _, told = event
        pulling = self._pullings[told["number"]]
        with self._lock:
            if not pulling.is_done:
                pulling.row = ProgressRow(**told["row"])


def _uri(pulling: _Pulling) -> str:
    return pulling.row.uri if pulling.row else pulling.entry.uri
