"""Everything that can go wrong with a loopback phone, each to be switched on by a test."""

from __future__ import annotations

import threading
from collections import Counter

AT_A_MOMENT = (
    "vanish_in_push",
    "vanish_in_measure",
    "vanish_in_pull",
    "reboot_in_measure",
    "oom_kill",
    "segfault",
    "hang",
    "output_cut",
    "refuses_delegation",
    "silent_fallback",
)
"""Faults that strike once each time that their moment comes."""

LASTING = ("unauthorized", "offline", "storage_full", "read_only", "wrong_abi", "hot", "battery_low")
"""Faults that last until they are switched off, or for so many looks."""

NAMES = (*AT_A_MOMENT, *LASTING, "swapped")


class Faults:
    """Which faults are on, and which struck. Threads may share it.

    >>> faults = Faults()
    >>> faults.switch_on("oom_kill", times=1, after=1)
    >>> faults.strikes("oom_kill"), faults.strikes("oom_kill"), faults.strikes("oom_kill")
    (False, True, False)
    >>> faults.fired["oom_kill"]
    1
    """

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self._left: dict[str, int] = {}
        self._after: dict[str, int] = {}
        self._lock = threading.Lock()

    def switch_on(self, name: str, times: int = 1, after: int = 0) -> None:
        """Let a fault strike ``times`` times, after ``after`` moments at which it does not."""
        if name not in NAMES:
            raise ValueError(f"unknown fault {name!r}; known: {', '.join(NAMES)}")
        with self._lock:
            self._left[name], self._after[name] = times, after

    def switch_off(self, name: str) -> None:
        """Let it strike no more."""
        with self._lock:
            self._left.pop(name, None)

    def is_on(self, name: str) -> bool:
        """Whether a fault may strike, now or later."""
        with self._lock:
            return self._left.get(name, 0) > 0

    def strikes(self, name: str) -> bool:
        """Whether it strikes at this moment; then it is counted."""
        with self._lock:
            if self._left.get(name, 0) <= 0:
                return False
            if self._after.get(name, 0) > 0:
                self._after[name] -= 1
                return False
            self._left[name] -= 1
            self.fired[name] += 1
            return True

    def shows(self, name: str) -> bool:
        """Whether a lasting fault is seen at this moment; it is counted, and goes on."""
        with self._lock:
            if self._left.get(name, 0) <= 0:
                return False
            self.fired[name] += 1
            return True

    def count(self, name: str) -> None:
        """Count a fault that was brought about in another way."""
        with self._lock:
            self.fired[name] += 1
