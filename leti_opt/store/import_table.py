"""Tables that come in: what a store exported, and what others published. A file comes in whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError, LetiError, NotFoundError
from leti_opt.network.config import NetworkConfig
from leti_opt.store import exchange, foreign_table, measurement_rows, registry
from leti_opt.store.cells import cell_alias, cell_model
from leti_opt.store.foreign_table import (
    ForeignColumns,
    check_order,
    check_plausible,
    choose_columns,
    number,
    read_cell,
)
from leti_opt.store.measurement_rows import STATISTIC_COLUMNS
from leti_opt.store.records import CellAlias
from leti_opt.store.schema import devices, epochs, failures, measurements, models

UNKNOWN_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""When a figure was measured whose table does not say."""

_OWN = {
    "model_key",
    "renderer",
    "device_digest",
    "epoch_digest",
    "options",
    "origin",
    "status",
    "mean_ms",
    "started_at",
}
_PLACE_TEXTS = ("device_kind", "hardware", "runtime", "runner", "delegate", "system_build", "driver", "unit")
_MAX_RELATIVE_STD = 0.1
_SHOWN_FAULTS = 10
_SHOWN_PLACES = 3
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class ImportCounts:
    """What came in: new measurements, new failures, their networks, rows that were there already, the devices."""

    measurements: int
    failures: int
    networks: int
    known: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class TableRow:
    """A row on its way into the store: a measurement, or a failure with its reason."""

    model: MeasurableModel
    alias: CellAlias | None
    place: tuple[DeviceIdentity, DeviceEpoch] | None
    measurement: Measurement | None
    failure: str | None = None
    failed_at: datetime = UNKNOWN_MOMENT
    costs: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class ImportSettings:
    """What a user says of a table; see :meth:`leti_opt.store.LatencyStore.import_data`."""

    unit: str | None = None
    device: str | None = None
    latency: str | None = None
    origin: str | None = None
    network: NetworkConfig | None = None


def read(path: Path, asked: ImportSettings, aliases: Callable[[str], list[tuple[CellAlias, str]]]) -> list[TableRow]:
    """Read and check a whole table; nothing is written.

    Args:
        path: ``.parquet`` or ``.csv``.
        asked: what the user says of it.
        aliases: cells with their model's key that the store knows by a hash.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or rows are bad: their numbers are named.
    """
    rows, digest = _rows(path)
    if not rows:
        raise InvalidInputError(f"{path} has no rows")
    source = f"{path.name} sha256:{digest[:12]}"
    rows = _of_origin(path, rows, asked.origin)
    if rows[0][1].keys() >= _OWN:
        return _checked(path, rows, lambda row: _own_row(row, source))
    return _foreign(path, rows, asked, aliases, digest, source)


