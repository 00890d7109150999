"""What a device measured last, and how long that took: what forecasts and rates are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, func, select

from leti_opt.device.device import DeviceIdentity
from leti_opt.store.base import StoreBase
from leti_opt.store.schema import aliases, devices, epochs, measurements, metrics, models

_AT_THE_END = 5_000
BATTERY_TEMPERATURE = "battery_temperature"


@dataclass(frozen=True)
class PaceRow:
    """One of the last measurements of a device.

    Args:
        started_at: when it began.
        duration_s: how long it took, all attempts included.
        mean_ms: latency of the network.
        flops: of the network; None where they are not known.
        runs: timed ones of the last attempt.
        unit: the very device.
        temperature_c: of its battery; None where it does not tell.
    """

    started_at: datetime
    duration_s: float
    mean_ms: float
    flops: int | None
    runs: int | None
    unit: str
    temperature_c: float | None


class PaceStore(StoreBase):
    """How fast the devices of a store are."""

    def last_measured(
        self, identity: DeviceIdentity, network_digest: str | None = None, most: int = 200
    ) -> list[PaceRow]:
        """What a device measured last, the newest first.

        Args:
            identity: the device.
            network_digest: only cells that are laid out so; None for all.
            most: how many at most.
        """
        return self._read(_load, identity, network_digest, most)


def _load(connection: Connection, identity: DeviceIdentity, network_digest: str | None, most: int) -> list[PaceRow]:
    query = _LAST.where(devices.c.digest == identity.digest)
    if network_digest is not None:
        laid_out_so = (aliases.c.model_id == models.c.id) & (aliases.c.network_digest == network_digest)
        query = query.where(exists().where(laid_out_so))
    query = query.order_by(measurements.c.id.desc()).limit(most)
    # All of a large store takes a second; what was measured last is mostly at its end.
    newest = connection.execute(select(func.max(measurements.c.id))).scalar() or 0
    found = connection.execute(query.where(measurements.c.id > newest - _AT_THE_END)).all()
    if len(found) < most and newest > _AT_THE_END:
        found = connection.execute(query).all()
    return [PaceRow(*row) for row in found]


_LAST: Select[Any] = (
    select(
        measurements.c.started_at,
        measurements.c.duration_s,
        measurements.c.mean_ms,
        models.c.flops,
        measurements.c["count"],
        epochs.c.unit,
        metrics.c.value,
    )
    .select_from(
        measurements.join(models)
        .join(epochs)
        .join(devices)
        .outerjoin(metrics, and_(metrics.c.measurement_id == measurements.c.id, metrics.c.name == BATTERY_TEMPERATURE))
    )
    .where(models.c.role.is_(None))
)
