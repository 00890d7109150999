"""What predictors learn from: the cells of a campaign's table or of a store, with one device's latencies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidDeviceUriError, InvalidInputError, NotFoundError, did_you_mean
from leti_opt.network.config import PRESETS, NetworkConfig
from leti_opt.search_space.definition import NAS_BENCH_201

if TYPE_CHECKING:
    import pyarrow as pa

    from leti_opt.device.device import DeviceEpoch, DeviceIdentity
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.store.latency_store import LatencyStore

_LATENCY, _STATUS = "_latency_ms", "_status"
_NO_LATENCY = ("unstable", "infeasible")
_USUAL_RUNS = 300
_DIGITS = 16
_MOST_CHANGES = 3  # more are easier to read in a file
"""Of a network's digest, as a campaign's table has them."""


@dataclass(frozen=True)
class TrainingStory:
    """Where the figures come from that a predictor learned.

    Args:
        device: what they are of, in words.
        origin: ``measured``, ``simulated``, ``replayed`` or ``imported``.
        cells: how many.
        source: the file or store.
        others: figures of other devices, which taught it what this one may be like; or a table's of pieces.
    """

    device: str
    origin: str
    cells: int
    source: str
    others: tuple[TrainingStory, ...] = ()

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made of one."""
        return cls(**{**told, "others": tuple(cls.from_dict(other) for other in told.get("others", ()))})

    @property
    def every_origin(self) -> str:
        """The origin of all figures that were learned from, those of other devices included."""
        told = (self.origin, *(other.origin for other in self.others))
        return " and ".join(sorted({word for origin in told for word in origin.split(" and ")}))

    def statement(self) -> str:
        """In a few words, what these figures are.

        >>> TrainingStory("formula [SIMULATED]", "simulated", 80, "latencies.parquet").statement()
        '80 simulated figures of formula [SIMULATED]'
        """
        own = f"{self.cells:,} {self.origin} figures of {self.device}"
        return " and ".join([own, *(other.statement() for other in self.others)])


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
    table = _read(file)
    name = _chosen_device(file, table.column_names, device)
    wanted = _rows_of_network(file, table, network)
    statuses = np.array(table[f"{name}{_STATUS}"].to_pylist(), dtype=object)[wanted]
    latency_ms = table[f"{name}{_LATENCY}"].to_numpy()[wanted].astype(np.float64)
    known = np.isfinite(latency_ms)
    if not known.any():
        raise InvalidInputError(f"{file} has no latency of {name} in this network; run the campaign, and export again")
    texts = table["cell"].take(wanted[known]).to_pylist()
    origin = " and ".join(sorted({str(status) for status in statuses[known]}))
    story = TrainingStory(_device_words(table, name, origin), origin, int(known.sum()), file.name)
    left_out = {word: int((statuses == word).sum()) for word in _NO_LATENCY if (statuses == word).any()}
    return _in_order(TrainingData(_cells(file, texts), latency_ms[known], network, story, left_out))


def campaign_devices(path: str | Path) -> list[str]:
    """What the columns of the devices are called in a campaign's table.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no campaign's table.
    """
    return _devices(_read(Path(path)).column_names)


def campaign_network(path: str | Path) -> NetworkConfig:
    """The network of a campaign's table that has only one.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no campaign's table, it has several networks, or does not tell how this one is set.
    """
    table = _read(Path(path))
    digests = np.unique(np.array(table["network"].to_pylist(), dtype=np.str_)).tolist()
    if len(digests) != 1:
        raise InvalidInputError(f"{path} has {len(digests)} networks; choose one with --network and --set")
    for config in (*map(NetworkConfig.preset, PRESETS), *_told_networks(table)):
        if config.digest[:_DIGITS] == digests[0]:
            return config
    raise InvalidInputError(
        f"{path} does not tell how its network {digests[0]} is set; name it with --network and --set"
    )


def _told_networks(table: pa.Table) -> list[NetworkConfig]:
    return [NetworkConfig(**settings) for settings in _told(table).get("networks", [])]


