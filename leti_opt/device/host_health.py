"""What else this host does: other processes' work, stolen time, clocks. What moves a latency besides the network."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from leti_opt.device.measurement import Metric

_BUSY_SHARE = 0.1
_CPU_FOLDER = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class BusyProcess:
    """A process that used a good part of a core.

    Args:
        name: of its program.
        pid: its number.
        cores: how much it used, in cores.
    """

    name: str
    pid: int
    cores: float


@dataclass(frozen=True)
class HostActivity:
    """What a host did besides measuring, over a stretch of time.

    Args:
        seconds: how long it was watched.
        others_cores: cores that other processes used; 0.5 is half a core.
        steal_cores: cores that the hypervisor gave to other machines.
        busy: other processes with a tenth of a core or more, the busiest first; empty where they were not looked at.
    """

    seconds: float
    others_cores: float
    steal_cores: float
    busy: tuple[BusyProcess, ...] = ()


class HostWatch:
    """Counts other processes' work from its making on.

    Args:
        own_pids: processes that do the measuring, besides this one.
    """

    def __init__(self, own_pids: tuple[int, ...] = ()) -> None:
        self._own = (os.getpid(), *own_pids)
        self._start = time.monotonic()
        self._busy_s, self._steal_s = _host_times_s()
        self._own_s = self._own_times_s()

    def activity(self) -> HostActivity:
        """Everything since the beginning."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        busy_s, steal_s = _host_times_s()
        others_s = (busy_s - self._busy_s) - (self._own_times_s() - self._own_s)
        return HostActivity(seconds, max(0.0, others_s) / seconds, (steal_s - self._steal_s) / seconds)

    def _own_times_s(self) -> float:
        return sum(_process_s(pid) for pid in self._own)


def observe_host(seconds: float, own_pids: tuple[int, ...] = ()) -> HostActivity:
    """Watch this host for a while and name the processes that keep it busy."""
    watch = HostWatch(own_pids)
    before = _all_processes_s()
    time.sleep(seconds)
    activity = watch.activity()
    after = _all_processes_s()
    found = [
        BusyProcess(name, pid, (used_s - before[pid][1]) / activity.seconds)
        for pid, (name, used_s) in after.items()
        if pid in before and pid not in (os.getpid(), *own_pids)
    ]
    busy = sorted((process for process in found if process.cores >= _BUSY_SHARE), key=lambda one: -one.cores)
    return HostActivity(activity.seconds, activity.others_cores, activity.steal_cores, tuple(busy))


def host_metrics(activity: HostActivity | None) -> tuple[Metric, ...]:
    """Load, other processes, stolen time, clocks and governor, as far as this host reveals them."""
    found = [Metric("load_average_1min", os.getloadavg()[0], "processes", "os.getloadavg")]
    if activity is not None:
        found.append(Metric("other_processes", activity.others_cores, "cores", "/proc/stat"))
        found.append(Metric("steal", activity.steal_cores, "cores", "/proc/stat"))
    clock_mhz = _clock_mhz()
    if clock_mhz is not None:
        found.append(Metric("clock", clock_mhz, "MHz", "cpufreq/scaling_cur_freq"))
    for governor, cores in sorted(_governors().items()):
        found.append(Metric(f"governor_{governor}", float(cores), "cores", "cpufreq/scaling_governor"))
    return tuple(found)


def _host_times_s() -> tuple[float, float]:
    """Seconds that all cores were busy, and that were stolen, since the host started."""
    import psutil

    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    steal_s = getattr(times, "steal", 0.0)
    # A guest's time is counted in user time already.
    everything_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return everything_s - idle_s - steal_s, steal_s


def _process_s(pid: int) -> float:
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _all_processes_s() -> dict[int, tuple[str, float]]:
    import psutil

    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            found[process.pid] = (str(process.info["name"]), float(times.user + times.system))
    return found


def _clock_mhz() -> float | None:
    clocks = [_read(path) for path in _CPU_FOLDER.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")]
    known = [float(text) / 1e3 for text in clocks if text]
    return sum(known) / len(known) if known else None


def _governors() -> Counter[str]:
    texts = (_read(path) for path in _CPU_FOLDER.glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return Counter(text for text in texts if text)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
