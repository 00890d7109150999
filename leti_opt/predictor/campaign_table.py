"""Reads the table that a campaign exported (``latencies.parquet``): its devices, networks, cells and latencies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError, NotFoundError, did_you_mean
from leti_opt.network.config import PRESETS, NetworkConfig
from leti_opt.search_space.definition import NAS_BENCH_201

if TYPE_CHECKING:
    import pyarrow as pa

_LATENCY, _STATUS = "_latency_ms", "_status"
_DIGITS = 16
"""Of a network's digest, as the table has them."""
_MOST_CHANGES = 3
"""More changes of a network are easier to read in a file than on the command line."""


@dataclass(frozen=True)
class CampaignTable:
    """A campaign's table, as far as it says what networks took.

    Args:
        file: it was read from.
        rows: cell and network of each row, and of each device status and latency.
    """

    file: Path
    rows: pa.Table

    @classmethod
    def read(cls, file: Path) -> CampaignTable:
        """Read it.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is no campaign's table.
        """
        import pyarrow
        from pyarrow import parquet

        if not file.is_file():
            raise NotFoundError(f"there is no file {file}; 'leti-opt campaign export' writes one")
        try:
            names = parquet.read_schema(file).names
            wanted = [name for name in names if name in ("cell", "network") or name.endswith((_LATENCY, _STATUS))]
            rows = parquet.read_table(file, columns=wanted)
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
        return cls(file, rows)

    @property
    def devices(self) -> list[str]:
        """What the columns of each device are called."""
        return _devices(self.rows.column_names)

    def device(self, wanted: str | None) -> str:
        """The device that is meant.

        Args:
            wanted: what its columns are called; None for the only one.

        Raises:
            InvalidInputError: there is no such device, or several and none is named.
        """
        names = self.devices
        if wanted is None and len(names) > 1:
            raise InvalidInputError(
                f"{self.file} has {len(names)} devices; choose one with --device: {', '.join(names)}"
            )
        if wanted is not None and wanted not in names:
            raise InvalidInputError(f"{self.file} has no device {wanted!r}; {did_you_mean(wanted, names)}")
        return wanted or names[0]

    def network(self) -> NetworkConfig:
        """The network of a table that has only one.

        Raises:
            InvalidInputError: it has several, or does not tell how this one is set.
        """
        digests = np.unique(self._digests).tolist()
        if len(digests) != 1:
            raise InvalidInputError(f"{self.file} has {len(digests)} networks; choose one with --network and --set")
        for config in (*map(NetworkConfig.preset, PRESETS), *self._told_networks):
            if config.digest[:_DIGITS] == digests[0]:
                return config
        raise InvalidInputError(
            f"{self.file} does not tell how its network {digests[0]} is set; name it with --network and --set"
        )

    def rows_of(self, network: NetworkConfig) -> NDArray[np.int64]:
        """Places of a network's rows.

        Raises:
            InvalidInputError: there are none; the message names the networks that there are.
        """
        rows = np.flatnonzero(self._digests == network.digest[:_DIGITS])
        if not rows.size:
            named = {config.digest[:_DIGITS]: _as_options(config) for config in self._told_networks}
            named |= {NetworkConfig.preset(name).digest[:_DIGITS]: f"--network {name}" for name in PRESETS}
            there = [named.get(digest) or f"one of your own ({digest})" for digest in np.unique(self._digests).tolist()]
            raise InvalidInputError(
                f"{self.file} has no rows of this network ({network.digest[:_DIGITS]}); it has: "
                f"{', '.join(there) or 'none'}. Name the one that was measured with --network and --set"
            )
        return rows

    def statuses(self, device: str, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        """What became of some rows on a device; None where nothing is known yet."""
        return np.array(self.rows[f"{device}{_STATUS}"].to_pylist(), dtype=object)[rows]

    def latency_ms(self, device: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean latency of some rows on a device; NaN where there is none."""
        found: NDArray[np.float64] = self.rows[f"{device}{_LATENCY}"].to_numpy()[rows].astype(np.float64)
        return found

    def device_words(self, device: str, origin: str) -> str:
        """The device as the campaign told it, else what its columns are called."""
        words = next((each["device"] for each in self._told.get("devices", []) if each["name"] == device), device)
        return str(words) if words != device or origin == "measured" else f"{words} [{origin.upper()}]"

    def cells(self, rows: NDArray[np.int64]) -> ArchitectureTable:
        """Cells of some rows. Their text says nothing of labels: they are those of the space that has all operations.

        Raises:
            InvalidInputError: none of the known spaces has them.
        """
        texts = self.rows["cell"].take(rows).to_pylist()
        named = {name for text in texts for name in text.partition(":")[2].split(",") if name}
        for labels in (NAS_BENCH_101_LABELS, NAS_BENCH_201.labels):
            if named <= set(labels):
                more = "" if labels == NAS_BENCH_101_LABELS else f":{','.join(labels)}"
                return ArchitectureTable.from_architectures((Architecture.parse(text + more) for text in texts), labels)
        raise InvalidInputError(
            f"{self.file} holds the operations {', '.join(sorted(named))}, which belong to a space of your own; make "
            "its Architectures in Python and hand them to a predictor's fit"
        )

    @cached_property
    def _digests(self) -> NDArray[np.str_]:
        return np.array(self.rows["network"].to_pylist(), dtype=np.str_)

    @cached_property
    def _told(self) -> dict[str, Any]:
        """What the campaign wrote beside its rows."""
        told: dict[str, Any] = json.loads((self.rows.schema.metadata or {}).get(b"leti_opt_campaign", b"{}"))
        return told

    @cached_property
    def _told_networks(self) -> list[NetworkConfig]:
        return [NetworkConfig(**settings) for settings in self._told.get("networks", [])]


def _devices(columns: Sequence[str]) -> list[str]:
    names = [column.removesuffix(_LATENCY) for column in columns if column.endswith(_LATENCY)]
    return [name for name in names if f"{name}{_STATUS}" in columns]


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
