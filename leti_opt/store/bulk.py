"""Many results of replayed and simulated devices at once, in one transaction and a few statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, Table, select, update

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError
from leti_opt.store import measurement_rows, registry
from leti_opt.store.base import StoreBase
from leti_opt.store.measurement_rows import MeasurementRows, Values
from leti_opt.store.prepared import PreparedInsert
from leti_opt.store.records import CellAlias, StoredResult
from leti_opt.store.schema import aliases, attempt_faults, attempts, failures, measurements, metrics, models
from leti_opt.store.values import moment
from leti_opt.version import source_commit, version

_CHUNK = 500


class BulkStore(StoreBase):
    """Adding many results at once."""

    def add_all(self, results: Sequence[StoredResult]) -> None:
        """Store results as :meth:`add` and :meth:`add_failure` would one after the other, whole or not at all.

        For replayed, simulated and imported figures only, which can be had again: what a real device took minutes for
        is never held back until a group is full.

        Args:
            results: measurements, and failures at the stage ``run``, each with its device and epoch.

        Raises:
            InvalidInputError: one was measured; or is of another model, holds NaN, or says too little.
            StoreError: a cell stands for another model, or nothing could be written.
        """
        prepared = [_Prepared(result) for result in results]
        if prepared:
            self._write(_add_all, prepared)


class _Prepared:
    """A result that was checked, with its rows as far as they can be made before the transaction."""

    def __init__(self, result: StoredResult) -> None:
        self.model = result.model
        self.alias = result.alias
        self.device, self.epoch = _place(result)
        self.facts = registry.model_facts(result.model, result.flops, result.parameters)
        self.rows = None if result.measurement is None else measurement_rows.to_rows(result.measurement)
        self.failure = result.failure
        self.failed_at = moment(result.failed_at or datetime.now(UTC), "failed_at")


def _place(result: StoredResult) -> tuple[DeviceIdentity, DeviceEpoch]:
    """The device and epoch of a result that is fit to be stored."""
    measurement, key = result.measurement, result.model.key
    if (measurement is None) == (result.failure is None):
        raise InvalidInputError(f"the result of model {key} needs either a measurement or a failure; give one of them")
    device, epoch = (result.device, result.epoch) if measurement is None else (measurement.device, measurement.epoch)
    if device is None or epoch is None:
        raise InvalidInputError(f"the failure of model {key} needs its device and epoch; give device=… and epoch=…")
    if measurement is not None:
        measurement_rows.check_model(measurement, result.model)
    if device.origin == "measured":
        raise InvalidInputError(
            f"the result of model {key} was measured on {device.name}, and real devices never commit in groups; "
            "store it with add or add_failure"
        )
    return device, epoch


def _add_all(connection: Connection, prepared: Sequence[_Prepared]) -> None:
    model_ids = _model_ids(connection, prepared)
    _add_aliases(connection, prepared, model_ids)
    places = _Places(connection)
    fresh: dict[str, tuple[MeasurementRows, Values]] = {}
    for one in prepared:
        epoch_id = places.epoch_id(one.device, one.epoch)
        if one.rows is None:
            _add_failure(connection, one, model_ids[one.model.key], places.device_id(one.device), epoch_id)
        else:
            header = {**one.rows.measurement, "model_id": model_ids[one.model.key], "epoch_id": epoch_id}
            fresh.setdefault(header["digest"], (one.rows, header))
    _add_measurements(connection, fresh)


def _model_ids(connection: Connection, prepared: Sequence[_Prepared]) -> dict[str, int]:
    """Id of each model by key; what is not known is added, and what an earlier result did not know is filled in."""
    wanted = list(dict.fromkeys(one.model.key for one in prepared))
    known = {row.key: dict(row._mapping) for row in _rows(connection, select(models), models.c.key, wanted)}
    fresh: dict[str, Values] = {}
    changes: dict[int, Values] = {}
    for one in prepared:
        row = known.get(one.model.key) or fresh.get(one.model.key)
        if row is None:
            fresh[one.model.key] = {**registry.model_names(one.model), **one.facts}
            continue
        filled = {name: value for name, value in one.facts.items() if value is not None and row[name] is None}
        row.update(filled)
        if filled and "id" in row:
            changes.setdefault(row["id"], {}).update(filled)
    for key, values in changes.items():
        connection.execute(update(models).where(models.c.id == key).values(values))
    _MODELS.many(connection, list(fresh.values()))
    return _ids(connection, models, models.c.key, wanted)


def _add_aliases(connection: Connection, prepared: Sequence[_Prepared], model_ids: dict[str, int]) -> None:
    named = [(one.alias, one.model.key) for one in prepared if one.alias is not None]
    query = select(*(aliases.c[name] for name in registry.ALIAS_COLUMNS), models.c.key).join(models)
    hashes = list(dict.fromkeys(alias.graph_hash for alias, _ in named))
    known: dict[CellAlias, str] = {}
    for row in _rows(connection, query, aliases.c.graph_hash, hashes):
        known[CellAlias(row.graph_hash, row.network_digest, row.renderer, row.cell)] = row.key
    fresh: list[Values] = []
    for alias, key in named:
        there = known.setdefault(alias, "")
        if not there:
            known[alias] = key
            fresh.append({**registry.alias_values(alias), "model_id": model_ids[key]})
        elif there != key:
            raise registry.other_model(alias, there)
    _ALIASES.many(connection, fresh)


class _Places:
    """Ids of devices and epochs, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._devices: dict[DeviceIdentity, int] = {}
        self._epochs: dict[tuple[DeviceIdentity, DeviceEpoch], int] = {}

    def device_id(self, device: DeviceIdentity) -> int:
        if device not in self._devices:
            self._devices[device] = registry.add_device(self._connection, device)
        return self._devices[device]

    def epoch_id(self, device: DeviceIdentity, epoch: DeviceEpoch) -> int:
        if (device, epoch) not in self._epochs:
            self._epochs[device, epoch] = registry.add_epoch(self._connection, self.device_id(device), epoch)
        return self._epochs[device, epoch]


