"""Which of this host's cores a process may use. The one place that knows that not every system says so."""

from __future__ import annotations

import os


def usable_cores() -> list[int]:
    """Numbers of the cores, in order; all of them where the system cannot bind a process to some (macOS).

    >>> usable_cores() == sorted(usable_cores())
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
