"""Rows of an exported table in batches: memory holds one of them, however large the store is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Connection, DateTime, Select, func, select, type_coerce

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError
from leti_opt.store import epoch_summary, exchange, links, paging, protocol_rules, pseudonyms, registry
from leti_opt.store.schema import aliases, devices, epochs, failures, measurements, metrics, models
from leti_opt.store.suspicions import IS_SUSPECT

if TYPE_CHECKING:
    import pyarrow as pa

Story = dict[str, Any]
Columns = dict[str, Any]
Place = tuple[int | None, int | None]
"""The id of a device where there is no epoch, and the id of an epoch."""


@dataclass(frozen=True)
class Selection:
    """Which rows; see :meth:`leti_opt.store.LatencyStore.to_frame`.

    Raises:
        InvalidInputError: no such origin, or an epoch without its device.
    """

    origin: str | None
    identity: DeviceIdentity | None
    include_unstable: bool
    include_failures: bool
    epoch: DeviceEpoch | Literal["any"] | None
    model_keys: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.origin is not None and self.origin not in exchange.ORIGINS:
            raise InvalidInputError(f"origin must be one of {', '.join(exchange.ORIGINS)}, not {self.origin!r}")
        if isinstance(self.epoch, DeviceEpoch) and self.identity is None:
            raise InvalidInputError("an epoch belongs to a device; give identity=… too")


class ExportRows:
    """The rows of a selection, as one state of a store has them.

    Args:
        connection: in a transaction that lasts as long as this object is used.
        selection: which rows.
        names: what replaces the names of units, hosts and folders; None to leave them.

    Attributes:
        count: how many rows.
        note: what an EpochWarning should say; None where the rows fit together.

    Raises:
        InvalidInputError: the rows are of several origins, and none was asked for.
    """

    def __init__(
        self, connection: Connection, selection: Selection, names: pseudonyms.Pseudonyms | None = None
    ) -> None:
        self._connection = connection
        self._selection = selection
        self._names = names
        self._stories = _stories(connection)
        self._around: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._measured = self._conditions_of_measurements()
        self._failed = self._conditions_of_failures()
        measured = connection.execute(_COUNTED_MEASUREMENTS.where(*self._measured)).all()
        failed = connection.execute(_COUNTED_FAILURES.where(*self._failed)).all() if selection.include_failures else []
        self.count: int = sum(row.rows for row in (*measured, *failed))
        if selection.origin is None:
            exchange.refuse_mixture({row.origin for row in (*measured, *failed) if row.origin is not None})
        self.note = None if selection.epoch is not None else self._note(measured)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows: measurements in the order of storing, then failures."""
        import pyarrow as pa

        shape = exchange.arrow_schema()
        for columns in self._pages():
            length = len(columns["tool"])
            arrays = [
                _array(columns[field.name], field.type) if field.name in columns else pa.nulls(length, type=field.type)
                for field in shape
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=shape)

    def _pages(self) -> Iterator[Columns]:
        for page in paging.pages(self._connection, _MEASURED.where(*self._measured), measurements.c.id):
            columns = _columns_of(page)
            columns["metrics"] = self._metrics(columns["id"])
            places = {epoch: (None, epoch) for epoch in set(columns["epoch_id"])}
            yield self._finished(columns, [places[epoch] for epoch in columns["epoch_id"]])
        if not self._selection.include_failures:
            return
        for page in paging.pages(self._connection, _FAILED.where(*self._failed), failures.c.id):
            columns = _columns_of(page)
            columns["status"] = ["infeasible"] * len(page)
            pairs = zip(columns["device_id"], columns["epoch_id"], strict=True)
            yield self._finished(columns, [(None if epoch else device, epoch) for device, epoch in pairs])

    def _finished(self, columns: Columns, places: Sequence[Place]) -> Columns:
        """With what is told of each row's device and epoch, and without names."""
        import pyarrow as pa

        if self._names is not None:
            for name in _OF_ROWS:
                if name in columns:
                    columns[name] = _each(columns[name], self._names.text)
        stories = [self._told(place) for place in dict.fromkeys(places)]
        numbers = {place: number for number, place in enumerate(dict.fromkeys(places))}
        which = pa.array([numbers[place] for place in places])
        return columns | {
            field.name: pa.array([story.get(field.name) for story in stories], type=field.type).take(which)
            for field in exchange.arrow_schema()
            if field.name in _TOLD
        }

    def _told(self, place: Place) -> Story:
        story = self._stories[place]
        return story if self._names is None else self._names.story(story)

    def _metrics(self, ids: Sequence[int]) -> list[str | None]:
        """Of each measurement its further figures, as JSON."""
        wanted = set(ids)
        found: dict[int, str] = {}
        for start in range(ids[0], ids[-1] + 1, paging.PAGE_ROWS):
            within = metrics.c.measurement_id.between(start, min(start + paging.PAGE_ROWS - 1, ids[-1]))
            for key, value, *words in self._connection.execute(_METRICS.where(within)).all():
                if key in wanted:
                    before, after = self._around_figure(*words)
                    figure = f"{before}{repr(value) if math.isfinite(value) else json.dumps(value)}{after}"
                    found[key] = f"{found[key]}, {figure}" if key in found else figure
        return [f"[{found[key]}]" if key in found else None for key in ids]

    def _around_figure(self, name: str, unit: str, source: str) -> tuple[str, str]:
        """The JSON of a metric, without names, up to its value and after it: few are the same for many rows."""
        known = self._around.get((name, unit, source))
        if known is None:
            text = (lambda text: text) if self._names is None else self._names.text
            before = json.dumps({"name": name})[:-1] + ', "value": '
            after = json.dumps({"unit": unit, "source": source})[1:]
            known = self._around[name, unit, source] = text(before), ", " + text(after)
        return known

    def _note(self, measured: Sequence[Any]) -> str | None:
        in_order = sorted(measured, key=lambda row: int(row.first))
        return exchange.unlinked_epochs(
            [({**self._stories[None, row.epoch_id], "origin": row.origin}, row.rows) for row in in_order]
        )

    def _served(self) -> set[int] | None:
        """Ids of the epochs that were asked for; None for all."""
        asked = self._selection
        if asked.identity is None or not isinstance(asked.epoch, DeviceEpoch):
            return None
        return links.served_epoch_ids(self._connection, asked.identity, asked.epoch)

    def _conditions_of_measurements(self) -> list[ColumnElement[bool]]:
        asked, served = self._selection, self._served()
        found = [~IS_SUSPECT, models.c.role.is_(None)]
        if asked.origin not in (None, "any"):
            found.append(measurements.c.origin == asked.origin)
        if served is None and asked.identity is not None:
            own = select(epochs.c.id).join(devices).where(devices.c.digest == asked.identity.digest)
            served = set(self._connection.execute(own).scalars())
        if served is not None:
            # Pages follow the ids; an index of epochs would make every page sort all rows.
            found.append((measurements.c.epoch_id + 0).in_(sorted(served)))
        if asked.model_keys is not None:
            found.append(models.c.key.in_(sorted(asked.model_keys)))
        if not asked.include_unstable:
            found.append(measurements.c.status != "unstable")
        return found

    def _conditions_of_failures(self) -> list[ColumnElement[bool]]:
        """A failure without a device goes for every device and every origin."""
        asked, served = self._selection, self._served()
        found: list[ColumnElement[bool]] = []
        if asked.origin not in (None, "any"):
            found.append((devices.c.origin == asked.origin) | failures.c.device_id.is_(None))
        if asked.identity is not None:
            found.append((devices.c.digest == asked.identity.digest) | failures.c.device_id.is_(None))
        if served is not None:
            found.append(failures.c.epoch_id.in_(sorted(served)) | failures.c.epoch_id.is_(None))
        if asked.model_keys is not None:
            found.append(models.c.key.in_(sorted(asked.model_keys)))
        return found


