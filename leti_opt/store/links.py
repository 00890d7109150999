"""What panels showed: which epochs of a device may answer for each other.

Epochs belong to a device identity. A new runtime makes a new identity, so links also join epochs of identities that
differ in their runtime alone: their *lineage* is one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError
from leti_opt.store import registry
from leti_opt.store.prepared import Prepared
from leti_opt.store.records import EpochLink
from leti_opt.store.schema import devices, epoch_links, epochs
from leti_opt.store.values import moment, number

Node = TypeVar("Node", bound=Hashable)

_LINEAGE = ("kind", "hardware", "runner", "delegate", "origin")
OF_LINEAGE = [devices.c[name] == bindparam(f"lineage_{name}") for name in _LINEAGE]
"""Whether a device may be a sibling of another; its options are compared by :func:`is_sibling`."""


def lineage_values(identity: DeviceIdentity) -> dict[str, str]:
    """The parameters of :data:`OF_LINEAGE`."""
    return {f"lineage_{name}": getattr(identity, name) for name in _LINEAGE}


def is_sibling(options: list[list[str]], identity: DeviceIdentity) -> bool:
    """Whether a row of :data:`OF_LINEAGE` with these stored options differs from a device in its runtime alone."""
    return tuple((key, value) for key, value in options) == identity.options


def add_link(connection: Connection, identity: DeviceIdentity, link: EpochLink) -> int:
    """Store what a panel showed about two epochs of a device, or of two that differ in their runtime alone.

    Raises:
        InvalidInputError: the epochs are one, or their devices differ in more than the runtime.
    """
    places = [(link.first_device or identity, link.first), (link.second_device or identity, link.second)]
    if places[0] == places[1]:
        raise InvalidInputError(f"a link joins two epochs, not {link.first} with itself")
    for device, _ in places:
        if replace(device, runtime=identity.runtime) != identity:
            raise InvalidInputError(
                f"a link joins devices that differ in their runtime alone, not {identity.name} and {device.name}; "
                "measure both, and compare them with 'leti-opt compare'"
            )
    first, second = (
        registry.add_epoch(connection, registry.add_device(connection, device), epoch) for device, epoch in places
    )
    values = {
        "first_epoch_id": first,
        "second_epoch_id": second,
        "agrees": bool(link.agrees),
        "median_ratio": number(link.median_ratio, "median_ratio"),
        "spearman": number(link.spearman, "spearman"),
        "networks": int(link.networks),
        "checked_at": moment(link.checked_at, "checked_at"),
    }
    return registry.add_once(connection, epoch_links, values)


def links(connection: Connection, identity: DeviceIdentity) -> list[EpochLink]:
    """Every link between epochs of a device and its siblings, newest first."""
    return [
        EpochLink(
            DeviceEpoch(row.first_build, row.first_driver, row.first_unit),
            DeviceEpoch(row.second_build, row.second_driver, row.second_unit),
            bool(row.agrees),
            row.median_ratio,
            row.spearman,
            row.networks,
            row.checked_at,
            None if row.first_runtime == identity.runtime else replace(identity, runtime=row.first_runtime),
            None if row.second_runtime == identity.runtime else replace(identity, runtime=row.second_runtime),
        )
        for row in _LINKS.all(connection, **lineage_values(identity))
        if is_sibling(row.options, identity)
    ]


def served_epoch_ids(connection: Connection, identity: DeviceIdentity, epoch: DeviceEpoch) -> set[int]:
    """Ids of the epochs, of a device and of its siblings, whose results may be served in an epoch."""
    here = epoch_id(connection, identity, epoch)
    if here is None:
        return set()
    rows = _CHECKS.all(connection, **lineage_values(identity))
    return served_epochs(((row.first_epoch_id, row.second_epoch_id, row.agrees) for row in rows), here)


def epoch_id(connection: Connection, identity: DeviceIdentity, epoch: DeviceEpoch) -> int | None:
    """Id of an epoch of a device, or None."""
    found = _EPOCH_ID.first(connection, device=identity.digest, wanted=epoch.digest)
    return None if found is None else int(found.id)


def checks_of(found: Iterable[EpochLink], identity: DeviceIdentity) -> list[tuple[Any, Any, bool]]:
    """Links as :func:`served_epochs` takes them; a node is a device's identity and its epoch."""
    return [
        ((link.first_device or identity, link.first), (link.second_device or identity, link.second), link.agrees)
        for link in found
    ]


def served_epochs(checks: Iterable[tuple[Node, Node, bool]], here: Node) -> set[Node]:
    """Epochs whose results may be served in this one: itself, and those linked to it as agreeing, also in steps.

    Of two epochs the newest check counts; an epoch that was found to disagree with this one is left out, whatever
    leads to it.

    Args:
        checks: two epochs and whether they agree, newest first.
        here: where results are asked for.

    >>> sorted(served_epochs([("a", "b", True), ("b", "c", True), ("c", "d", False)], "a"))
    ['a', 'b', 'c']
    """
    newest: dict[frozenset[Node], bool] = {}
    for first, second, agrees in checks:
        newest.setdefault(frozenset((first, second)), bool(agrees))
    refuted = {other for pair, agrees in newest.items() if here in pair and not agrees for other in pair - {here}}
    served, pending = {here}, [here]
    while pending:
        at = pending.pop()
        for pair, agrees in newest.items():
            if agrees and at in pair:
                fresh = pair - served - refuted
                served |= fresh
                pending += fresh
    return served


_first, _second = epochs.alias("first_epoch"), epochs.alias("second_epoch")
_other = devices.alias("second_device")
_LINKS = Prepared(
    select(
        *(epoch_links.c[name] for name in ("first_epoch_id", "second_epoch_id", "agrees", "median_ratio")),
        *(epoch_links.c[name] for name in ("spearman", "networks", "checked_at")),
        _first.c.system_build.label("first_build"),
        _first.c.driver.label("first_driver"),
        _first.c.unit.label("first_unit"),
        devices.c.runtime.label("first_runtime"),
        devices.c.options,
        _second.c.system_build.label("second_build"),
        _second.c.driver.label("second_driver"),
        _second.c.unit.label("second_unit"),
        _other.c.runtime.label("second_runtime"),
    )
    .select_from(
        epoch_links.join(_first, _first.c.id == epoch_links.c.first_epoch_id)
        .join(devices, devices.c.id == _first.c.device_id)
        .join(_second, _second.c.id == epoch_links.c.second_epoch_id)
        .join(_other, _other.c.id == _second.c.device_id)
    )
    .where(*OF_LINEAGE)
    .order_by(epoch_links.c.checked_at.desc(), epoch_links.c.id.desc())
)
_CHECKS = Prepared(  # the few columns that a look-up needs
    select(epoch_links.c.first_epoch_id, epoch_links.c.second_epoch_id, epoch_links.c.agrees)
    .select_from(epoch_links.join(epochs, epochs.c.id == epoch_links.c.first_epoch_id).join(devices))
    .where(*OF_LINEAGE)
    .order_by(epoch_links.c.checked_at.desc(), epoch_links.c.id.desc())
)
_EPOCH_ID = Prepared(
    select(epochs.c.id)
    .select_from(epochs.join(devices))
    .where(devices.c.digest == bindparam("device"), epochs.c.digest == bindparam("wanted"))
)
