"""This machine's CPU, running TFLite models through LiteRT in a child process."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.host_health import HostWatch, host_metrics
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.pseudonym import pseudonym
from leti_opt.device.resource_lock import core_resource
from leti_opt.device.run_batch import RunBatch
from leti_opt.device.use import INITIALIZATION, TIMED_RUNS, TRANSFER
from leti_opt.device.weights_copy import WeightsCopy
from leti_opt.device.worker_client import WorkerClient
from leti_opt.errors import AttemptError, DeviceError, InvalidDeviceUriError, InvalidModelError, did_you_mean
from leti_opt.host_cores import usable_cores
from leti_opt.network.weights_block import open_block
from leti_opt.network.weights_outside import tensor_name_of_key

DELEGATES = ("xnnpack", "none")
DEFAULT_DEADLINE_S = 60.0
INPUT_SEED = 0
_HEADROOM = 4.0


class HostCpu(Device):
    """The CPU of this host: LiteRT in a long-lived child, one model at a time.

    Args:
        threads: threads that the runtime may use.
        delegate: ``xnnpack``, or ``none`` for the runtime's own kernels.
        cores: cores to run on; None for all that this process may use.
        deadline_s: a command to the child that takes longer counts as hung. Runs get four times their expected time on
            top of it. It is no part of the identity.

    Raises:
        InvalidDeviceUriError: an option is out of range on this machine.

    >>> HostCpu(threads=1, cores=[0]).uri
    'host-cpu?cores=0'
    """

    def __init__(
        self,
        threads: int = 1,
        delegate: str = "xnnpack",
        cores: Iterable[int] | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> None:
        available = usable_cores()
        self._cores = None if cores is None else _checked_cores(cores, available)
        usable = len(self._cores or available)
        if not 1 <= threads <= usable:
            raise InvalidDeviceUriError(f"threads must be 1 to {usable}, the cores to be used, not {threads}")
        if delegate not in DELEGATES:
            raise InvalidDeviceUriError(f"unknown delegate {delegate!r}; {did_you_mean(delegate, DELEGATES)}")
        if not (math.isfinite(deadline_s) and deadline_s > 0):
            raise InvalidDeviceUriError(f"deadline_s must be a number of seconds above 0, not {deadline_s}")
        self._threads = threads
        self._delegate = delegate
        self._deadline_s = deadline_s
        self._available = available
        self._client = WorkerClient()
        self._weights = WeightsCopy()
        self._session: _HostCpuSession | None = None
        self._is_free = True
        self.also_held: frozenset[str] = frozenset()
        self.uri = self._canonical_uri()

    def _canonical_uri(self) -> str:
        options = {
            "threads": None if self._threads == 1 else str(self._threads),
            "delegate": None if self._delegate == "xnnpack" else self._delegate,
            "cores": None if self._cores is None else format_cores(self._cores),
            "deadline_s": None if self._deadline_s == DEFAULT_DEADLINE_S else f"{self._deadline_s:g}",
        }
        query = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        return f"host-cpu?{query}" if query else "host-cpu"

    @cached_property
    def identity(self) -> DeviceIdentity:
        """CPU model, LiteRT version, delegate, threads and pinning."""
        options = [("threads", str(self._threads))]
        if self._cores is not None:
            options.append(("cores", format_cores(self._cores)))
        elif len(self._available) < (os.cpu_count() or 1):
            options.append(("affinity", format_cores(self._available)))
        return DeviceIdentity(
            kind="host-cpu",
            hardware=processor_name(),
            runtime=f"ai-edge-litert {_litert_version()}",
            runner="worker",
            delegate="xnnpack" if self._delegate == "xnnpack" else "cpu",
            options=tuple(sorted(options)),
        )

    @property
    def epoch(self) -> DeviceEpoch:
        """Kernel release and a pseudonym of this host."""
        return DeviceEpoch(system_build=platform.release(), unit=host_pseudonym())

    @property
    def resources(self) -> frozenset[str]:
        """The cores that run, those that share a physical core with them, and :attr:`also_held`."""
        cores = self._available if self._cores is None else self._cores
        return self.also_held | {core_resource(sibling) for core in cores for sibling in _siblings(core)}

    def is_prepared(self, model: MeasurableModel) -> bool:
        """Whether the network is laid out, and fits into the copy of the weights that is there; or its file is."""
        if not model.is_placed or model.placed is None:
            return model.is_rendered
        return self._weights.holds(model.placed.needs)

    def prepare(self, model: MeasurableModel) -> None:
        """Lay the network out over a block of random weights, where it can be; else render its file."""
        if model.placed is None:
            model.prepare()
        elif not self._weights.holds(model.placed.needs):
            open_block(model.placed.needs)

    def load(self, model: MeasurableModel) -> Session:
        """Load a network into the child; a session of an earlier one ends.

        Raises:
            InvalidModelError: the model's file is not there.
            InfeasibleError: LiteRT refuses it.
            AttemptError: loading crashed or hung.
            DeviceError: the child cannot be started.
            StoreError: the folder for random weights cannot be written.
        """
        if model.path is not None and not model.path.is_file():
            raise InvalidModelError(f"{model.path} is not a file; name an existing .tflite file")
        self._session = None
        with ExitStack() as files:
            if model.placed is None:
                path, input_name = files.enter_context(model.tflite_file()).absolute(), None
            else:
                with self.use.timing(TRANSFER):
                    self._let_go()
                    path, input_name = self._weights.become(model.placed, model.key), tensor_name_of_key(model.key)
            self._is_free = False
            with self.use.timing(INITIALIZATION):
                reply = self._client.load(
                    self._deadline_s + path.stat().st_size / 1e7,
                    path=str(path),
                    threads=self._threads,
                    xnnpack=self._delegate == "xnnpack",
                    cores=self._cores,
                    seed=INPUT_SEED,
                    input_name=input_name,
                )
            self._session = _HostCpuSession(self, reply, files.pop_all())
        return self._session

    def _let_go(self) -> None:
        """See to it that no interpreter has this device's copy of the weights open: its header will be another."""
        if self._is_free or self._client.pid is None:
            return
        path = self._weights.path
        try:
            asked = None if path is None else str(path)
            still_mapped = self._client.ask("unload", self._deadline_s, path=asked)["still_mapped"]
        except AttemptError:
            # The child died before or while it let go. Every figure is here already, and the next load starts another.
            still_mapped = True
        if still_mapped:
            self._client.close()
        self._is_free = True

    def close(self) -> None:
        """End the child. May be called twice; the next :meth:`load` starts another."""
        self._session = None
        self._client.close()
        self._weights.close()


