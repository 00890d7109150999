"""A campaign on a Dask cluster: one long task for each device, on a worker that has it, through joblib's own backend.

Workers say which devices hang on them by resources (``dask worker … --resources "pixel-7=2"``). The tasks pull networks
from the shared store, so that a worker which dies loses the measurement in progress at most.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leti_opt.campaign.claims import Claims
from leti_opt.campaign.definition import DeviceEntry
from leti_opt.campaign.events import NOTE, OUT, STARTED, EventLog, started_text
from leti_opt.campaign.local import OnTick, Outcome
from leti_opt.campaign.progress import ProgressRow
from leti_opt.campaign.remote import STOP, PullTask, pull, runner_key, topic_of
from leti_opt.campaign.work import CampaignWork
from leti_opt.errors import CampaignRunningError, DeviceError, InvalidInputError, LetiError
from leti_opt.store.latency_store import LatencyStore

RUNNER_LASTS_S = 30.0
"""Tasks stop by themselves when their runner has not been heard of for so long."""

_TICK_S = 0.5
_LOOK_EVERY_S = 5.0
_ENDING_S = 120.0


@dataclass
class _Pulling:
    """A task that waits for its worker, or runs there."""

    entry: DeviceEntry
    worker: str
    lost_since: float = 0.0
    row: ProgressRow | None = None
    error: str | None = None
    is_done: bool = False


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
        if "://" not in store.url:
            raise InvalidInputError(
                f"on a cluster the store must be one that every host reaches, not the file {store.url}; "
                'write store = "postgresql://USER:PASSWORD@HOST/NAME"'
            )
        self.work, self.entries, self.store, self.events = work, tuple(entries), store, events
        self.retry_unstable = retry_unstable
        self._client = _connected(cluster)
        self._run = uuid.uuid4().hex
        self._rows: dict[str, ProgressRow] = {}
        self._pullings: list[_Pulling] = []
        self._lock = threading.Lock()
        self._is_over = False

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
                self._client.subscribe_topic(topic_of(self._run), self._heard)
                is_stopped = self._look_after(deadline, on_tick)
        finally:
            self._is_over = True
            self._client.close()
        errors = {pulling.row.uri if pulling.row else pulling.entry.uri: pulling.error for pulling in self._pullings}
        found = {uri: error for uri, error in errors.items() if error is not None}
        rows = tuple(self.rows())
        return Outcome(rows, found, is_stopped and any(row.lacking for row in rows), time.monotonic() - start)

    def rows(self) -> list[ProgressRow]:
        """How far each device is, as far as it was heard of."""
        with self._lock:
            return [self._rows[uri] for uri in sorted(self._rows)]

    def _look_after(self, deadline: float | None, on_tick: OnTick | None) -> bool:
        """Start tasks for all the devices that the workers have, until all of them are done."""
        is_stopped = False
        looked = -_LOOK_EVERY_S
        try:
            while not self._pullings or not all(pulling.is_done for pulling in self._pullings):
                if not is_stopped and time.monotonic() - looked >= _LOOK_EVERY_S:
                    looked = time.monotonic()
                    self._give_up_missing()
                    self._start_new()
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

    def _ask_to_stop(self) -> None:
        self.store.add_event(self.work.campaign, STOP, self._run)

    def _start_new(self) -> None:
        """Start a task for every device that a worker has and that has none yet: also on hosts that came later.

        Each task is bound to its worker. Left to choose, Dask would queue it behind another one that holds the same
        resource for days.
        """
        for address, there in _workers(self._client).items():
            for entry in self.entries:
                # One that failed is not tried again and again: it counts as started.
                started = sum(1 for one in self._pullings if one.entry == entry and one.worker == address)
                for _ in range(int(there.get(str(entry.resource), 0)) - started):
                    self._replace_lost(entry)
                    pulling = _Pulling(entry, address)
                    self._pullings.append(pulling)
                    threading.Thread(target=self._pull, args=(pulling,), daemon=True, name=entry.uri).start()

    def _replace_lost(self, entry: DeviceEntry) -> None:
        """A new task takes the place of one whose worker died: a worker that was started again has a new address."""
        lost = next((one for one in self._pullings if one.entry == entry and one.lost_since and not one.is_done), None)
        if lost is not None:
            lost.is_done = True
            self.events.add(NOTE, f"the worker with {entry.uri} is back, it goes on", entry.uri)

    def _pull(self, pulling: _Pulling) -> None:
        """Have one device's task done on its worker."""
        from distributed import KilledWorker
        from joblib import Parallel, delayed, parallel_config

        entry = pulling.entry
        task = PullTask(self.work, entry.uri, self.store, self._run, self.retry_unstable)
        # As bytes it travels within the task; joblib would leave a large object on one worker, which may die.
        packed = pickle.dumps(task)
        bound = {"resources": {entry.resource: 1}, "workers": [pulling.worker]}
        try:
            with parallel_config(backend="dask", client=self._client, **bound):
                [(row, error)] = Parallel(n_jobs=1)([delayed(pull)(packed)])
        except KilledWorker:
            return  # another task takes its place when the worker is back
        except BaseException as failed:  # noqa: BLE001  # told in the summary; the other devices go on
            row, error = None, f"{type(failed).__name__}: {failed}"
        if pulling.lost_since or self._is_over:  # nobody waits for it any more, and the store may be closed
            return
        pulling.row, pulling.error = row, error
        if row is not None:
            self._heard_row(row)
        if error is not None:
            self.events.add(OUT, error, row.uri if row else entry.uri)
        pulling.is_done = True

    def _give_up_missing(self) -> None:
        """Note the tasks whose workers are gone; leave a device out when its worker has been gone for too long."""
        there = _workers(self._client)
        for pulling in self._pullings:
            if pulling.is_done or pulling.worker in there:
                continue
            if not pulling.lost_since:
                pulling.lost_since = time.monotonic()
                self.events.add(
                    NOTE, f"the worker with {pulling.entry.uri} is gone; it is waited for", pulling.entry.uri
                )
            elif time.monotonic() - pulling.lost_since > self.work.execution.patience_h * 3600:
                pulling.error = f"no worker with the resource {pulling.entry.resource} has been there for too long"
                pulling.is_done = True

    def _refuse_without_workers(self) -> None:
        there = _resources(self._client)
        missing = [str(entry.resource) for entry in self.entries if not int(there.get(str(entry.resource), 0))]
        if missing:
            listed = ", ".join(f"{name}={count:g}" for name, count in sorted(there.items())) or "none"
            raise DeviceError(
                f"no worker of the cluster has the resource {missing[0]}; the workers have: {listed}; start one on the "
                f'host of the device with: dask worker ADDRESS --resources "{missing[0]}=1"'
            )

    def _heard(self, event: Any) -> None:
        _, row = event
        self._heard_row(ProgressRow(**row))

    def _heard_row(self, row: ProgressRow) -> None:
        with self._lock:
            self._rows[row.uri] = row


def _connected(cluster: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise DeviceError("Dask is not installed; run: pip install 'leti_opt[cluster]'") from error
    try:
        return Client(cluster, timeout="20s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"no Dask scheduler answers at {cluster} ({error}); start one with: dask scheduler"
        ) from error


def _workers(client: Any) -> dict[str, Mapping[str, float]]:
    """What resources every worker has, by its address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: dict(worker["resources"]) for address, worker in workers.items()}


def _resources(client: Any) -> Mapping[str, float]:
    """How much of every resource the workers have together."""
    found: dict[str, float] = {}
    for there in _workers(client).values():
        for name, count in there.items():
            found[name] = found.get(name, 0.0) + count
    return found
