"""What runs on a worker of a cluster: the task of one device that hangs on its host."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from leti_opt.campaign.building import Builders
from leti_opt.campaign.events import EventLog
from leti_opt.campaign.local import free_cores, owner_of
from leti_opt.campaign.progress import ProgressRow
from leti_opt.campaign.pulling import DevicePuller
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device
from leti_opt.device.open_device import open_devices
from leti_opt.device.resource_lock import hold
from leti_opt.errors import DeviceError, LetiError
from leti_opt.store.latency_store import LatencyStore

STOP = "stop"
"""Kind of the event by which a runner asks its tasks to stop; the text is the run's name."""

_TELL_EVERY_S = 2.0
_DEAF_S = 90.0
_SLOW_S = 1.0


@dataclass(frozen=True, eq=False)
class PullTask:
    """What a worker is given.

    Args:
        work: the campaign's networks.
        uri: the device, as the worker's host knows it; ``android:*`` stands for one of its phones.
        store: what remembers; it travels as its URL, password included.
        run: names this run of the campaign.
        number: of the task in this run.
        retry_unstable: ask once more for the networks that the store holds as unstable.
    """

    work: CampaignWork
    uri: str
    store: LatencyStore
    run: str
    number: int
    retry_unstable: bool


def runner_key(campaign: int) -> str:
    """The claim by which a campaign's runner is known."""
    return f"campaign/{campaign}/runner"


def topic_of(run: str) -> str:
    """Where a run's tasks tell how far they are."""
    return f"leti-opt-{run}"


def pull(packed: bytes) -> tuple[ProgressRow | None, str | None]:
    """Measure on one device of this host until nothing is lacking, or until the runner stops or is gone.

    Args:
        packed: a pickled :class:`PullTask`.

    Returns:
        How far the device is, None where it could not begin; and what kept it from its work, if anything.
    """
    task: PullTask = pickle.loads(packed)
    try:
        with ExitStack() as stack:
            store = stack.enter_context(task.store)
            device = stack.enter_context(_free_device(task.uri))
            events = EventLog(store, task.work.campaign, task.work.name)
            builders = stack.enter_context(_builders(task.work, device))
            owner = owner_of(task.work.campaign, device.uri)
            puller = DevicePuller(task.work, device, store, builders, events, owner, task.retry_unstable)
            stack.enter_context(_listening(task, puller, store))
            return _pulled(puller)
    except LetiError as error:
        return None, f"{type(error).__name__}: {error}"


def _pulled(puller: DevicePuller) -> tuple[ProgressRow, str | None]:
    error = None
    try:
        puller.run()
    except LetiError as failed:
        if not puller.is_stopped:
            error = f"{type(failed).__name__}: {failed}"
    return puller.progress.row(), error


def _builders(work: CampaignWork, device: Device) -> Builders:
    """On a worker builds go to the whole cluster, wherever there is room."""
    try:
        from distributed import get_client, secede

        client = get_client()
    except (ImportError, ValueError):
        return Builders({"backend": "sequential"}, 1, free_cores([device]) or None, work.renderer)
    secede()  # this task waits most of the time, and shall not take the place of those that build
    return Builders({"backend": "dask", "client": client}, work.execution.builders or 2, None, work.renderer)


@contextmanager
def _free_device(uri: str) -> Iterator[Device]:
    """The first of this host's devices that no other task has; it is this task's as long as the context."""
    devices = open_devices(uri)
    with ExitStack() as stack:
        for device in devices:
            try:
                stack.enter_context(hold([f"puller:{device.uri}"], timeout_s=0))
            except DeviceError:
                continue
            yield stack.enter_context(device)
            return
        raise DeviceError(
            f"all devices that {uri} names here are taken by other tasks: {', '.join(one.uri for one in devices)}; "
            "start the worker with as many of the resource as there are devices"
        )


@contextmanager
def _listening(task: PullTask, puller: DevicePuller, store: LatencyStore) -> Iterator[None]:
    """Tell how far the device is, and stop it when the runner says so or has not been heard of for long."""
    ended = threading.Event()
    tell = _teller(task)  # only the task's own thread knows its worker
    # An event of this run cannot be older than the run, so all of them are looked at.
    arguments = (task, puller, store, ended, tell)
    listening = threading.Thread(target=_listen, args=arguments, daemon=True, name="listening")
    listening.start()
    try:
        yield
    finally:
        ended.set()
        listening.join()


def _listen(
    task: PullTask,
    puller: DevicePuller,
    store: LatencyStore,
    ended: threading.Event,
    tell: Callable[[ProgressRow], None],
) -> None:
    seen: Any = None
    heard_at = time.monotonic()
    last_event = 0
    while not ended.wait(_TELL_EVERY_S):
        tell(puller.progress.row())
        asked_at = time.monotonic()
        try:
            alive = [claim for claim in store.claims(runner_key(task.work.campaign)) if claim.owner == task.run]
            events = store.events(task.work.campaign, last_event, [STOP])
        except LetiError:
            alive, events = [], []
        slow_s = time.monotonic() - asked_at
        if slow_s > _SLOW_S:  # the store was away: meanwhile the runner could not be heard of
            heard_at += slow_s
        if alive and alive[0] != seen:
            seen, heard_at = alive[0], time.monotonic()
        last_event = events[-1].id if events else last_event
        if any(event.text == task.run for event in events) or time.monotonic() - heard_at > _DEAF_S:
            puller.stop()
        elif puller.is_stopped:
            puller.stop()  # its device may have gone away since, and is not waited for


def _teller(task: PullTask) -> Callable[[ProgressRow], None]:
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):
        return lambda _row: None
    topic = topic_of(task.run)

    def tell(row: ProgressRow) -> None:
        told = {"number": task.number, "row": {**asdict(row), "seconds": dict(row.seconds)}}
        worker.loop.add_callback(worker.log_event, topic, told)

    return tell
