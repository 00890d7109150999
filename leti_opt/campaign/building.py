"""Networks built ahead of their measurement, in other processes and on other cores, through joblib."""

from __future__ import annotations

import logging
import math
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import TimeoutError as PoolTimeoutError
from types import TracebackType
from typing import Any

import numpy as np

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.dask_backend import dask_backend, deaths
from leti_opt.campaign.end_with import end_with
from leti_opt.device.model import MeasurableModel
from leti_opt.device.resource_lock import building_on_host
from leti_opt.errors import InfeasibleError
from leti_opt.host_cores import usable_cores
from leti_opt.network.config import NetworkConfig
from leti_opt.network.rendering import Renderer
from leti_opt.objective.build_faults import blaming_the_architecture
from leti_opt.store.cells import cell_model

Built = MeasurableModel | InfeasibleError | None
"""A network with its file or header made; or why it cannot be built; or None where the builder itself failed, so that
the network is to be built where it is needed."""

BUILD_DEADLINE_S = 900.0
"""A builder process that takes longer for its share counts as hung. It may wait for a measurement all that time."""

_IN_PROCESSES = ("loky", "multiprocessing")
_MEETINGS, _MEETING_S = 40, 0.05
_IDLE_S = 240.0  # loky ends a process that has had nothing to do for 300 s
_LOGGER = logging.getLogger("leti_opt")


class Builders:
    """Builds networks through any of joblib's backends. Several threads may ask; they take turns.

    Its processes end with this process, however that ends; joblib keeps those of loky for some minutes more. After
    :meth:`close` it may be used again.

    Args:
        backend: what :func:`joblib.parallel_config` takes: the backend's name and its settings.
        workers: how many builds go on at once.
        cores: which of this host's cores builds may use; None where each is measured on now and then: a build then
            takes one of them, when nothing is measured there.
        renderer: the way to a TFLite file.
        deadline_s: a process that takes longer counts as hung.

    >>> from leti_opt.architecture import Architecture
    >>> cells = ArchitectureTable.from_architectures([Architecture.parse("0-1,1-2:maxpool3x3")])
    >>> with Builders({"backend": "sequential"}, 1) as builders:
    ...     [built] = builders.build(cells, NetworkConfig.small())
    >>> built.name
    '0-1,1-2:maxpool3x3'
    """

    def __init__(
        self,
        backend: Mapping[str, Any],
        workers: int,
        cores: Sequence[int] | None = None,
        renderer: Renderer = "auto",
        deadline_s: float = BUILD_DEADLINE_S,
    ) -> None:
        self._faults: tuple[type[Exception], ...] = (BrokenProcessPool, PoolTimeoutError)
        if backend.get("backend") == "dask":
            self._faults = deaths()
        self._in_processes = backend.get("backend") in _IN_PROCESSES
        # joblib would take one process for none, and build in this one.
        self.workers = max(workers, 2) if self._in_processes else workers
        self.renderer = renderer
        self._backend = dict(backend)
        self._cores = None if cores is None else tuple(cores)
        self._deadline_s = deadline_s
        # Loky asks for some semaphores and an exit hook for every Parallel that is made. Of the others none is kept: an
        # idle process of a multiprocessing pool that is killed takes the pool's lock along, and all others wait.
        self._is_kept = backend.get("backend") == "loky"
        self._used_at = -math.inf
        self._turn = threading.Lock()
        self._parallel: Any = None

    def build_here(self, cells: ArchitectureTable, config: NetworkConfig) -> list[Built]:
        """The same in this thread: the first few need not wait until other processes have started."""
        return build_networks(cells, config, self.renderer, self._cores)

    def build(self, cells: ArchitectureTable, config: NetworkConfig) -> list[Built]:
        """The network of each cell, in order.

        A builder that dies or hangs, or whose disk is full, is no network's fault: it gives None.
        """
        from joblib import delayed

        owner = os.getpid() if self._in_processes else None
        parts = [part for part in np.array_split(np.arange(len(cells)), self.workers) if len(part)]
        with self._turn:
            try:
                parallel = self._started()
                found = parallel(
                    delayed(build_networks)(cells[part], config, self.renderer, self._cores, place, owner)
                    for place, part in enumerate(parts)
                )
            except self._faults as error:
                fault = f"hung for {self._deadline_s:g} s" if isinstance(error, PoolTimeoutError) else f"died ({error})"
                _LOGGER.warning("a builder %s; its networks are built where they are measured", fault)
                self._end()
                return [None] * len(cells)
            self._used_at = time.monotonic()
        return [built for of_part in found for built in of_part]

    def close(self) -> None:
        """Let go of the processes. May be called twice."""
        with self._turn:
            self._end()

    def __enter__(self) -> Builders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> Any:
        """What runs the builds. Processes start, which takes seconds, while nothing is measured on their cores."""
        parallel = self._opened()
        if self._is_kept and time.monotonic() - self._used_at > _IDLE_S:
            with building_on_host() if self._cores is None else nullcontext():
                self._meet_processes(parallel)
        return parallel

    def _meet_processes(self, parallel: Any) -> None:
        """See to it that each of loky's processes knows for whom it works, before it waits for work."""
        from joblib import delayed

        met: set[int] = set()
        for _ in range(_MEETINGS):
            met.update(parallel(delayed(_started_process)(os.getpid(), self._cores) for _ in range(self.workers)))
            if len(met) >= self.workers or os.getpid() in met:
                return

    def _opened(self) -> Any:
        from joblib import Parallel, parallel_config

        if self._parallel is not None:
            return self._parallel
        with parallel_config(**joblib_settings(self._backend)):
            made = Parallel(n_jobs=self.workers, timeout=self._deadline_s if self._in_processes else None)
        if self._is_kept:
            self._parallel = made.__enter__()
        return made

    def _end(self) -> None:
        parallel, self._parallel = self._parallel, None
        if parallel is not None:
            parallel.__exit__(None, None, None)


