"""Measurements as rows of the tables, and back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, exists, insert, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError
from leti_opt.store import links, registry
from leti_opt.store.prepared import Prepared
from leti_opt.store.records import CellAlias
from leti_opt.store.registry import EPOCH_COLUMNS, epoch_of, inserted_id
from leti_opt.store.schema import attempt_faults, attempts, devices, epochs, measurements, metrics, models
from leti_opt.store.suspicions import IS_SUSPECT
from leti_opt.store.values import moment, number, pack_runs, raw_runs, unpack_runs

STATISTIC_COLUMNS = ("mean_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p5_ms", "p95_ms", "mean_error_ms")

Values = dict[str, Any]


@dataclass(frozen=True)
class MeasurementRows:
    """A measurement on its way into the tables; the ids of model, epoch and measurement are still missing."""

    measurement: Values
    attempts: list[Values]
    faults: list[Values]
    metrics: list[Values]


def check_model(measurement: Measurement, model: MeasurableModel) -> None:
    """Refuse the measurement of another model.

    Raises:
        InvalidInputError: it is one.
    """
    if measurement.model_key != model.key:
        raise InvalidInputError(
            f"the measurement is of model {measurement.model_key}, not of {model.key}; hand in its own model"
        )


def to_rows(measurement: Measurement) -> MeasurementRows:
    """Take a measurement apart.

    Its digest tells equal measurements, so that one which is handed in twice is stored once.

    Raises:
        InvalidInputError: a figure is NaN, or a time has no time zone.
    """
    header = {
        "status": measurement.status,
        **_statistics(measurement.batch),
        "min_runs": int(measurement.min_runs),
        "max_relative_std": number(measurement.max_relative_std, "max_relative_std"),
        "warmup_runs": int(measurement.warmup_runs),
        "first_run_ms": number(measurement.first_run_ms, "first_run_ms"),
        "initialization_ms": number(measurement.initialization_ms, "initialization_ms"),
        "started_at": moment(measurement.started_at, "started_at"),
        "duration_s": number(measurement.duration_s, "duration_s"),
        "tool": measurement.tool,
        "commit": measurement.commit,
        "origin": measurement.device.origin,
        "relative_error": number(measurement.relative_error, "relative_error"),
        "source": measurement.source,
    }
    runs = [None if batch.runs_ms is None else raw_runs(batch.runs_ms) for batch in measurement.attempts]
    batches = [
        {"position": place, **_statistics(batch), "runs": None if raw is None else pack_runs(raw)}
        for place, (batch, raw) in enumerate(zip(measurement.attempts, runs, strict=True))
    ]
    faults = [{"position": place, "text": text} for place, text in enumerate(measurement.faults)]
    further = [
        {
            "position": place,
            "name": metric.name,
            "value": number(metric.value, metric.name),
            "unit": metric.unit,
            "source": metric.source,
        }
        for place, metric in enumerate(measurement.metrics)
    ]
    header["digest"] = _digest(measurement, header, runs, faults, further)
    return MeasurementRows(header, batches, faults, further)


def add(
    connection: Connection,
    rows: MeasurementRows,
    model: MeasurableModel,
    measurement: Measurement,
    alias: CellAlias | None,
    flops: int | None,
    parameters: int | None,
    role: str | None,
) -> int:
    """Store a measurement with its model, alias, device and epoch. Returns its id.

    Args:
        connection: in a writing transaction.
        rows: of the measurement.
        model: what was measured.
        measurement: where.
        alias: the cell, where there is one.
        flops, parameters, role: of the model.
    """
    model_id = registry.add_model(connection, model, flops, parameters, role)
    if alias is not None:
        registry.add_alias(connection, alias, model_id)
    device_id = registry.add_device(connection, measurement.device)
    return insert_rows(connection, rows, model_id, registry.add_epoch(connection, device_id, measurement.epoch))


def insert_rows(connection: Connection, rows: MeasurementRows, model_id: int, epoch_id: int) -> int:
    """Store a measurement, or find the equal one that is stored. Returns its id."""
    found = _FIND_DIGEST.first(connection, wanted=rows.measurement["digest"])
    if found is not None:
        return int(found.id)
    header = {**rows.measurement, "model_id": model_id, "epoch_id": epoch_id}
    measurement_id = inserted_id(connection.execute(insert(measurements), header))
    parts = ((attempts, rows.attempts), (attempt_faults, rows.faults), (metrics, rows.metrics))
    for table, children in parts:
        if children:
            connection.execute(insert(table), [{"measurement_id": measurement_id, **child} for child in children])
    return measurement_id


def load(
    connection: Connection,
    model_key: str,
    identity: DeviceIdentity,
    epoch: DeviceEpoch | None,
    include_suspect: bool = False,
) -> list[Measurement]:
    """Measurements of a model on a device, newest first.

    Args:
        connection: in a transaction.
        model_key: key of the model.
        identity: the device.
        epoch: only what may be served in this epoch of it; None for all of its own epochs.
        include_suspect: also those that were withdrawn.
    """
    found = _FIND.all(
        connection, key=model_key, own=identity.digest, here=identity.runtime, **links.lineage_values(identity)
    )
    epoch_by_id = {row.epoch_id: epoch_of(row) for row in found}
    own = {row.epoch_id for row in found if row.device_digest == identity.digest}
    wanted = own
    if epoch is not None:
        wanted = {place for place in own if epoch_by_id[place] == epoch}
        # Links are looked up only where they can matter.
        if any(row.epoch_id not in wanted and links.is_sibling(row.options, identity) for row in found):
            wanted |= links.served_epoch_ids(connection, identity, epoch)
    headers = [row for row in found if row.epoch_id in wanted and (include_suspect or not row.is_suspect)]
    return [
        Measurement(
            model_key=model_key,
            device=identity if header.epoch_id in own else replace(identity, runtime=header.runtime),
            epoch=epoch_by_id[header.epoch_id],
            attempts=tuple(_batch(row) for row in _ATTEMPTS.all(connection, of=header.id)),
            stable=header.status == "stable",
            min_runs=header.min_runs,
            max_relative_std=header.max_relative_std,
            warmup_runs=header.warmup_runs,
            started_at=header.started_at,
            duration_s=header.duration_s,
            faults=tuple(row.text for row in _FAULTS.all(connection, of=header.id)) if header.has_faults else (),
            initialization_ms=header.initialization_ms,
            first_run_ms=header.first_run_ms,
            metrics=tuple(Metric(*row) for row in _METRICS.all(connection, of=header.id)) if header.has_metrics else (),
            tool=header.tool,
            commit=header.commit,
            relative_error=header.relative_error,
            source=header.source,
        )
        for header in headers
    ]


def _statistics(batch: RunBatch) -> Values:
    return {
        "count": None if batch.count is None else int(batch.count),
        "runs_per_sample": int(batch.runs_per_sample),
        **{name: number(getattr(batch, name), name) for name in STATISTIC_COLUMNS},
    }


def _batch(row: Any) -> RunBatch:
    return RunBatch(
        count=row.count,
        **{name: getattr(row, name) for name in STATISTIC_COLUMNS},
        runs_per_sample=row.runs_per_sample,
        runs_ms=None if row.runs is None else unpack_runs(row.runs),
    )


def _digest(
    measurement: Measurement,
    header: Values,
    runs: list[bytes | None],
    faults: list[Values],
    further: list[Values],
) -> str:
    """SHA-256 of all figures. Compressed bytes do not enter, since another zlib may make others."""
    plain = [
        measurement.model_key,
        measurement.device.digest,
        measurement.epoch.digest,
        {**header, "started_at": header["started_at"].timestamp()},
        [list(_statistics(batch).values()) for batch in measurement.attempts],
        [None if raw is None else hashlib.sha256(raw).hexdigest() for raw in runs],
        faults,
        further,
    ]
    return hashlib.sha256(repr(plain).encode("utf-8", "surrogatepass")).hexdigest()


_FIND_DIGEST = Prepared(select(measurements.c.id).where(measurements.c.digest == bindparam("wanted")))

_FIND = Prepared(
    select(
        *(measurements.c[name] for name in ("id", "epoch_id", "status", "min_runs", "max_relative_std")),
        *(measurements.c[name] for name in ("warmup_runs", "first_run_ms", "initialization_ms", "started_at")),
        *(measurements.c[name] for name in ("duration_s", "tool", "commit", "relative_error", "source")),
        *EPOCH_COLUMNS,
        devices.c.digest.label("device_digest"),
        devices.c.runtime,
        devices.c.options,
        exists().where(attempt_faults.c.measurement_id == measurements.c.id).label("has_faults"),
        exists().where(metrics.c.measurement_id == measurements.c.id).label("has_metrics"),
        IS_SUSPECT.label("is_suspect"),
    )
    .select_from(measurements.join(models).join(epochs).join(devices))
    .where(
        models.c.key == bindparam("key"),
        (devices.c.digest == bindparam("own")) | (devices.c.runtime != bindparam("here")),
        *links.OF_LINEAGE,
    )
    .order_by(measurements.c.started_at.desc(), measurements.c.id.desc())
)
_ATTEMPTS = Prepared(
    select(
        *(attempts.c[name] for name in ("count", "runs_per_sample", *STATISTIC_COLUMNS)),
        attempts.c.runs,
    )
    .where(attempts.c.measurement_id == bindparam("of"))
    .order_by(attempts.c.position)
)
_FAULTS = Prepared(
    select(attempt_faults.c.text)
    .where(attempt_faults.c.measurement_id == bindparam("of"))
    .order_by(attempt_faults.c.position)
)
_METRICS = Prepared(
    select(*(metrics.c[name] for name in ("name", "value", "unit", "source")))
    .where(metrics.c.measurement_id == bindparam("of"))
    .order_by(metrics.c.position)
)
