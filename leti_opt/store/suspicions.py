"""Measurements that are withdrawn because their device was not itself, and networks to be measured again for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, insert, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store.schema import devices, epochs, measurements, models, suspicions

IS_SUSPECT = exists().where(suspicions.c.measurement_id == measurements.c.id)
"""Whether a measurement was withdrawn."""


def add(
    connection: Connection,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    since: datetime,
    reason: str,
    found_at: datetime,
) -> list[str]:
    """Withdraw what ended after a moment. Returns the models' keys, in order of measurement."""
    rows = [row for row in connection.execute(_unsuspected(identity, epoch)) if _seconds_after(row, since) > 0]
    if rows:
        connection.execute(
            insert(suspicions),
            [{"measurement_id": row.id, "reason": reason, "found_at": found_at} for row in rows],
        )
    return list(dict.fromkeys(row.key for row in rows))


def add_one(connection: Connection, measurement_id: int, reason: str, found_at: datetime) -> None:
    """Withdraw one measurement; one that is withdrawn already keeps its first reason."""
    known = select(suspicions.c.reason).where(suspicions.c.measurement_id == measurement_id)
    if connection.execute(known).first() is None:
        values = {"measurement_id": measurement_id, "reason": reason, "found_at": found_at}
        connection.execute(insert(suspicions), values)


def open_keys(connection: Connection, identity: DeviceIdentity, epoch: DeviceEpoch) -> list[str]:
    """Keys of models all of whose measurements on a device and epoch were withdrawn, in order of measurement."""
    of_device = _measured(identity, epoch)
    stands = {row.key for row in connection.execute(of_device.where(~IS_SUSPECT))}
    withdrawn = (row.key for row in connection.execute(of_device.where(IS_SUSPECT)))
    return [key for key in dict.fromkeys(withdrawn) if key not in stands]


def _unsuspected(identity: DeviceIdentity, epoch: DeviceEpoch) -> Select[Any]:
    """Canaries are no result of anybody's, so none is withdrawn."""
    return _measured(identity, epoch).where(~IS_SUSPECT, models.c.role.is_(None))


def _measured(identity: DeviceIdentity, epoch: DeviceEpoch) -> Select[Any]:
    return (
        select(measurements.c.id, models.c.key, measurements.c.started_at, measurements.c.duration_s)
        .select_from(measurements.join(models).join(epochs).join(devices))
        .where(
            devices.c.digest == identity.digest,
            epochs.c.digest == epoch.digest,
            measurements.c.source.is_(None),
        )
        .order_by(measurements.c.id)
    )


def _seconds_after(row: Any, since: datetime) -> float:
    return float((row.started_at - since).total_seconds() + row.duration_s)
