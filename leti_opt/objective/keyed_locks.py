"""A lock for each thing that only one thread at a time may work on."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from weakref import WeakValueDictionary


class KeyedLocks:
    """Hands out one lock a key, so that threads which ask for one network at once measure it once.

    A lock that nobody holds or waits for any more is forgotten.

    >>> locks = KeyedLocks()
    >>> one = locks.of("a")
    >>> one is locks.of("a"), one is locks.of("b")
    (True, False)
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    def of(self, key: Hashable) -> threading.Lock:
        """The lock of a key."""
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())