def _add_failure(connection: Connection, one: _Prepared, model_id: int, device_id: int, epoch_id: int) -> None:
    values = {
        "model_id": model_id,
        **registry.alias_values(one.alias),
        "device_id": device_id,
        "epoch_id": epoch_id,
        "stage": "run",
        "reason": one.failure,
        "failed_at": one.failed_at,
        "tool": version(),
        "commit": source_commit(),
    }
    registry.add_once(connection, failures, values)


def _add_measurements(connection: Connection, found: dict[str, tuple[MeasurementRows, Values]]) -> None:
    """Insert the measurements, by digest, that are not there yet, with all that belongs to them."""
    known = _ids(connection, measurements, measurements.c.digest, list(found))
    fresh = {digest: rows for digest, rows in found.items() if digest not in known}
    _MEASUREMENTS.many(connection, [header for _, header in fresh.values()])
    ids = _ids(connection, measurements, measurements.c.digest, list(fresh))
    for statement, part in ((_ATTEMPTS, "attempts"), (_FAULTS, "faults"), (_METRICS, "metrics")):
        children = [
            {"measurement_id": ids[digest], **child}
            for digest, (rows, _) in fresh.items()
            for child in getattr(rows, part)
        ]
        statement.many(connection, children)


def _ids(connection: Connection, table: Table, key: Column[str], wanted: list[str]) -> dict[str, int]:
    query = select(key.label("found"), table.c.id)
    return {row.found: row.id for row in _rows(connection, query, key, wanted)}


def _rows(connection: Connection, query: Select[Any], column: Column[str], wanted: list[str]) -> Iterator[Row[Any]]:
    """The rows of a query whose column has one of many values."""
    for start in range(0, len(wanted), _CHUNK):
        yield from connection.execute(query.where(column.in_(wanted[start : start + _CHUNK]))).all()


def _insert(table: Table) -> PreparedInsert:
    """Of whole rows, but for the id that the database gives."""
    return PreparedInsert(table, [column.name for column in table.c if column.name != "id"])


_MODELS, _ALIASES, _MEASUREMENTS = _insert(models), _insert(aliases), _insert(measurements)
_ATTEMPTS, _FAULTS, _METRICS = _insert(attempts), _insert(attempt_faults), _insert(metrics)