def _columns_of(page: Sequence[Any]) -> Columns:
    return dict(zip(page[0]._fields, zip(*page, strict=True), strict=True))


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return values if isinstance(values, pa.Array) else pa.array(values, type=kind)


def _each(texts: Sequence[str | None], change: Callable[[str], str]) -> list[str | None]:
    changed: dict[str | None, str | None] = {text: change(text) for text in set(texts) if text is not None}
    changed[None] = None
    return [changed[text] for text in texts]


def _stories(connection: Connection) -> dict[Place, Story]:
    """What rows say of their device and epoch: by the epoch's id, or where there is none by the device's."""
    found: dict[Place, Story] = {(None, None): {}}
    for row in connection.execute(select(devices.c.id, devices.c.digest, *registry.IDENTITY_COLUMNS)):
        found[row.id, None] = {
            "origin": row.device_origin,
            "device": registry.identity_of(row).name,
            "device_digest": row.digest,
            "device_kind": row.kind,
            "hardware": row.hardware,
            "runtime": row.runtime,
            "runner": row.runner,
            "delegate": row.delegate,
            "options": json.dumps(row.options),
        }
    groups = epoch_summary.groups(connection)
    for row in connection.execute(
        select(epochs.c.id, epochs.c.device_id, epochs.c.digest, *registry.EPOCH_COLUMNS).order_by(epochs.c.id)
    ):
        of_device = found[row.device_id, None]
        found[None, row.id] = of_device | {
            "epoch_digest": row.digest,
            "epoch_group": groups.get((of_device["device_digest"], row.digest)),
            "system_build": row.system_build,
            "driver": row.driver,
            "unit": row.unit,
        }
    return found


