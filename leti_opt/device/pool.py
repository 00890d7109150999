"""Devices that share work: each has a thread that pulls it, and one that fails is set aside until it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from leti_opt.device.device import Device
from leti_opt.device.pool_work import Seat, State, Task, end, unexpected
from leti_opt.device.use import FAILING, WAITING_FOR_BUILD, WAITING_FOR_WORK
from leti_opt.errors import DeviceError, InvalidInputError

Result = TypeVar("Result")

_LOGGER = logging.getLogger("leti_opt")
_AHEAD = 2
"""Networks built ahead for each device."""


@dataclass(frozen=True)
class PoolPatience:
    """How long a pool puts up with its devices.

    Args:
        tries: how often one piece of work may fail by devices' faults, and how often in a row a device may fail that
            answers all the same; then the work ends with its error, and the device is left out for good.
        back_within_s: work whose devices are all away waits so long for one of them.
        pause_s: before the first look whether a device is back; it doubles from look to look.
        longest_pause_s: where doubling ends.

    Raises:
        InvalidInputError: a number is out of range.
    """

    tries: int = 5
    back_within_s: float = 900.0
    pause_s: float = 1.0
    longest_pause_s: float = 30.0

    def __post_init__(self) -> None:
        if self.tries < 1 or not self.back_within_s >= 0 or not 0 < self.pause_s <= self.longest_pause_s:
            raise InvalidInputError(f"a pool needs 1 try or more and pauses above 0 s, not {self}")


@dataclass(frozen=True)
class DeviceReport:
    """What became of one device's time.

    Args:
        uri: the device.
        state: ``ready``; ``away`` while it is set aside; ``out`` once it is left out for good.
        done: pieces of work that it did.
        failed: those that ended by its fault and went back to the others.
        seconds: by kind of use (:mod:`leti_opt.device.use`).
        fault: the last one; empty if there was none.
    """

    uri: str
    state: State
    done: int
    failed: int
    seconds: Mapping[str, float]
    fault: str = ""


class DevicePool:
    """Shares work out among devices, and takes it back from those that fail.

    Work is a callable that is handed a device. The first device that is free and may do it takes it. When it raises a
    DeviceError, the device is set aside, the work goes back to the head of the queue, and the device is looked at
    until it answers again. Any other exception is the answer to the work.

    Args:
        devices: what works; they are closed by who opened them.
        patience: with devices that fail.
        notify: told in one line when a device is set aside, comes back or is left out.
        away: places of the devices that are known to be away now.
        clock: for tests.

    >>> from leti_opt.device.open_device import open_device
    >>> with DevicePool([open_device("replay:formula")]) as pool:
    ...     pool.submit(lambda device: device.uri, among=[0]).result()
    'replay:formula'
    """

    def __init__(
        self,
        devices: Sequence[Device],
        patience: PoolPatience | None = None,
        notify: Callable[[str], None] = _LOGGER.warning,
        away: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience = patience or PoolPatience()
        self.notify = notify
        self._clock = clock
        self._seats = [Seat(device, place) for place, device in enumerate(devices)]
        for place in away:
            self._seats[place].state, self._seats[place].away_since = "away", clock()
        self._queue: deque[Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # Builds share this host's cores anyway; one at a time leaves the other to what talks to the devices.
        self._builders = ThreadPoolExecutor(1, thread_name_prefix="build ahead")
        self._threads = [
            threading.Thread(target=self._serve, args=(seat,), name=f"pool {seat.device.uri}", daemon=True)
            for seat in self._seats
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        work: Callable[[Device], Result],
        among: Collection[int] | Callable[[], Collection[int]],
        prepare: Callable[[], object] | None = None,
        is_patient: bool = True,
        counts: bool = True,
    ) -> Future[Result]:
        """Have a piece of work done by one of some devices.

        Args:
            work: called in the thread of the device that takes it.
            among: places of the devices that may do it; a function where that may change (then call :meth:`wake`).
            prepare: called ahead in another thread, so that no device waits for a build. What it raises is left for
                ``work`` to find.
            is_patient: False to end with the first device's fault in place of waiting for a device.
            counts: whether it is a piece of work that the report counts as done.

        Returns:
            The future: ``work``'s result, or its exception. A DeviceError says that no device could do it.
        """
        task = Task(work, among if callable(among) else lambda: among, prepare, is_patient, counts)
        with self._changed:
            if self._closed:
                raise InvalidInputError("this pool is closed; open another one")
            self._queue.append(task)
            self._build_ahead()
            self._changed.notify_all()
        self._end_stranded()
        return task.future

    def wake(self) -> None:
        """Look again who may do what is queued."""
        with self._changed:
            self._changed.notify_all()

    def state(self, place: int) -> State:
        """Whether a device is ready, away, or left out."""
        return self._seats[place].state

    def report(self) -> list[DeviceReport]:
        """What became of each device's time so far."""
        with self._changed:
            return [
                DeviceReport(
                    seat.device.uri,
                    seat.state,
                    seat.done,
                    seat.failed,
                    seat.device.use.seconds(),
                    "" if seat.fault is None else str(seat.fault),
                )
                for seat in self._seats
            ]

    def close(self) -> None:
        """Finish measurements in progress, end waits for devices, and drop the rest. May be called twice."""
        with self._changed:
            self._closed = True
            dropped = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for seat in self._seats:
            seat.device.interrupt()
        for task in dropped:
            end(task, DeviceError("the pool was closed before this was measured; start again, everything is kept"))
        for thread in self._threads:
            thread.join()
        self._builders.shutdown()

    def __enter__(self) -> DevicePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, seat: Seat) -> None:
        if seat.state == "away":
            self._wait_until_back(seat)
        while (task := self._next(seat)) is not None:
            self._do(seat, task)
            if seat.state == "away":
                self._wait_until_back(seat)
            if seat.state == "out":
                self._end_stranded()
                return

    def _next(self, seat: Seat) -> Task | None:
        """The first task that this device may do; None once the pool is closed."""
        with seat.device.use.timing(WAITING_FOR_WORK), self._changed:
            while not self._closed:
                task = next((task for task in self._queue if seat.place in task.among()), None)
                if task is None:
                    self._changed.wait()
                    continue
                self._queue.remove(task)
                self._start_build(task)
                self._build_ahead()
                if task.failures or task.future.set_running_or_notify_cancel():
                    return task
            return None

    def _do(self, seat: Seat, task: Task) -> None:
        if task.build is not None:
            with seat.device.use.timing(WAITING_FOR_BUILD):
                wait([task.build])
        try:
            result = task.work(seat.device)
        except DeviceError as error:
            self._failed(seat, task, error)
        except BaseException as error:  # noqa: BLE001  # the future hands it to whoever asked, a SystemExit, too
            seat.in_row = 0
            task.future.set_exception(error)
        else:
            seat.in_row = 0
            seat.done += task.counts
            task.future.set_result(result)

    def _failed(self, seat: Seat, task: Task, error: DeviceError) -> None:
        task.failures += 1
        with self._changed:
            seat.failed += 1
            seat.in_row += 1
            seat.fault = error
            seat.state = "away" if seat.in_row < self.patience.tries else "out"
            seat.away_since = self._clock()
            ended = not task.is_patient or task.failures >= self.patience.tries or self._closed
            if not ended:
                self._queue.appendleft(task)
            self._changed.notify_all()
        if seat.state == "out":
            self._tell(f"{seat.device.uri} failed {seat.in_row} times in a row and is left out from now on: {error}")
        else:
            self._tell(f"{seat.device.uri} is set aside: {error}")
        if ended:
            end(task, error)

    def _wait_until_back(self, seat: Seat) -> None:
        pause_s = min(self.patience.pause_s * 2 ** max(seat.in_row - 1, 0), self.patience.longest_pause_s)
        with seat.device.use.timing(FAILING):
            while True:
                self._end_stranded()
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, pause_s):
                        return
                try:
                    seat.device.contact()
                except Exception as error:  # noqa: BLE001  # whatever it is, a thread that ended would never look again
                    seat.fault = error if isinstance(error, DeviceError) else unexpected(seat.device, error)
                    pause_s = min(2 * pause_s, self.patience.longest_pause_s)
                else:
                    break
        with self._changed:
            seat.state = "ready"
        self._tell(f"{seat.device.uri} is back after {self._clock() - seat.away_since:.1f} s")

    def _tell(self, line: str) -> None:
        try:
            self.notify(line)
        except Exception:  # a closed error stream, for instance: no reason for a device to stop
            _LOGGER.exception("nobody could be told: %s", line)

    def _end_stranded(self) -> None:
        """End the work that no device will do: those that may are left out, or have been away for too long."""
        with self._changed:
            stranded = [task for task in self._queue if not self._may_be_done(task)]
            for task in stranded:
                self._queue.remove(task)
        for task in stranded:
            faults = [fault for place in sorted(task.among()) if (fault := self._seats[place].fault) is not None]
            end(task, faults[-1] if faults else DeviceError("none of the devices can be reached; connect one"))

    def _may_be_done(self, task: Task) -> bool:
        oldest = self._clock() - self.patience.back_within_s
        seats = [self._seats[place] for place in task.among()]
        return any(
            seat.state == "ready" or (task.is_patient and seat.state == "away" and seat.away_since > oldest)
            for seat in seats
        )

    def _build_ahead(self) -> None:
        """Start what the devices that are ready will take next, whatever waits before it for one that is away."""
        left = {seat.place: _AHEAD for seat in self._seats if seat.state == "ready"}
        for task in self._queue:
            if not left:
                return
            places = [place for place in task.among() if place in left]
            if places:
                place = max(places, key=left.__getitem__)
                left[place] -= 1
                if not left[place]:
                    del left[place]
                self._start_build(task)

    def _start_build(self, task: Task) -> None:
        if task.prepare is not None and task.build is None:
            task.build = self._builders.submit(task.prepare)
