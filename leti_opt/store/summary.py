"""What a store holds, in numbers."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, case, distinct, func, select

from leti_opt.store import migrate, registry, schema
from leti_opt.store.records import DeviceSummary, StoreInfo
from leti_opt.store.schema import devices, epochs, measurements, models


def summarize(connection: Connection, url: str, size_bytes: Callable[[Connection], int]) -> StoreInfo:
    """Count everything."""
    counted = ("models", "aliases", "measurements", "failures", "scores", "searches", "evaluations")
    counts = {
        name: connection.execute(select(func.count()).select_from(schema.metadata.tables[name])).scalar_one()
        for name in counted
    }
    # The canary's looks are no results.
    results = select(func.count()).select_from(measurements.join(models)).where(models.c.role.is_(None))
    counts["measurements"] = connection.execute(results).scalar_one()
    unstable = select(func.count()).where(measurements.c.status == "unstable")
    return StoreInfo(
        url=url,
        schema_version=migrate.stored_version(connection, url),
        size_bytes=size_bytes(connection),
        unstable=connection.execute(unstable).scalar_one(),
        devices=tuple(_devices(connection)),
        **counts,
    )


def _devices(connection: Connection) -> list[DeviceSummary]:
    query = (
        select(
            devices.c.digest,
            *registry.IDENTITY_COLUMNS,
            func.count(distinct(epochs.c.id)).label("epochs"),
            func.count(case((models.c.role.is_(None), measurements.c.id))).label("measurements"),
        )
        .select_from(devices.outerjoin(epochs).outerjoin(measurements).outerjoin(models))
        .group_by(devices.c.id)
        .order_by(devices.c.id)
    )
    return [
        DeviceSummary(registry.identity_of(row).name, row.digest, row.device_origin, row.epochs, row.measurements)
        for row in connection.execute(query)
    ]