def _as_options(config: NetworkConfig) -> str | None:
    """What names this network on the command line: a preset with few changes; None where it takes a file.

    >>> _as_options(NetworkConfig.small(filters=64))
    '--network small --set filters=64'
    """
    changed = {
        name: {
            key: value for key, value in config.settings.items() if NetworkConfig.preset(name).settings[key] != value
        }
        for name in PRESETS
    }
    name, changes = min(changed.items(), key=lambda item: len(item[1]))
    if len(changes) > _MOST_CHANGES or not all(isinstance(value, int | str) for value in changes.values()):
        return None
    return " ".join([f"--network {name}", *(f"--set {key}={value}" for key, value in changes.items())])


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


def _read(file: Path) -> pa.Table:
    import pyarrow
    from pyarrow import parquet

    if not file.is_file():
        raise NotFoundError(f"there is no file {file}; 'leti-opt campaign export' writes one")
    try:
        names = parquet.read_schema(file).names
        wanted = [name for name in names if name in ("cell", "network") or name.endswith((_LATENCY, _STATUS))]
        table = parquet.read_table(file, columns=wanted)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInputError(
            f"{file} is no Parquet file: {' '.join(str(error).split())[:200]}; hand in a latencies.parquet that "
            "'leti-opt campaign export' wrote"
        ) from error
    missing = [name for name in ("cell", "network") if name not in names]
    if missing or not _devices(names):
        lacks = ", ".join(missing) or f"…{_LATENCY} with …{_STATUS}"
        raise InvalidInputError(
            f"{file} is no campaign's table: it lacks {lacks}; 'leti-opt campaign export' makes one"
        )
    return table


def _devices(columns: Sequence[str]) -> list[str]:
    names = [column.removesuffix(_LATENCY) for column in columns if column.endswith(_LATENCY)]
    return [name for name in names if f"{name}{_STATUS}" in columns]


def _chosen_device(file: Path, columns: Sequence[str], wanted: str | None) -> str:
    names = _devices(columns)
    if wanted is None and len(names) > 1:
        raise InvalidInputError(f"{file} has {len(names)} devices; choose one with --device: {', '.join(names)}")
    if wanted is not None and wanted not in names:
        raise InvalidInputError(f"{file} has no device {wanted!r}; {did_you_mean(wanted, names)}")
    return wanted or names[0]


def _rows_of_network(file: Path, table: pa.Table, network: NetworkConfig) -> NDArray[np.int64]:
    digests = np.array(table["network"].to_pylist(), dtype=np.str_)
    rows = np.flatnonzero(digests == network.digest[:_DIGITS])
    if not rows.size:
        named = {config.digest[:_DIGITS]: _as_options(config) for config in _told_networks(table)}
        named |= {NetworkConfig.preset(name).digest[:_DIGITS]: f"--network {name}" for name in PRESETS}
        there = [named.get(digest) or f"one of your own ({digest})" for digest in np.unique(digests).tolist()]
        raise InvalidInputError(
            f"{file} has no rows of this network ({network.digest[:_DIGITS]}); it has: {', '.join(there) or 'none'}. "
            "Name the one that was measured with --network and --set"
        )
    return rows


def _device_words(table: pa.Table, name: str, origin: str) -> str:
    """The device as the campaign told it, else what its columns are called."""
    words = next((each["device"] for each in _told(table).get("devices", []) if each["name"] == name), name)
    return str(words) if words != name or origin == "measured" else f"{words} [{origin.upper()}]"


def _told(table: pa.Table) -> dict[str, Any]:
    """What the campaign wrote beside its rows."""
    told: dict[str, Any] = json.loads((table.schema.metadata or {}).get(b"leti_opt_campaign", b"{}"))
    return told


def _cells(file: Path, texts: Sequence[str]) -> ArchitectureTable:
    """Cells by their text, which says nothing of labels: they are those of the space that has all operations."""
    named = {name for text in texts for name in text.partition(":")[2].split(",") if name}
    for labels in (NAS_BENCH_101_LABELS, NAS_BENCH_201.labels):
        if named <= set(labels):
            more = "" if labels == NAS_BENCH_101_LABELS else f":{','.join(labels)}"
            return ArchitectureTable.from_architectures((Architecture.parse(text + more) for text in texts), labels)
    raise InvalidInputError(
        f"{file} holds the operations {', '.join(sorted(named))}, which belong to a space of your own; make its "
        "Architectures in Python and hand them to a predictor's fit"
    )
