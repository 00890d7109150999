"""Ids of models, aliases, devices and epochs; whatever is not there yet is added.

The functions that add run in a transaction that holds the write lock, so nobody adds the same in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Select, Table, bindparam, insert, select, update

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import StoreError
from leti_opt.store.prepared import Prepared
from leti_opt.store.records import CellAlias, ModelRecord
from leti_opt.store.schema import aliases, devices, epochs, models, networks
from leti_opt.store.values import canonical_json, plain_json

IDENTITY_COLUMNS = (
    *(devices.c[name] for name in ("kind", "hardware", "runtime", "runner", "delegate", "options")),
    devices.c.origin.label("device_origin"),
)
ALIAS_COLUMNS = ("graph_hash", "network_digest", "renderer", "cell")
EPOCH_COLUMNS = (epochs.c.system_build, epochs.c.driver, epochs.c.unit)


def identity_of(row: Any) -> DeviceIdentity:
    """Device identity from a row with :data:`IDENTITY_COLUMNS`."""
    options = tuple((key, value) for key, value in row.options)
    return DeviceIdentity(row.kind, row.hardware, row.runtime, row.runner, row.delegate, options, row.device_origin)


def epoch_of(row: Any) -> DeviceEpoch:
    """Epoch from a row with :data:`EPOCH_COLUMNS`."""
    return DeviceEpoch(row.system_build, row.driver, row.unit)


def add_model(
    connection: Connection,
    model: MeasurableModel,
    flops: int | None = None,
    parameters: int | None = None,
    role: str | None = None,
) -> int:
    """Id of a model. What an earlier call did not know is filled in; nothing is overwritten."""
    found = connection.execute(_MODEL, {"wanted": model.key}).first()
    known = model_facts(model, flops, parameters, role)
    if found is None:
        return _inserted(connection, models, model_names(model) | known)
    fresh = {name: value for name, value in known.items() if value is not None and found._mapping[name] is None}
    if fresh:
        connection.execute(update(models).where(models.c.id == found.id).values(fresh))
    return int(found.id)


def model_names(model: MeasurableModel) -> dict[str, str]:
    """What a model always has, as columns."""
    return {"key": model.key, "name": model.name, "renderer": model.renderer, "precision": model.precision}


def model_facts(
    model: MeasurableModel, flops: int | None, parameters: int | None, role: str | None = None
) -> dict[str, Any]:
    """What may be known of a model or not, as columns."""
    graph = model.layer_graph
    return {
        "batch_size": None if graph is None else graph.batch_size,
        "input_shape": None if graph is None else canonical_json(list(graph.input_shape), "input_shape"),
        "layer_graph_digest": None if graph is None else graph.digest,
        "flops": None if flops is None else int(flops),
        "parameters": None if parameters is None else int(parameters),
        "role": role,
        "path": None if model.path is None else str(model.path),
        "file_sha256": model.file_sha256 or None,
    }


def load_model(connection: Connection, key: str) -> ModelRecord | None:
    """What is known of a model, or None."""
    found = connection.execute(_MODEL, {"wanted": key}).first()
    return None if found is None else ModelRecord(found.key, found.name, found.renderer, found.path, found.file_sha256)


def add_network(connection: Connection, digest: str, config: Mapping[str, Any]) -> None:
    """Keep the settings that a network's digest stands for."""
    if connection.execute(select(networks.c.id).where(networks.c.digest == digest)).first() is None:
        _inserted(connection, networks, {"digest": digest, "config": plain_json(dict(config), "network config")})


def load_network(connection: Connection, digest: str) -> dict[str, Any] | None:
    """The settings that a network's digest stands for, or None."""
    found = connection.execute(select(networks.c.config).where(networks.c.digest == digest)).scalar()
    return None if found is None else dict(found)


def add_alias(connection: Connection, alias: CellAlias, model: int) -> None:
    """Let a cell stand for a model.

    Raises:
        StoreError: it stands for another one.
    """
    found = _ALIAS.first(connection, **alias_values(alias))
    if found is None:
        _inserted(connection, aliases, {**alias_values(alias), "model_id": model})
    elif found.model_id != model:
        raise other_model(alias, found.key)