_OF_ROWS = [name for name in pseudonyms.OF_ROWS if name != "metrics"]
_TOLD = (
    *("device", "device_digest", "device_kind", "hardware", "runtime", "runner", "delegate", "options"),
    *("epoch_digest", "epoch_group", "system_build", "driver", "unit"),
)
_MODEL = (
    models.c.key.label("model_key"),
    *(models.c[name] for name in ("name", "precision", "batch_size", "input_shape", "flops", "parameters")),
)
# Several cells may stand for one model; a measurement stays one row, under the first of them.
_FIRST_ALIAS = (
    select(func.min(aliases.c.id)).where(aliases.c.model_id == models.c.id).correlate(models).scalar_subquery()
)
_OWN = [measurements.c[name] for name in exchange.COLUMNS if name in measurements.c and name != "started_at"]
_MEASURED: Select[Any] = select(
    measurements.c.id,
    measurements.c.epoch_id,
    *_OWN,
    type_coerce(measurements.c.started_at, DateTime).label("started_at"),
    protocol_rules.attempt_count.label("attempts"),
    *_MODEL,
    models.c.renderer,
    *(aliases.c[name] for name in ("cell", "graph_hash", "network_digest")),
).select_from(measurements.join(models).outerjoin(aliases, aliases.c.id == _FIRST_ALIAS))
_METRICS = select(*(metrics.c[name] for name in ("measurement_id", "value", "name", "unit", "source"))).order_by(
    metrics.c.measurement_id, metrics.c.position
)
_COUNTED_MEASUREMENTS = (
    select(
        measurements.c.epoch_id,
        measurements.c.origin,
        func.count().label("rows"),
        func.min(measurements.c.id).label("first"),
    )
    .select_from(measurements.join(models))
    .group_by(measurements.c.epoch_id, measurements.c.origin)
)
_PLACES_OF_FAILURES = failures.outerjoin(models).outerjoin(devices, devices.c.id == failures.c.device_id)
_COUNTED_FAILURES = (
    select(devices.c.origin, func.count().label("rows")).select_from(_PLACES_OF_FAILURES).group_by(devices.c.origin)
)
_FAILED: Select[Any] = select(
    failures.c.id,
    failures.c.device_id,
    failures.c.epoch_id,
    *_MODEL,
    func.coalesce(models.c.renderer, failures.c.renderer).label("renderer"),
    func.coalesce(failures.c.cell, aliases.c.cell).label("cell"),
    func.coalesce(failures.c.graph_hash, aliases.c.graph_hash).label("graph_hash"),
    func.coalesce(failures.c.network_digest, aliases.c.network_digest).label("network_digest"),
    devices.c.origin,
    failures.c.reason.label("failure_reason"),
    type_coerce(failures.c.failed_at, DateTime).label("started_at"),
    failures.c.tool,
    failures.c.commit,
).select_from(_PLACES_OF_FAILURES.outerjoin(aliases, aliases.c.id == _FIRST_ALIAS))