class _HostCpuSession(Session):
    def __init__(self, device: HostCpu, loaded: dict[str, Any], files: ExitStack) -> None:
        self.initialization_ms = loaded["initialization_ms"]
        self._peak_is_fresh = loaded["peak_is_fresh"]
        self._device = device
        self._files = files
        self._expected_ms: float | None = None
        self._host = HostWatch(tuple(filter(None, [device._client.pid])))
        self._peak_memory_bytes: int | None = None

    def first_run(self) -> float | None:
        with self._device.use.timing(INITIALIZATION):
            self.first_run_ms = self._timed(1, 1).mean_ms
        return self.first_run_ms

    def attempt(self, n: int, warmup_runs: int) -> RunBatch:
        if warmup_runs:
            with self._device.use.timing(INITIALIZATION):
                self._timed(warmup_runs, 1)
        return self.run(n)

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        with self._device.use.timing(TIMED_RUNS):
            return self._timed(n, runs_per_sample)

    def _timed(self, n: int, runs_per_sample: int) -> RunBatch:
        if n < 1 or runs_per_sample < 1:
            raise ValueError(f"a session makes 1 run or more, not {min(n, runs_per_sample)}")
        runs_ms: list[float] = []
        if self._expected_ms is None:  # one sample tells how long to wait for the others
            runs_ms += self._run(1, runs_per_sample)
        if len(runs_ms) < n:
            runs_ms += self._run(n - len(runs_ms), runs_per_sample)
        return RunBatch.from_runs(runs_ms, runs_per_sample)

    def _run(self, n: int, runs_per_sample: int) -> list[float]:
        device = self._device
        if device._session is not self:
            raise AttemptError("this session is over: it was closed, or another model was loaded since")
        deadline_s = device._deadline_s + _HEADROOM * n * runs_per_sample * (self._expected_ms or 0.0) / 1e3
        reply = device._client.ask("run", deadline_s, n=n, runs_per_sample=runs_per_sample)
        runs_ms = [nanoseconds / 1e6 / runs_per_sample for nanoseconds in reply["samples_ns"]]
        self._expected_ms = max(runs_ms)
        self._peak_memory_bytes = reply["peak_memory_bytes"]
        return runs_ms

    def metrics(self) -> tuple[Metric, ...]:
        host = host_metrics(self._host.activity())
        if not self._peak_is_fresh or self._peak_memory_bytes is None:
            return host
        peak = Metric("peak_memory", float(self._peak_memory_bytes), "bytes", "VmHWM of the worker process")
        return (peak, *host)

    def close(self) -> None:
        if self._device._session is self:
            self._device._session = None
            self._device._let_go()
        self._files.close()


def parse_cores(text: str) -> list[int]:
    """Read a list of cores as the kernel writes it.

    Raises:
        InvalidDeviceUriError: it is no such list.

    >>> parse_cores("0,2-3")
    [0, 2, 3]
    """
    cores: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise InvalidDeviceUriError(f"{text!r} is no list of cores; write for instance cores=0 or cores=0,2-3")
        cores.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    return cores


def format_cores(cores: Iterable[int]) -> str:
    """Write a list of cores shortly; :func:`parse_cores` reads it.

    >>> format_cores([3, 0, 2])
    '0,2-3'
    """
    groups: list[list[int]] = []
    for core in sorted(set(cores)):
        if groups and groups[-1][-1] == core - 1:
            groups[-1].append(core)
        else:
            groups.append([core])
    return ",".join(f"{group[0]}-{group[-1]}" if len(group) > 1 else str(group[0]) for group in groups)


def _checked_cores(cores: Iterable[int], available: list[int]) -> list[int]:
    chosen = sorted(set(cores))
    missing = [core for core in chosen if core not in available]
    if not chosen or missing:
        raise InvalidDeviceUriError(
            f"cores {format_cores(missing) or 'none'} cannot be used; this process may use {format_cores(available)}"
        )
    return chosen


def processor_name() -> str:
    """This host's CPU, as the kernel calls it; the instruction set where it has no name, as on some ARM boards."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _litert_version() -> str:
    try:
        return metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError as error:
        raise DeviceError("LiteRT is not installed; try: pip install ai-edge-litert") from error


def host_pseudonym() -> str:
    """Tells hosts apart without telling which they are."""
    for path in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            name = path.read_text().strip()
        except OSError:
            continue
        if name:
            break
    else:
        name = platform.node()
    return pseudonym(name)


def _siblings(core: int) -> list[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return [core]
    return parse_cores(text.strip())
