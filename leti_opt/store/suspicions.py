"""Measurements that are withdrawn because their device was not itself, and networks to be measured again for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, exists, func, insert, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store.schema import devices, epochs, measurements, models, suspicions

IS_SUSPECT = exists().where(suspicions.c.measurement_id == measurements.c.id)
"""Whether a measurement was withdrawn."""
_IS_CANARY = func.coalesce(models.c.role, "") == "canary"


def add(
    connection: Connection,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    since: datetime,
    reason: str,
    found_at: datetime,
) -> list[str]:
    """Withdraw what ended after a moment. Returns the models' keys, in order of measurement.

    The same call again, with its ``found_at``, answers the same.
    """
    by_this_call = (suspicions.c.found_at == found_at) & (suspicions.c.reason == reason)
    done = {row.measurement_id for row in connection.execute(select(suspicions.c.measurement_id).where(by_this_call))}
    # Canaries are no result of anybody's, so none is withdrawn.
    open_ones = _measured(identity, epoch).where(~IS_SUSPECT.where(~by_this_call), ~_IS_CANARY)
    rows = [row for row in connection.execute(open_ones) if _seconds_after(row, since) > 0]
    fresh = [row for row in rows if row.id not in done]
    if fresh:
        connection.execute(
            insert(suspicions),
            [{"measurement_id": row.id, "reason": reason, "found_at": found_at} for row in fresh],
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
