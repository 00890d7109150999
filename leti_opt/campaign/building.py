"""Networks built ahead of their measurement, in other processes and on other cores, through joblib."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import numpy as np

from leti_opt.architecture_table import ArchitectureTable
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

_IN_PROCESSES = ("loky", "multiprocessing")
_LOGGER = logging.getLogger("leti_opt")


class Builders:
    """Builds networks through any of joblib's backends. Several threads may ask; they take turns.

    Args:
        backend: what :func:`joblib.parallel_config` takes: the backend's name and its settings.
        workers: how many builds go on at once.
        cores: which of this host's cores builds may use; None for all.
        renderer: the way to a TFLite file.

    >>> from leti_opt.architecture import Architecture
    >>> cells = ArchitectureTable.from_architectures([Architecture.parse("0-1,1-2:maxpool3x3")])
    >>> [built] = Builders({"backend": "sequential"}, 1).build(cells, NetworkConfig.small())
    >>> built.name
    '0-1,1-2:maxpool3x3'
    """

    def __init__(
        self,
        backend: Mapping[str, Any],
        workers: int,
        cores: Sequence[int] | None = None,
        renderer: Renderer = "auto",
    ) -> None:
        # joblib would take one process for none, and build in this one.
        self.workers = max(workers, 2) if backend.get("backend") in _IN_PROCESSES else workers
        self.renderer = renderer
        self._backend = dict(backend)
        self._cores = None if cores is None else tuple(cores)
        self._turn = threading.Lock()

    def build_here(self, cells: ArchitectureTable, config: NetworkConfig) -> list[Built]:
        """The same in this thread: the first few need not wait until other processes have started."""
        return build_networks(cells, config, self.renderer, self._cores)

    def build(self, cells: ArchitectureTable, config: NetworkConfig) -> list[Built]:
        """The network of each cell, in order.

        A builder that dies, or whose disk is full, is no network's fault: it gives None.
        """
        from joblib import Parallel, delayed, parallel_config

        parts = [part for part in np.array_split(np.arange(len(cells)), self.workers) if len(part)]
        try:
            with self._turn, parallel_config(**self._backend):
                found = Parallel(n_jobs=self.workers)(
                    delayed(build_networks)(cells[part], config, self.renderer, self._cores) for part in parts
                )
        except BrokenProcessPool as error:
            _LOGGER.warning("a builder died (%s); its networks are built where they are measured", error)
            return [None] * len(cells)
        return [built for of_part in found for built in of_part]


def build_networks(
    cells: ArchitectureTable, config: NetworkConfig, renderer: Renderer, cores: Sequence[int] | None
) -> list[Built]:
    """Build networks in this process, on some of its cores. What cannot be built has its reason in its place."""
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
