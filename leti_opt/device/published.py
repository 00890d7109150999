"""Devices whose latencies others measured and published: no hardware is needed, and *replayed* is what they say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import (
    InfeasibleError,
    InvalidDeviceUriError,
    InvalidModelError,
    StatisticUnavailableError,
    did_you_mean,
)
from leti_opt.network.layer_graph import LayerGraph

DATA_FILE = Path(__file__).with_name("published_data") / "help_nas_bench_201.npz"
"""Made by ``tools/make_published_data.py``; where it comes from, and its licence, lie beside it."""

COLLECTION = "help/"
"""What the addresses of these devices begin with."""

LATENCY = "latency_ms/"
CELLS_OF_NETWORK = "cells_of_this_network"
LOWEST_OF_CELLS = "lowest_of_these_cells"
HIGHEST_OF_CELLS = "highest_of_these_cells"

_SOURCE = "HELP (github.com/HayeonLee/HELP, commit 45f70eb)"
_PREFIX_DIGITS = 16


def published_names() -> tuple[str, ...]:
    """Addresses of the published devices, such as ``help/pixel3``. Reads their names alone, none of their figures."""
    with np.load(DATA_FILE, allow_pickle=False) as file:
        return tuple(COLLECTION + name for name in file["device"].tolist())


def digest_prefix(digest: str) -> int:
    """What a network is found by: the first 8 bytes of its layer graph's digest, as a number.

    >>> digest_prefix("00000000000000ff" + 48 * "0")
    255
    """
    return int(digest[:_PREFIX_DIGITS], 16)


class PublishedDevice(Device):
    """One device of HELP (Lee et al., 2021), for the networks of NAS-Bench-201.

    It knows the stacked networks that ``NetworkConfig.nasbench201()`` makes of the space's 15,284 connected cells. A
    device whose name ends in a batch size (``help/1080ti_32``) knows those of that ``batch_size``. Networks are found
    by the digest of their layer graph, so it does not matter what would turn them into a file.

    The source has one figure a cell. It does not say how many runs stand behind it, how they spread, or whether it is
    their mean; it is given as a mean without count and spread, so that no rule of stability can be checked. The
    published networks were not pruned: cells that make one network when pruned answer with the median of their figures,
    and the session's metrics say how many they are and how far apart.

    It uses nothing physical and may be used by many threads at once, so it names no resources to be locked.

    Args:
        name: its address, such as ``help/pixel3``.

    Raises:
        InvalidDeviceUriError: no such device.

    >>> PublishedDevice("help/pixel3").identity.name
    'pixel3 (HELP) [REPLAYED]'
    """

    needs_file = False
    watched = False
    default_min_runs = 1

    def __init__(self, name: str) -> None:
        known = published_names()
        if name not in known:
            raise InvalidDeviceUriError(f"there is no published device {name!r}; {did_you_mean(name, known)}")
        self._address = name
        self._name = name.removeprefix(COLLECTION)
        self.uri = f"replay:{name}"

    @cached_property
    def identity(self) -> DeviceIdentity:
        """The published device, where its figures come from, and the SHA-256 of the file that ships them."""
        content = hashlib.sha256(DATA_FILE.read_bytes()).hexdigest()
        return DeviceIdentity(
            kind="replay",
            hardware=f"{self._name} (HELP)",
            runtime=f"{_SOURCE}, data {content}",
            runner="replay",
            delegate="",
            origin="replayed",
        )

    @property
    def epoch(self) -> DeviceEpoch:
        """A published table does not change: always the same."""
        return DeviceEpoch(system_build="published table")

    @property
    def resources(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def check_statistic(self, statistic: str) -> None:
        """Refuse everything but the mean: the source has one figure a cell.

        Raises:
            StatisticUnavailableError: another statistic.
        """
        if statistic != "mean":
            raise StatisticUnavailableError(
                f"{self._address} has one figure a cell and no {statistic}; ask for the statistic 'mean'"
            )

    def load(self, model: MeasurableModel) -> Session:
        """Look a network up.

        Raises:
            InfeasibleError: it is not in the table; the message says which networks are.
            InvalidModelError: its layers are not known.
        """
        if model.layer_graph is None:
            raise InvalidModelError(
                f"{model.name} has no layer graph, and {self._address} is looked up by one; "
                f"it holds {self._table.networks}; measure files on a device such as host-cpu"
            )
        figures_ms = self._table.figures_ms(model.layer_graph)
        if figures_ms.size == 0:
            raise InfeasibleError(
                f"{model.name} is not in the table of {self._address}; it holds {self._table.networks}"
            )
        return _PublishedSession(figures_ms)

    @cached_property
    def _table(self) -> _Table:
        with np.load(DATA_FILE, allow_pickle=False) as file:
            place = file["device"].tolist().index(self._name)
            return _Table(
                batch_size=int(file["batch_size"][place]),
                digest_prefix=file["digest_prefix"],
                network=file["network"],
                latency_ms=file[LATENCY + self._name],
            )


@dataclass(frozen=True)
class _Table:
    """The figures of one device.

    Args:
        batch_size: images a run.
        digest_prefix: what each network is found by at a batch size of 1, ascending.
        network: for each cell the position of its network.
        latency_ms: for each cell its figure; NaN where it was not measured.
    """

    batch_size: int
    digest_prefix: NDArray[np.uint64]
    network: NDArray[np.uint16]
    latency_ms: NDArray[np.float32]

    @property
    def networks(self) -> str:
        """Which networks it holds, for a message."""
        batch = "" if self.batch_size == 1 else f"batch_size={self.batch_size}"
        return f"the networks that NetworkConfig.nasbench201({batch}) makes of NAS-Bench-201's cells, and no others"

    def figures_ms(self, graph: LayerGraph) -> NDArray[np.float64]:
        """The figure of each cell that stands for this network; none if it is not in the table."""
        if graph.batch_size != self.batch_size:
            return np.empty(0)
        single = graph if graph.batch_size == 1 else replace(graph, batch_size=1)
        wanted = np.uint64(digest_prefix(single.digest))
        place = int(np.searchsorted(self.digest_prefix, wanted))
        if place == len(self.digest_prefix) or self.digest_prefix[place] != wanted:
            return np.empty(0)
        figures: NDArray[np.float64] = self.latency_ms[self.network == place].astype(np.float64)
        measured: NDArray[np.float64] = figures[~np.isnan(figures)]
        return measured


def shared_figure_text(metrics: Sequence[Metric]) -> str | None:
    """What to say beside a latency that stands for several published cells; None where it stands for one.

    >>> shared_figure_text([Metric(CELLS_OF_NETWORK, 1.0, "cells", "HELP")])
    >>> ends = [Metric(LOWEST_OF_CELLS, 3.0, "ms", "HELP"), Metric(HIGHEST_OF_CELLS, 4.25, "ms", "HELP")]
    >>> shared_figure_text([Metric(CELLS_OF_NETWORK, 12.0, "cells", "HELP"), *ends])
    'median of the figures of 12 cells that make this network, 3.000 to 4.250 ms'
    """
    values = {metric.name: metric.value for metric in metrics}
    cells = values.get(CELLS_OF_NETWORK, 1)
    if cells <= 1:
        return None
    ends = f"{values[LOWEST_OF_CELLS]:.3f} to {values[HIGHEST_OF_CELLS]:.3f} ms"
    return f"median of the figures of {cells:.0f} cells that make this network, {ends}"


class _PublishedSession(Session):
    def __init__(self, figures_ms: NDArray[np.float64]) -> None:
        self._figures_ms = figures_ms

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:  # noqa: ARG002
        if n < 1:
            raise ValueError(f"a session makes 1 run or more, not {n}")
        return RunBatch(count=None, mean_ms=float(np.median(self._figures_ms)))

    def metrics(self) -> tuple[Metric, ...]:
        """How many cells stand for this network, and, of several, the ends of their figures."""
        cells = Metric(CELLS_OF_NETWORK, float(self._figures_ms.size), "cells", _SOURCE)
        if self._figures_ms.size == 1:
            return (cells,)
        return (
            cells,
            Metric(LOWEST_OF_CELLS, float(self._figures_ms.min()), "ms", _SOURCE),
            Metric(HIGHEST_OF_CELLS, float(self._figures_ms.max()), "ms", _SOURCE),
        )
