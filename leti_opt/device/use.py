"""What a device's time went into."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

TIMED_RUNS = "timed runs"
INITIALIZATION = "initialization"
TRANSFER = "transfer"
COOLING = "cooling"
FAILING = "failing"
WAITING_FOR_BUILD = "waiting for a build"
WAITING_FOR_WORK = "waiting for work"


class DeviceUse:
    """Seconds by kind of use. Several threads may add to it.

    Kinds are ``timed runs``, ``initialization`` (a program's start, with first run and warm-up), ``transfer``,
    ``cooling`` and ``failing``; a pool of devices adds ``waiting for a build`` and ``waiting for work``.

    >>> use = DeviceUse()
    >>> use.add("cooling", 2.5)
    >>> use.seconds()
    {'cooling': 2.5}
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._open: dict[object, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def add(self, kind: str, seconds: float) -> None:
        """Count so many seconds in."""
        with self._lock:
            self._seconds[kind] += seconds

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        """Count the time that the context takes in, also where it ends with an error."""
        start, mark = self._clock(), object()
        with self._lock:
            self._open[mark] = (kind, start)
        try:
            yield
        finally:
            with self._lock:
                del self._open[mark]
                self._seconds[kind] += self._clock() - start

    def seconds(self) -> Mapping[str, float]:
        """Seconds of every kind so far, by name; what is going on right now counts, too."""
        with self._lock:
            found = self._seconds.copy()
            for kind, start in self._open.values():
                found[kind] += self._clock() - start
        return dict(sorted(found.items()))
