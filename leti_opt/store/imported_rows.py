"""Rows of a table into the store, within one transaction; a row that is there is not added again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from leti_opt.device.measurement import Measurement
from leti_opt.network.config import NetworkConfig
from leti_opt.store import measurement_rows, registry
from leti_opt.store.records import CellAlias
from leti_opt.store.schema import devices, epochs, failures, measurements, models
from leti_opt.store.table_row import TableRow


@dataclass(frozen=True)
class ImportCounts:
    """What came in: new measurements, new failures, their networks, rows that were there already, the devices."""

    measurements: int
    failures: int
    networks: int
    known: int
    devices: tuple[str, ...]


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
