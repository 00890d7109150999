"""A device that answers from a recording of measurements, and says so: *replayed*."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import (
    InfeasibleError,
    InvalidDeviceUriError,
    InvalidProtocolError,
    StatisticUnavailableError,
    did_you_mean,
)

STATISTICS_COLUMNS = ("mean_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p5_ms", "p95_ms")
COLUMNS = ("model_key", "status", "count", *STATISTICS_COLUMNS, "failure_reason")
STATUSES = ("stable", "unchecked", "unstable", "infeasible")
"""What a row may be; of several rows of one network the earlier status counts."""


class Replay(Device):
    """Answers from a Parquet file that a latency store exported.

    It gives the figures that were recorded, whatever number of runs is asked for; single runs were not recorded. So a
    network that was unstable under a protocol is unstable again under the same one. Where a row lacks the number or the
    spread of its runs, no rule can be checked (``Measurement.status`` is ``unchecked``); one that was recorded as
    unstable all the same has no figure here. A recorded failure, and a network that is not in the file, are infeasible
    here. Rows of one network: a stable one counts before an unchecked, that before an unstable one, and that before a
    failure; of equals the last.

    It uses nothing physical and may be used by many threads at once, so it names no resources to be locked.

    Args:
        path: the Parquet file, with at least the columns :data:`COLUMNS`.
        device: which device to replay, where the file has a column ``device`` with several; its name, or its
            ``device_digest`` where two identities go by one name.

    Raises:
        InvalidDeviceUriError: the file is no such recording, or does not hold the device.
    """

    needs_file = False
    watched = False

    def __init__(self, path: Path | str, device: str | None = None) -> None:
        self._path = Path(path).expanduser().resolve()
        if "?" in str(self._path):
            raise InvalidDeviceUriError(f"{self._path} has a question mark, which a device URI cannot hold; rename it")
        self._rows = _Recording(self._path, device)
        self.default_min_runs = self._rows.smallest_count
        query = "" if device is None else f"?device={quote(device, safe='')}"
        self.uri = f"replay:{self._path}{query}"

    @cached_property
    def identity(self) -> DeviceIdentity:
        """The recorded device, and the file's SHA-256."""
        content = hashlib.sha256(self._path.read_bytes()).hexdigest()
        return DeviceIdentity(
            kind="replay",
            hardware=self._rows.device or "unnamed device",
            runtime=" ".join(filter(None, ["recording", content, self._rows.device_digest])),
            runner="replay",
            delegate="",
            origin="replayed",
        )

    @property
    def epoch(self) -> DeviceEpoch:
        """A recording does not change: always the same."""
        return DeviceEpoch(system_build="recording")

    @property
    def resources(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def check_statistic(self, statistic: str) -> None:
        """Refuse a statistic that some network was recorded without.

        Raises:
            StatisticUnavailableError: rows with figures lack it.
        """
        lacking = self._rows.lacking(f"{statistic}_ms")
        if lacking:
            raise StatisticUnavailableError(
                f"{lacking} networks of the recording {self._path.name} have no {statistic}; "
                "ask for another statistic, for instance 'mean'"
            )

    def load(self, model: MeasurableModel) -> Session:
        """Look a network up.

        Raises:
            InfeasibleError: it is not in the recording, or was recorded as a failure, or as unstable without the
                figures that would show it.
        """
        row = self._rows.find(model.key)
        if row is None:
            raise InfeasibleError(f"{model.name} is not in the recording {self._path.name}")
        if row["status"] == "infeasible":
            raise InfeasibleError(row["failure_reason"] or "recorded as infeasible without a reason")
        batch = _recorded_batch(row)
        if row["status"] == "unstable" and not batch.checkable:
            raise InfeasibleError("recorded as unstable, without the runs and the spread that a rule is checked on")
        return _RecordedSession(batch)


class _RecordedSession(Session):
    def __init__(self, batch: RunBatch) -> None:
        self._batch = batch

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        if n < 1:
            raise ValueError(f"a session makes 1 run or more, not {n}")
        if runs_per_sample != 1:
            raise InvalidProtocolError("a recording holds figures of single runs; leave runs_per_sample at 1")
        return self._batch


def _recorded_batch(row: Mapping[str, Any]) -> RunBatch:
    revealed = {name: row[name] for name in STATISTICS_COLUMNS if not _is_absent(row[name])}
    if "mean_ms" not in revealed:
        raise InvalidDeviceUriError(
            f"the recording of {row['model_key']} is {row['status']} but lacks mean_ms; export it again"
        )
    return RunBatch(count=None if _is_absent(row["count"]) else int(row["count"]), **revealed)


def _is_absent(value: float | None) -> bool:
    return value is None or math.isnan(value)


class _Recording:
    """The rows of one device in a Parquet file; they are read when a network is first asked for."""

    def __init__(self, path: Path, device: str | None) -> None:
        self._path = path
        columns = self._columns()
        missing = [name for name in COLUMNS if name not in columns]
        if missing:
            raise InvalidDeviceUriError(
                f"{path} is no recording: it lacks the columns {', '.join(missing)}; make one with LatencyStore.export"
            )
        self.device, self.device_digest, self._only = self._chosen_device(device, self._devices(columns))
        head = self._read(["status", "count"])
        statuses, counts = head["status"].to_pylist(), head["count"].to_pylist()
        unknown = sorted({str(status) for status in statuses} - set(STATUSES))
        if unknown:
            raise InvalidDeviceUriError(
                f"{path} has the unknown status {', '.join(unknown)}; known: {', '.join(STATUSES)}"
            )
        stable = [
            count
            for count, status in zip(counts, statuses, strict=True)
            if status == "stable" and count and not _is_absent(count)
        ]
        self.smallest_count = int(min(stable, default=1))

    def find(self, key: str) -> Mapping[str, Any] | None:
        """The row that counts for a network."""
        row = self._row_by_key.get(key)
        if row is None:
            return None
        found: dict[str, Any] = self._rows.slice(row, 1).to_pylist()[0]
        return found

    def lacking(self, column: str) -> int:
        """How many rows with figures lack one."""
        table = self._read(["status", column])
        values = zip(table["status"].to_pylist(), table[column].to_pylist(), strict=True)
        return sum(status != "infeasible" and _is_absent(value) for status, value in values)

    @cached_property
    def _rows(self) -> Any:
        return self._read(list(COLUMNS))

    @cached_property
    def _row_by_key(self) -> dict[str, int]:
        found: dict[str, int] = {}
        ranks = [STATUSES.index(status) for status in self._rows["status"].to_pylist()]
        for row, key in enumerate(self._rows["model_key"].to_pylist()):
            if key not in found or ranks[row] <= ranks[found[key]]:
                found[key] = row
        return found

    def _chosen_device(self, wanted: str | None, devices: list[tuple[str, str]]) -> tuple[str, str, Any]:
        """The device's name and digest, empty where the file has none, and the filter that leaves its rows."""
        from pyarrow.compute import field

        chosen = [pair for pair in devices if wanted is None or wanted in pair]
        known = list(dict.fromkeys(name for name, _ in devices))
        if not chosen and wanted is not None:
            there = did_you_mean(wanted, known) if known else "it names no devices; leave out ?device="
            raise InvalidDeviceUriError(f"{self._path} does not hold the device {wanted!r}; {there}")
        if len(chosen) > 1:
            one_name = len({name for name, _ in chosen}) == 1
            choices = [digest if one_name else name for name, digest in chosen]
            raise InvalidDeviceUriError(
                f"{self._path} holds {len(chosen)} devices{f' called {chosen[0][0]}' if one_name else ''}; "
                f"choose one with ?device=…: {', '.join(dict.fromkeys(choices))}"
            )
        if not chosen:
            return "", "", None
        name, digest = chosen[0]
        column, value = ("device_digest", digest) if digest else ("device", name)
        # A failure without a device is a network that could not be built, which goes for every device.
        return name, digest, (field(column) == value) | field(column).is_null()

    def _columns(self) -> list[str]:
        import pyarrow
        from pyarrow import parquet

        try:
            names: list[str] = parquet.read_schema(self._path).names
        except (OSError, pyarrow.ArrowInvalid) as error:
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise InvalidDeviceUriError(
                f"cannot replay {self._path}: {reason}; name a Parquet file that LatencyStore.export wrote"
            ) from error
        return names

    def _devices(self, columns: list[str]) -> list[tuple[str, str]]:
        """Name and digest of each device; the digest is empty where the file has none."""
        from pyarrow import parquet

        if "device" not in columns:
            return []
        asked = [name for name in ("device", "device_digest") if name in columns]
        table = parquet.read_table(self._path, columns=asked).group_by(asked).aggregate([])
        rows = ((row["device"], row.get("device_digest") or "") for row in table.to_pylist())
        return sorted(row for row in rows if row[0] is not None)

    def _read(self, columns: list[str]) -> Any:
        from pyarrow import parquet

        return parquet.read_table(self._path, columns=columns, filters=self._only)
