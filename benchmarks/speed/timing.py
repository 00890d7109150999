"""What the benchmarks of speed share: seconds of repeats, the machine's load, one core, memory of processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

ALL_CELLS = 423_624
"""Of NAS-Bench-101."""


def seconds_of(action: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each repeat, by the clock on the wall."""
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        samples.append(time.perf_counter() - start)
    return samples


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process to one of the cores that it may use."""
    process = psutil.Process()
    cores = process.cpu_affinity()
    process.cpu_affinity(cores[-1:])
    try:
        yield
    finally:
        process.cpu_affinity(cores)


def load() -> str:
    """The machine's load average over one minute."""
    return f"{psutil.getloadavg()[0]:.1f}"


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and all below it; pages that they share count for each, ended ones for nothing."""
    total = 0
    try:
        every = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in every:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