def other_model(alias: CellAlias, key: str) -> StoreError:
    """What to say of a cell that stands for another model already."""
    return StoreError(
        f"the cell {alias.cell} with network {alias.network_digest[:12]} and renderer {alias.renderer} was stored "
        f"as another model ({key}); the code that builds it has changed: use a new store, or undo the change"
    )


def add_model_with_alias(connection: Connection, model: MeasurableModel, alias: CellAlias) -> None:
    """Let a cell stand for a model, which need not be known."""
    add_alias(connection, alias, add_model(connection, model))


def load_aliases(connection: Connection, graph_hash: str | None, model_key: str | None) -> list[CellAlias]:
    """Cells in order of adding, with this hash and of this model where they are given."""
    query: Select[Any] = select(*(aliases.c[name] for name in ALIAS_COLUMNS))
    if graph_hash is not None:
        query = query.where(aliases.c.graph_hash == graph_hash)
    if model_key is not None:
        query = query.join(models).where(models.c.key == model_key)
    return [CellAlias(*row) for row in connection.execute(query.order_by(aliases.c.id))]


def resolve(connection: Connection, alias: CellAlias) -> str | None:
    """Key of the model that a cell stands for, or None."""
    found = _ALIAS.first(connection, **alias_values(alias))
    return None if found is None else str(found.key)


def alias_values(alias: CellAlias | None) -> dict[str, str | None]:
    """An alias as columns; all None where there is none."""
    return {name: None if alias is None else getattr(alias, name) for name in ALIAS_COLUMNS}


def add_device(connection: Connection, identity: DeviceIdentity) -> int:
    """Id of a device."""
    found = connection.execute(_DEVICE, {"wanted": identity.digest}).scalar()
    if found is not None:
        return int(found)
    values = {
        "digest": identity.digest,
        "kind": identity.kind,
        "hardware": identity.hardware,
        "runtime": identity.runtime,
        "runner": identity.runner,
        "delegate": identity.delegate,
        "options": plain_json(identity.options, "device options"),
        "origin": identity.origin,
    }
    return _inserted(connection, devices, values)


def add_epoch(connection: Connection, device: int, epoch: DeviceEpoch) -> int:
    """Id of a device's epoch."""
    found = connection.execute(_EPOCH, {"device": device, "wanted": epoch.digest}).scalar()
    if found is not None:
        return int(found)
    fields = {"system_build": epoch.system_build, "driver": epoch.driver, "unit": epoch.unit}
    return _inserted(connection, epochs, {"device_id": device, "digest": epoch.digest, **fields})


def add_once(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    """Id of the row with exactly these values, inserted now or before.

    For rows that nothing but all of their columns together identifies: a call that is made again after the connection
    broke at its very end doubles none.
    """
    # Absent values are compared apart: PostgreSQL uses no index for "is not distinct from".
    equal = (table.c[name].is_(None) if value is None else table.c[name] == value for name, value in values.items())
    found = connection.execute(select(table.c.id).where(*equal)).scalar()
    return _inserted(connection, table, values) if found is None else int(found)


def inserted_id(result: CursorResult[*tuple[Any, ...]]) -> int:
    """Id that the database gave an inserted row."""
    key = result.inserted_primary_key
    if key is None:
        raise StoreError("the database gave no id to what was inserted; this is a fault of leti_opt, please report it")
    return int(key[0])


def _inserted(connection: Connection, table: Table, values: dict[str, Any]) -> int:
    return inserted_id(connection.execute(insert(table), values))


_MODEL = select(models).where(models.c.key == bindparam("wanted"))
_ALIAS = Prepared(
    select(models.c.key, aliases.c.model_id)
    .select_from(aliases.join(models))
    .where(*(aliases.c[name] == bindparam(name) for name in ALIAS_COLUMNS))
)
_DEVICE = select(devices.c.id).where(devices.c.digest == bindparam("wanted"))
_EPOCH = select(epochs.c.id).where(epochs.c.device_id == bindparam("device"), epochs.c.digest == bindparam("wanted"))
