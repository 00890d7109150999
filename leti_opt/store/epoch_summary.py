"""What a store holds by epoch: how many figures, which ones, and which epochs belong together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, case, distinct, exists, func, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store import links, registry
from leti_opt.store.records import EpochSummary
from leti_opt.store.schema import aliases, devices, epoch_links, epochs, measurements, models
from leti_opt.store.suspicions import IS_SUSPECT

_HOLDS = (measurements.c.status == "stable", models.c.role.is_(None), ~IS_SUSPECT)


def summaries(connection: Connection, identity: DeviceIdentity) -> list[EpochSummary]:
    """Every epoch of a device and its siblings that has figures which hold, the one that was measured last first."""
    return [
        EpochSummary(registry.identity_of(row), registry.epoch_of(row), row.networks, row.own, row.last_measured)
        for row in connection.execute(_SUMMARIES, links.lineage_values(identity))
        if links.is_sibling(row.options, identity)
    ]


def measured(connection: Connection, identity: DeviceIdentity) -> list[DeviceEpoch]:
    """The epochs of a device itself in which anything was measured, the one that was stored last first."""
    return [registry.epoch_of(row) for row in connection.execute(_OF_DEVICE, {"device": identity.digest})]


def latencies(
    connection: Connection, identity: DeviceIdentity, epoch: DeviceEpoch, network_digest: str, linked: bool
) -> dict[str, float]:
    """Newest mean in milliseconds, by model, of what may be served in an epoch and holds.

    Args:
        connection: in a transaction.
        identity: the device.
        epoch: its epoch.
        network_digest: how the cells are laid out; empty for users' own files.
        linked: False to leave out what was measured in other epochs.
    """
    wanted = links.served_epoch_ids(connection, identity, epoch)
    if not linked:
        wanted &= {links.epoch_id(connection, identity, epoch)}
    found = connection.execute(
        _LATENCIES.where(_OF_FILES if network_digest == "" else _OF_NETWORK),
        {"epochs": sorted(wanted), **({"network": network_digest} if network_digest else {})},
    )
    return {row.key: row.mean_ms for row in found}


def groups(connection: Connection) -> dict[tuple[str, str], int]:
    """A number for each epoch, by digest of device and of epoch; equal where results of one are served in the other.

    Agreement may fail to be transitive: A agrees with B, B with C, and A not with C. Then C stands apart, for whatever
    has one number must agree with everything else of it. Older epochs come first.
    """
    checks = [tuple(row) for row in connection.execute(_CHECKS)]
    linked = {place for first, second, agrees in checks if agrees for place in (first, second)}
    served = {place: links.served_epochs(checks, place) for place in linked}
    numbers: dict[tuple[str, str], int] = {}
    members: dict[int, set[int]] = {}
    for row in connection.execute(_EPOCHS):
        fitting = (
            number
            for number, others in (members.items() if row.id in linked else ())
            if others <= served[row.id] and all(row.id in served[other] for other in others)
        )
        number = next(fitting, None) or 1 + max(numbers.values(), default=0)
        if row.id in linked:
            members.setdefault(number, set()).add(row.id)
        numbers[row.device_digest, row.epoch_digest] = number
    return numbers


_MEASURED = measurements.join(models).join(epochs).join(devices)
_SUMMARIES = (
    select(
        *registry.IDENTITY_COLUMNS,
        *registry.EPOCH_COLUMNS,
        func.count(distinct(models.c.id)).label("networks"),
        func.count(distinct(case((measurements.c.source.is_(None), models.c.id)))).label("own"),
        func.max(measurements.c.started_at).label("last_measured"),
    )
    .select_from(_MEASURED)
    .where(*links.OF_LINEAGE, *_HOLDS)
    .group_by(epochs.c.id, devices.c.id)
    .order_by(func.max(measurements.c.started_at).desc(), epochs.c.id.desc())
)
# Read off an index alone, where a summary looks at every measurement.
_OF_DEVICE = (
    select(*registry.EPOCH_COLUMNS)
    .select_from(devices.join(epochs).join(measurements))
    .where(devices.c.digest == bindparam("device"))
    .group_by(epochs.c.id)
    .order_by(func.max(measurements.c.id).desc())
)
_LATENCIES = (
    select(models.c.key, measurements.c.mean_ms)
    .select_from(measurements.join(models))
    .where(measurements.c.epoch_id.in_(bindparam("epochs", expanding=True)), *_HOLDS)
    .order_by(measurements.c.started_at, measurements.c.id)
)
_ALIASED = exists().where(aliases.c.model_id == models.c.id)
_OF_NETWORK = _ALIASED.where(aliases.c.network_digest == bindparam("network"))
_OF_FILES = models.c.path.is_not(None)
_CHECKS = select(epoch_links.c.first_epoch_id, epoch_links.c.second_epoch_id, epoch_links.c.agrees).order_by(
    epoch_links.c.checked_at.desc(), epoch_links.c.id.desc()
)
_EPOCHS: Any = (
    select(epochs.c.id, devices.c.digest.label("device_digest"), epochs.c.digest.label("epoch_digest"))
    .select_from(epochs.join(devices))
    .order_by(epochs.c.id)
)