def write(connection: Connection, rows: Iterable[TableRow], network: NetworkConfig | None) -> ImportCounts:
    """Add rows to the store, within the caller's transaction; a row that is there is not added again."""
    if network is not None:
        registry.add_network(connection, network.digest, network.settings)
    added = failed = known = 0
    keys: set[str] = set()
    names: dict[str, None] = {}
    ids: dict[str, int] = {}
    for row in rows:
        key = row.model.key
        keys.add(key)
        if key not in ids:
            ids[key] = registry.add_model(connection, row.model, *row.costs)
        if row.alias is not None:
            registry.add_alias(connection, row.alias, ids[key])
        if row.place is not None:
            names[row.place[0].name] = None
        if row.measurement is None:
            failed += (new := _add_failure(connection, row, ids[key]))
            known += not new
        elif _is_known(connection, row.measurement, ids[key]):
            known += 1
        else:
            device_id = registry.add_device(connection, row.measurement.device)
            epoch_id = registry.add_epoch(connection, device_id, row.measurement.epoch)
            measurement_rows.insert_rows(connection, measurement_rows.to_rows(row.measurement), ids[key], epoch_id)
            added += 1
    return ImportCounts(added, failed, len(keys), known, tuple(names))


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """The rows with their numbers, from 1 without the heading, and the file's SHA-256. Absent values are None."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix.lower() == ".parquet":
            found = parquet.read_table(path).to_pylist()
        elif path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found = [{name: value or None for name, value in row.items()} for row in table.to_dict("records")]
        else:
            raise InvalidInputError(f"{path} must end with .parquet or .csv, not with {path.suffix!r}")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except (OSError, pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    return list(enumerate(found, start=1)), digest


def _of_origin(
    path: Path, rows: list[tuple[int, dict[str, Any]]], origin: str | None
) -> list[tuple[int, dict[str, Any]]]:
    """The rows of the origin that was asked for; several are never mixed unasked."""
    there = sorted({str(row["origin"]) for _, row in rows if row.get("origin") is not None})
    if origin is None and len(there) > 1:
        raise InvalidInputError(
            f"the rows of {path} are {' and '.join(there)}; choose one kind with --origin {there[0]}, or --origin any"
        )
    if origin in (None, "any"):
        return rows
    chosen = [(place, row) for place, row in rows if row.get("origin") == origin]
    if not chosen:
        raise InvalidInputError(f"{path} has no {origin} rows; its origins are: {', '.join(there) or 'not named'}")
    return chosen


def _checked(
    path: Path, rows: list[tuple[int, dict[str, Any]]], read_row: Callable[[dict[str, Any]], TableRow]
) -> list[TableRow]:
    """Every row, or one error that names those at fault."""
    found: list[TableRow] = []
    faults: dict[str, list[int]] = {}
    for place, row in rows:
        try:
            found.append(read_row(row))
        except KeyError as error:
            faults.setdefault(f"it lacks the column {error}", []).append(place)
        except json.JSONDecodeError as error:
            faults.setdefault(f"{error.doc[:40]!r} is no JSON", []).append(place)
        except (LetiError, ValueError, TypeError) as error:
            faults.setdefault(str(error), []).append(place)
    if faults:
        shown = [f"{_places(places)}: {reason}" for reason, places in list(faults.items())[:_SHOWN_FAULTS]]
        shown += [f"and {len(faults) - _SHOWN_FAULTS} other faults"] if len(faults) > _SHOWN_FAULTS else []
        raise InvalidInputError(
            f"{path} was not imported, {sum(map(len, faults.values()))} of its {len(rows)} rows are bad (counted from "
            f"1 without the heading): {'; '.join(shown)}"
        )
    return found


def _places(places: list[int]) -> str:
    """The rows of one fault, the first few by their numbers."""
    if len(places) == 1:
        return f"row {places[0]}"
    shown = ", ".join(map(str, places[:_SHOWN_PLACES]))
    return f"rows {shown} and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else f"rows {shown}"


def _own_row(row: dict[str, Any], source: str) -> TableRow:
    """A row that a store of ours exported."""
    if not row["model_key"]:
        raise ValueError("it has no model_key; a network that was never built cannot be imported")
    model = MeasurableModel(row["model_key"], row["name"] or "", row["renderer"] or "", row["precision"] or "unknown")
    named = [row["graph_hash"], row["network_digest"], row["renderer"], row["cell"]]
    alias = CellAlias(*map(str, named)) if all(named) else None
    costs = (_integer(row.get("flops")), _integer(row.get("parameters")))
    # CSV does not tell an empty text from an absent one.
    row = {**row, **{name: row[name] or "" for name in _PLACE_TEXTS}}
    place = exchange.place_of(row) if row["device_digest"] else None
    if place is not None and place[0].digest != row["device_digest"]:
        raise ValueError("its device does not have the digest that it says; the file was changed")
    moment = _moment(row["started_at"])
    if row["status"] == "infeasible":
        if place is not None and not row["epoch_digest"]:
            place = (place[0], DeviceEpoch(""))
        return TableRow(model, alias, place, None, row["failure_reason"] or "no reason given", moment, costs)
    if place is None or place[1].digest != row["epoch_digest"]:
        raise ValueError("its epoch does not have the digest that it says; the file was changed")
    statistics: dict[str, Any] = {name: _optional(row.get(name), name) for name in STATISTIC_COLUMNS}
    batch = RunBatch(
        count=_integer(row["count"]),
        **{**statistics, "mean_ms": number(row["mean_ms"], "mean_ms")},
        runs_per_sample=_integer(row.get("runs_per_sample")) or 1,
    )
    check_order(batch)
    measurement = Measurement(
        model_key=row["model_key"],
        device=place[0],
        epoch=place[1],
        attempts=(batch,),
        stable=row["status"] == "stable",
        min_runs=_integer(row["min_runs"]) or 0,
        max_relative_std=number(row["max_relative_std"], "max_relative_std"),
        warmup_runs=_integer(row["warmup_runs"]) or 0,
        started_at=moment,
        duration_s=number(row["duration_s"], "duration_s"),
        initialization_ms=_optional(row["initialization_ms"], "initialization_ms"),
        first_run_ms=_optional(row["first_run_ms"], "first_run_ms"),
        metrics=tuple(Metric(**one) for one in json.loads(row["metrics"] or "[]")),
        tool=row["tool"] or "",
        commit=row["commit"],
        relative_error=_optional(row["relative_error"], "relative_error"),
        source=row["source"] or source,
    )
    if measurement.status != row["status"]:
        raise ValueError(f"its status {row['status']!r} does not fit its figures")
    return TableRow(model, alias, place, measurement, costs=costs)


def _foreign(
    path: Path,
    rows: list[tuple[int, dict[str, Any]]],
    asked: ImportSettings,
    aliases: Callable[[str], list[tuple[CellAlias, str]]],
    digest: str,
    source: str,
) -> list[TableRow]:
    columns = list(rows[0][1])
    if not set(columns) & set(foreign_table.NETWORK_COLUMNS):
        raise InvalidInputError(
            f"{path} does not say which network a row is of; it needs one of the columns "
            f"{', '.join(foreign_table.NETWORK_COLUMNS)} (adjacency with operations)"
        )
    chosen = choose_columns(columns, asked.latency, asked.unit)
    rows = _of_device(path, rows, asked.device)
    mean = chosen.statistics["mean"]
    reader = _ForeignReader(asked, aliases, chosen, digest, source)
    found = _checked(path, rows, reader.read)
    check_plausible([row.measurement.batch.mean_ms for row in found if row.measurement is not None], mean)
    return found


def _of_device(
    path: Path, rows: list[tuple[int, dict[str, Any]]], device: str | None
) -> list[tuple[int, dict[str, Any]]]:
    if "device" not in rows[0][1]:
        if device is None:
            raise InvalidInputError(f"{path} does not say what measured it; give --device NAME")
        return rows
    chosen = [(place, row) for place, row in rows if device is None or row["device"] == device]
    if not chosen:
        there = sorted({str(row["device"]) for _, row in rows})
        raise InvalidInputError(f"{path} has no rows of the device {device!r}; it has: {', '.join(there)}")
    return chosen


class _ForeignReader:
    """Reads rows of one table; cells that occur twice are built once."""

    def __init__(
        self,
        asked: ImportSettings,
        aliases: Callable[[str], list[tuple[CellAlias, str]]],
        columns: ForeignColumns,
        digest: str,
        source: str,
    ) -> None:
        self.asked = asked
        self.aliases = aliases
        self.columns = columns
        self.digest = digest
        self.source = source
        self._models: dict[CellAlias, MeasurableModel] = {}

    def read(self, row: dict[str, Any]) -> TableRow:
        model, alias = self._network(row)
        statistics: dict[str, Any] = {
            f"{name}_ms": column.read_ms(row)
            for name, column in self.columns.statistics.items()
            if name == "mean" or row[column.name] is not None
        }
        if statistics["mean_ms"] == 0:
            raise ValueError("its latency is 0")
        count = None if self.columns.count is None else _integer(row[self.columns.count])
        batch = RunBatch(count=count, **statistics)
        check_order(batch)
        spread = batch.relative_std
        place = (self._identity(row), DeviceEpoch("imported table"))
        measurement = Measurement(
            model_key=model.key,
            device=place[0],
            epoch=place[1],
            attempts=(batch,),
            stable=count is not None and spread is not None and spread <= _MAX_RELATIVE_STD,
            min_runs=count or 0,
            max_relative_std=_MAX_RELATIVE_STD,
            warmup_runs=0,
            started_at=UNKNOWN_MOMENT,
            duration_s=0.0,
            source=self.source,
        )
        return TableRow(model, alias, place, measurement)

    def _identity(self, row: dict[str, Any]) -> DeviceIdentity:
        """Rows that claim different origins are of different devices, so that they are never mixed."""
        claimed = row.get("origin")
        return DeviceIdentity(
            kind="import",
            hardware=str(row.get("device") or self.asked.device),
            runtime=f"table {self.digest}",
            runner="unknown",
            delegate="",
            options=() if claimed is None else (("claimed_origin", str(claimed)),),
            origin="imported",
        )

    def _network(self, row: dict[str, Any]) -> tuple[MeasurableModel, CellAlias | None]:
        if row.get("model_key"):
            key = str(row["model_key"])
            return MeasurableModel(key, str(row.get("name") or key[:12]), "unknown", "unknown"), None
        cell = read_cell(row)
        if cell is None:
            return self._known(str(row.get("graph_hash") or ""))
        if self.asked.network is None:
            raise ValueError("a cell needs to be laid out; say how with --network")
        alias = cell_alias(cell, self.asked.network)
        if alias not in self._models:
            self._models[alias] = cell_model(cell, self.asked.network)
        return self._models[alias], alias

    def _known(self, graph_hash: str) -> tuple[MeasurableModel, CellAlias]:
        wanted = None if self.asked.network is None else self.asked.network.digest
        found = [one for one in self.aliases(graph_hash) if wanted in (None, one[0].network_digest)]
        if len({key for _, key in found}) != 1:
            raise ValueError(f"the store knows {len(found)} networks by the hash {graph_hash!r}, and not one")
        alias, key = found[0]
        return MeasurableModel(key, alias.cell, alias.renderer), alias


def _is_known(connection: Connection, measurement: Measurement, model_id: int) -> bool:
    """Whether the same figure of the same moment is here, perhaps under another file's name or with its runs."""
    batch = measurement.batch
    query = (
        select(measurements.c.id)
        .select_from(measurements.join(epochs).join(devices))
        .where(
            measurements.c.model_id == model_id,
            devices.c.digest == measurement.device.digest,
            measurements.c.started_at == measurement.started_at,
            measurements.c.mean_ms == batch.mean_ms,
        )
    )
    return connection.execute(query).first() is not None


