"""Panels: which networks tell whether a device has changed, kept for each device and way of laying cells out."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from leti_opt.device.device import DeviceIdentity
from leti_opt.errors import NotFoundError
from leti_opt.store import registry
from leti_opt.store.schema import devices, models, panel_members


def load(connection: Connection, identity: DeviceIdentity, network_digest: str) -> list[str]:
    """Keys of the panel's models, in order; empty where none was chosen."""
    found = connection.execute(
        select(models.c.key)
        .select_from(panel_members.join(models).join(devices))
        .where(devices.c.digest == identity.digest, panel_members.c.network_digest == network_digest)
        .order_by(panel_members.c.position)
    )
    return [row.key for row in found]


def replace(connection: Connection, identity: DeviceIdentity, network_digest: str, keys: Sequence[str]) -> None:
    """Make these models the panel.

    Raises:
        NotFoundError: the store does not know one of them.
    """
    device_id = registry.add_device(connection, identity)
    ids = {
        row.key: row.id for row in connection.execute(select(models.c.key, models.c.id).where(models.c.key.in_(keys)))
    }
    unknown = [key for key in keys if key not in ids]
    if unknown:
        raise NotFoundError(f"the store does not know the model {unknown[0]}; add its measurement first")
    connection.execute(
        delete(panel_members).where(
            panel_members.c.device_id == device_id, panel_members.c.network_digest == network_digest
        )
    )
    members = [
        {"device_id": device_id, "network_digest": network_digest, "position": place, "model_id": ids[key]}
        for place, key in enumerate(keys)
    ]
    if members:
        connection.execute(insert(panel_members), members)