def joblib_settings(backend: Mapping[str, Any]) -> Mapping[str, Any]:
    """What :func:`joblib.parallel_config` is to be given for a backend.

    No array is shared through files: joblib makes a folder in shared memory for them beforehand, and a killed process
    leaves it there.
    """
    others = {name: value for name, value in backend.items() if name != "backend"}
    if backend.get("backend") == "dask":
        return {"backend": dask_backend(**others)}
    if backend.get("backend") in _IN_PROCESSES:
        return {"max_nbytes": None, "temp_folder": tempfile.gettempdir(), **backend}
    return backend


def _started_process(owner: int, cores: Sequence[int] | None) -> int:
    """Which process this is; it takes a moment, so that the others do the same meanwhile."""
    if owner != os.getpid():
        _work_for(owner, cores)
        time.sleep(_MEETING_S)
    return os.getpid()


def build_networks(
    cells: ArchitectureTable,
    config: NetworkConfig,
    renderer: Renderer,
    cores: Sequence[int] | None,
    place: int = 0,
    owner: int | None = None,
) -> list[Built]:
    """Build networks in this process, on some of its cores. What cannot be built has its reason in its place.

    Args:
        cells: what is built.
        config: how cells become networks.
        renderer: the way to a TFLite file.
        cores: which cores it may use; None for one of all: a build on several would keep measurements away from one
            while it waits for another.
        place: which one; others build at the same time.
        owner: the process on this host for which it is done; this one ends with it.
    """
    if owner is not None and owner != os.getpid():
        _work_for(owner, cores)
    if cores is None:
        usable = usable_cores()
        cores = [usable[place % len(usable)]]
    with on_cores(cores):
        return [_built(cell, config, renderer) for cell in cells]


@contextmanager
def on_cores(cores: Sequence[int] | None) -> Iterator[None]:
    """Keep this thread, and those that it starts, on some cores; None where it does not matter.

    Cores that this process may not use are left out; on a system that cannot bind threads nothing happens.
    """
    before = usable_cores()
    chosen = sorted(set(cores or ()) & set(before))
    if not chosen or not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _work_for(owner: int, cores: Sequence[int] | None) -> None:
    """Make one of joblib's processes fit to build for another process: end with it, and leave Ctrl-C to it."""
    end_with(owner)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It may have been started for others before, and be bound to what were free cores then.
    if cores and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # none of them is there
            os.sched_setaffinity(0, cores)


def _built(cell: Any, config: NetworkConfig, renderer: Renderer) -> Built:
    def build() -> MeasurableModel:
        model = cell_model(cell, config, renderer)
        if model.placed is None:
            model.prepare()
        return model

    try:
        with building_on_host():
            return blaming_the_architecture(build)
    except InfeasibleError as error:
        return error
    except (OSError, MemoryError) as error:
        _LOGGER.warning("a builder failed: %s; the network is built where it is measured", error)
        return None
