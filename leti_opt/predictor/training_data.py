"""What predictors learn from: the cells of a campaign's table or of a store, with one device's latencies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidDeviceUriError, InvalidInputError, NotFoundError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.campaign_table import CampaignTable
from leti_opt.predictor.training_story import TrainingStory as TrainingStory

if TYPE_CHECKING:
    from leti_opt.device.device import DeviceEpoch, DeviceIdentity
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.store.latency_store import LatencyStore

_NO_LATENCY = ("unstable", "infeasible")
_USUAL_RUNS = 300


@dataclass(frozen=True)
class TrainingData:
    """Cells with their latencies; unstable and infeasible ones are not among them.

    Args:
        cells: pruned, in canonical order.
        latency_ms: mean latency of each, in milliseconds.
        network: how they became networks.
        story: where the figures come from.
        left_out: how many networks have no latency, by why.
    """

    cells: ArchitectureTable
    latency_ms: NDArray[np.float64]
    network: NetworkConfig
    story: TrainingStory
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.cells)


def campaign_data(path: str | Path, network: NetworkConfig, device: str | None = None) -> TrainingData:
    """What a campaign exported (``latencies.parquet``) of one network on one device.

    Args:
        path: the file.
        network: whose rows to take.
        device: what its columns are called; may be left out where the file has one.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no campaign's table, or has no such network or device, or no latency of them.
    """
    file = Path(path)
    table = CampaignTable.read(file)
    name = table.device(device)
    rows = table.rows_of(network)
    statuses, latency_ms = table.statuses(name, rows), table.latency_ms(name, rows)
    known = np.isfinite(latency_ms)
    if not known.any():
        raise InvalidInputError(f"{file} has no latency of {name} in this network; run the campaign, and export again")
    origin = " and ".join(sorted({str(status) for status in statuses[known]}))
    story = TrainingStory(table.device_words(name, origin), origin, int(known.sum()), file.name)
    left_out = {word: int((statuses == word).sum()) for word in _NO_LATENCY if (statuses == word).any()}
    return _in_order(TrainingData(table.cells(rows[known]), latency_ms[known], network, story, left_out))


def campaign_devices(path: str | Path) -> list[str]:
    """What the columns of the devices are called in a campaign's table.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no campaign's table.
    """
    return CampaignTable.read(Path(path)).devices


def campaign_network(path: str | Path) -> NetworkConfig:
    """The network of a campaign's table that has only one.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no campaign's table, it has several networks, or does not tell how this one is set.
    """
    return CampaignTable.read(Path(path)).network()


def store_data(store: LatencyStore, device: str, network: NetworkConfig) -> TrainingData:
    """What a store holds of one network on one device, by the usual protocol. The device is not contacted.

    Args:
        store: the store.
        device: URI of the device.
        network: the network.

    Raises:
        NotFoundError: the store has no results of this device.
        InvalidInputError: it has no latency of this network there.
        InvalidDeviceUriError: there is no such device.
    """
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.network.rendering import renderer_version
    from leti_opt.store.standings import State

    protocol = MeasurementProtocol()
    identity, epoch, min_runs = _known_device(store, device, protocol)
    renderer = renderer_version(network.precision, "auto")
    found = store.standings(identity, epoch, network.digest, renderer, protocol, min_runs, figures=True, cells=True)
    rows = np.flatnonzero(found.states == State.MEASURED)
    if not rows.size:
        raise InvalidInputError(
            f"the store {store.url} has no latency of {device} in this network; name the one that was measured "
            "with --network and --set"
        )
    assert found.cells is not None, "they were asked for"
    assert found.figures is not None, "they were asked for"
    latency_ms = found.figures["mean_ms"].to_numpy()[rows].astype(np.float64)
    story = TrainingStory(identity.name, identity.origin, len(rows), store.url)
    counted = {"unstable": State.UNSTABLE, "infeasible": State.INFEASIBLE}
    left_out = {word: number for word, state in counted.items() if (number := int((found.states == state).sum()))}
    cells = ArchitectureTable.from_architectures(map(Architecture.parse, found.cells[rows].astype(np.str_).tolist()))
    return _in_order(TrainingData(cells, latency_ms, network, story, left_out))


def _in_order(data: TrainingData) -> TrainingData:
    """By hash, so that the same figures make the same predictor, wherever they were read."""
    order = np.argsort(data.cells.graph_hashes, kind="stable")
    return replace(data, cells=data.cells[order], latency_ms=data.latency_ms[order])


def _known_device(
    store: LatencyStore, uri: str, protocol: MeasurementProtocol
) -> tuple[DeviceIdentity, DeviceEpoch, int]:
    """A device as a store last saw it, and the runs that a measurement needs on it."""
    from leti_opt.device.open_device import open_device

    known, min_runs = store.device_of(uri), _USUAL_RUNS
    try:
        opened = open_device(uri)
        known, min_runs = store.device_of(opened.uri), protocol.runs_on(opened)
    except InvalidDeviceUriError:
        if known is None:  # one that the store has seen may be of another host, with other cores
            raise
    if known is None:
        uris = ", ".join(sorted(store.devices_by_uri())) or "none"
        raise NotFoundError(f"the store {store.url} has no results of {uri}; it knows the devices: {uris}")
    return (*known, min_runs)