def _add_failure(connection: Connection, row: TableRow, model_id: int) -> bool:
    device_id = None if row.place is None else registry.add_device(connection, row.place[0])
    known = select(failures.c.id).where(
        failures.c.model_id == model_id,
        failures.c.device_id.is_(None) if device_id is None else failures.c.device_id == device_id,
        failures.c.reason == row.failure,
        failures.c.failed_at == row.failed_at,
    )
    if connection.execute(known).first() is not None:
        return False
    epoch_id = None
    if row.place is not None and device_id is not None and row.place[1].system_build:
        epoch_id = registry.add_epoch(connection, device_id, row.place[1])
    values = {
        "model_id": model_id,
        **registry.alias_values(row.alias),
        "device_id": device_id,
        "epoch_id": epoch_id,
        "stage": "build" if row.place is None else "run",
        "reason": row.failure,
        "failed_at": row.failed_at,
        "tool": "",
        "commit": None,
    }
    connection.execute(insert(failures), values)
    return True


def known_aliases(connection: Connection, graph_hash: str) -> list[tuple[CellAlias, str]]:
    """Cells with this hash and the keys of their models."""
    from leti_opt.store.schema import aliases

    query = select(*(aliases.c[name] for name in registry.ALIAS_COLUMNS), models.c.key).join(models)
    found = connection.execute(query.where(aliases.c.graph_hash == graph_hash))
    return [(CellAlias(*row[:-1]), row.key) for row in found]


def _moment(value: Any) -> datetime:
    if value is None:
        raise ValueError("it has no started_at")
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if found.tzinfo is None:
        raise ValueError(f"started_at is {value}, which has no time zone")
    return found.astimezone(UTC)


def _optional(value: Any, name: str) -> float | None:
    return None if value is None or value != value else number(value, name)


def _integer(value: Any) -> int | None:
    if value is None or value != value:
        return None
    found = number(value, "a count")
    if found != int(found):
        raise ValueError(f"{value!r} is no whole number")
    return int(found)
