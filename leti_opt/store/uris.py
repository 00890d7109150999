"""Which device a URI led to when it was last seen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store import registry
from leti_opt.store.schema import device_uris, devices, epochs


def remember(connection: Connection, uri: str, identity: DeviceIdentity, epoch: DeviceEpoch, seen_at: datetime) -> None:
    """Store which device a URI leads to; it forgets the one before."""
    device_id = registry.add_device(connection, identity)
    epoch_id = registry.add_epoch(connection, device_id, epoch)
    values = {"device_id": device_id, "epoch_id": epoch_id, "last_seen": seen_at}
    known = device_uris.c.uri == uri
    if connection.execute(device_uris.update().where(known).values(values)).rowcount == 0:
        connection.execute(device_uris.insert(), {"uri": uri, **values})


def device_of(connection: Connection, uri: str) -> tuple[DeviceIdentity, DeviceEpoch] | None:
    """The device and epoch that a URI led to, or None."""
    row = connection.execute(_DEVICE_OF, {"wanted": uri}).first()
    return None if row is None else (registry.identity_of(row), registry.epoch_of(row))


def all_devices(connection: Connection) -> dict[str, tuple[DeviceIdentity, DeviceEpoch]]:
    """The device and epoch of every URI, the one that was seen last first."""
    rows = connection.execute(_ALL.order_by(device_uris.c.last_seen.desc(), device_uris.c.uri))
    return {row.uri: (registry.identity_of(row), registry.epoch_of(row)) for row in rows}


_ALL = select(device_uris.c.uri, *registry.IDENTITY_COLUMNS, *registry.EPOCH_COLUMNS).select_from(
    device_uris.join(devices).join(epochs, epochs.c.id == device_uris.c.epoch_id)
)
_DEVICE_OF = (
    select(*registry.IDENTITY_COLUMNS, *registry.EPOCH_COLUMNS)
    .select_from(device_uris.join(devices).join(epochs, epochs.c.id == device_uris.c.epoch_id))
    .where(device_uris.c.uri == bindparam("wanted"))
)
