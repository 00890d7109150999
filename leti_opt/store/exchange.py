"""A store as a table: a data frame, a Parquet file, a CSV file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Select, func, select

from leti_opt import atomic_file
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import EpochWarning, InvalidInputError, StoreError
from leti_opt.store import epoch_summary, links, registry, schema
from leti_opt.store.schema import aliases, devices, epochs, failures, measurements, metrics, models
from leti_opt.store.suspicions import IS_SUSPECT
from leti_opt.version import version

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv")
ORIGINS = ("measured", "simulated", "replayed", "imported", "any")

_TEXT, _NUMBER, _INTEGER, _MOMENT = "string", "float64", "Int64", "datetime64[us, UTC]"

COLUMNS: dict[str, str] = {
    **dict.fromkeys(("model_key", "name", "cell", "graph_hash", "network_digest", "renderer", "precision"), _TEXT),
    "batch_size": _INTEGER,
    "input_shape": _TEXT,
    **dict.fromkeys(("device", "device_digest", "device_kind", "hardware", "runtime", "runner", "delegate"), _TEXT),
    **dict.fromkeys(("options", "epoch_digest"), _TEXT),
    "epoch_group": _INTEGER,
    **dict.fromkeys(("system_build", "driver", "unit"), _TEXT),
    **dict.fromkeys(("origin", "status"), _TEXT),
    "failure_reason": _TEXT,
    "count": _INTEGER,
    **dict.fromkeys(("mean_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p5_ms", "p95_ms"), _NUMBER),
    "mean_error_ms": _NUMBER,
    "runs_per_sample": _INTEGER,
    **dict.fromkeys(("first_run_ms", "initialization_ms"), _NUMBER),
    "attempts": _INTEGER,
    **dict.fromkeys(("flops", "parameters", "min_runs", "warmup_runs"), _INTEGER),
    **dict.fromkeys(("max_relative_std", "relative_error"), _NUMBER),
    "metrics": _TEXT,
    "started_at": _MOMENT,
    "duration_s": _NUMBER,
    **dict.fromkeys(("tool", "commit", "source"), _TEXT),
}
"""Columns of an exported table with their types. ``options``, ``input_shape`` and ``metrics`` hold JSON.

``epoch_group`` is a number that is equal for epochs which panels showed to agree with each other; another store has
other numbers.
"""


def frame(
    connection: Connection,
    origin: str | None,
    identity: DeviceIdentity | None,
    include_unstable: bool,
    include_failures: bool,
    epoch: DeviceEpoch | Literal["any"] | None = None,
) -> pd.DataFrame:
    """See :meth:`leti_opt.store.LatencyStore.to_frame`."""
    import pandas as pd

    if origin is not None and origin not in ORIGINS:
        raise InvalidInputError(f"origin must be one of {', '.join(ORIGINS)}, not {origin!r}")
    if isinstance(epoch, DeviceEpoch) and identity is None:
        raise InvalidInputError("an epoch belongs to a device; give identity=… too")
    served = (
        links.served_epoch_ids(connection, identity, epoch) if identity and isinstance(epoch, DeviceEpoch) else None
    )
    rows = _measured_rows(connection, origin, identity, include_unstable, served)
    if include_failures:
        rows += _failed_rows(connection, origin, identity, served)
    if origin is None:
        _refuse_mixture({row["origin"] for row in rows if row["origin"] is not None})
    groups = epoch_summary.groups(connection)
    for row in rows:
        row["epoch_group"] = groups.get((row["device_digest"], row["epoch_digest"]))
    note = None if epoch is not None else unlinked_epochs(rows)
    if note is not None:
        warnings.warn(EpochWarning(note), stacklevel=3)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({name: kind for name, kind in COLUMNS.items() if kind != _MOMENT}).assign(
        started_at=pd.to_datetime(table["started_at"], utc=True).astype(_MOMENT)
    )


def unlinked_epochs(rows: Iterable[Mapping[str, Any]]) -> str | None:
    """One line that names epochs of one device which no panel showed to agree; None if there are none.

    Args:
        rows: with the columns of an exported table.
    """
    found: dict[tuple[Any, ...], dict[int, list[Mapping[str, Any]]]] = {}
    for row in rows:
        if not isinstance(row["epoch_digest"], str) or row["status"] == "infeasible":
            continue
        lineage = tuple(row[name] for name in ("device_kind", "device", "runner", "delegate", "options", "origin"))
        found.setdefault(lineage, {}).setdefault(row["epoch_group"], []).append(row)
    for group_rows in found.values():
        if len(group_rows) > 1:
            named = "; ".join(f"{_epoch_text(some[0])} ({len(some)} rows)" for some in group_rows.values())
            return (
                f"the rows of {next(iter(group_rows.values()))[0]['device']} are of {len(group_rows)} epochs that no "
                f"panel showed to agree: {named}. The column epoch_group tells them apart; "
                "'leti-opt compare --panel' measures whether they agree"
            )
    return None


def _epoch_text(row: Mapping[str, Any]) -> str:
    unit = row["unit"] and f"unit {row['unit'][:8]}"
    return ", ".join(part for part in (row["runtime"], row["system_build"], row["driver"], unit) if part)


def place_of(row: Mapping[str, Any]) -> tuple[DeviceIdentity, DeviceEpoch]:
    """The device and epoch of a row of an exported table."""
    identity = DeviceIdentity(
        kind=row["device_kind"],
        hardware=row["hardware"],
        runtime=row["runtime"],
        runner=row["runner"],
        delegate=row["delegate"],
        options=tuple((str(key), str(value)) for key, value in json.loads(row["options"])),
        origin=row["origin"],
    )
    return identity, DeviceEpoch(row["system_build"], row["driver"], row["unit"])


def checked_target(path: Path, store: Path | None, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Refuse a file that an export cannot or must not write.

    Raises:
        InvalidInputError: an unknown suffix, or the store itself.
        StoreError: no such folder, or a folder of that name.
    """
    if path.suffix.lower() not in suffixes:
        raise InvalidInputError(f"{path} must end with {' or '.join(suffixes)}, not with {path.suffix!r}")
    if store is not None and path.resolve() == store:
        raise InvalidInputError(f"{path} is the store itself; export to another file")
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; run: mkdir -p {path.parent}")
    return path


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table to a temporary file beside its place, then move it there.

    Raises:
        StoreError: it cannot be written; what was there before stays.
    """
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False)
        else:
            write_parquet(table, temporary)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside a path, which takes its place when the block ends well.

    Raises:
        StoreError: it cannot be written; what was there before stays.
    """
    try:
        with atomic_file.replacing(path) as temporary:
            yield temporary
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; export to another place") from error


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table with the version of this leti_opt in its metadata."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = pa.Table.from_pandas(table, preserve_index=False)
    story = {"leti_opt": version(), "leti_opt_schema": schema.HEAD}
    parquet.write_table(columns.replace_schema_metadata({**(columns.schema.metadata or {}), **story}), path)


def nothing_of(connection: Connection, origin: str, identity: DeviceIdentity | None) -> str:
    """What to say where there are no rows of an origin: what there is instead."""
    places = measurements.join(models).join(epochs).join(devices)
    query = select(devices.c.origin, func.count()).select_from(places).where(models.c.role.is_(None))
    if identity is not None:
        query = query.where(devices.c.digest == identity.digest)
    there = [f"{count} {name}" for name, count in connection.execute(query.group_by(devices.c.origin))]
    held = f"it holds {', '.join(there)} (unstable and withdrawn ones included)" if there else "it holds none at all"
    return f"the store has no {origin} figures to export; {held}; choose another origin"


def _refuse_mixture(origins: set[str]) -> None:
    if len(origins) > 1:
        raise InvalidInputError(
            f"the rows are {' and '.join(sorted(origins))}; choose one kind, for instance origin='measured' "
            "(--origin measured), or mix them with origin='any' (--origin any)"
        )


def _measured_rows(
    connection: Connection,
    origin: str | None,
    identity: DeviceIdentity | None,
    include_unstable: bool,
    served: set[int] | None,
) -> list[dict[str, Any]]:
    query = _MEASURED.where(~IS_SUSPECT, models.c.role.is_(None))
    if origin not in (None, "any"):
        query = query.where(measurements.c.origin == origin)
    if served is not None:
        query = query.where(epochs.c.id.in_(served))
    elif identity is not None:
        query = query.where(devices.c.digest == identity.digest)
    if not include_unstable:
        query = query.where(measurements.c.status != "unstable")
    further, stories = _further_metrics(connection), _stories(connection)
    return [
        {**row._mapping, **stories[row.device_digest], "metrics": further.get(row.id)}
        for row in connection.execute(query)
    ]


def _failed_rows(
    connection: Connection, origin: str | None, identity: DeviceIdentity | None, served: set[int] | None
) -> list[dict[str, Any]]:
    """A failure without a device goes for every device and every origin."""
    query = _FAILED
    if origin not in (None, "any"):
        query = query.where((devices.c.origin == origin) | failures.c.device_id.is_(None))
    if identity is not None:
        query = query.where((devices.c.digest == identity.digest) | failures.c.device_id.is_(None))
    if served is not None:
        query = query.where(epochs.c.id.in_(served) | failures.c.epoch_id.is_(None))
    stories = _stories(connection)
    return [
        {**row._mapping, **stories.get(row.device_digest, {}), "status": "infeasible"}
        for row in connection.execute(query)
    ]


def _stories(connection: Connection) -> dict[str | None, dict[str, str]]:
    """What a row says of its device, by the device's digest."""
    return {
        row.digest: {
            "device": registry.identity_of(row).name,
            "device_kind": row.kind,
            "hardware": row.hardware,
            "runtime": row.runtime,
            "runner": row.runner,
            "delegate": row.delegate,
            "options": json.dumps(row.options),
        }
        for row in connection.execute(select(devices.c.digest, *registry.IDENTITY_COLUMNS))
    }


def _further_metrics(connection: Connection) -> dict[int, str]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in connection.execute(select(metrics).order_by(metrics.c.measurement_id, metrics.c.position)):
        figure = {"name": row.name, "value": row.value, "unit": row.unit, "source": row.source}
        found.setdefault(row.measurement_id, []).append(figure)
    return {key: json.dumps(figures) for key, figures in found.items()}


_MODEL = (
    models.c.key.label("model_key"),
    models.c.name,
    models.c.renderer,
    models.c.precision,
    models.c.batch_size,
    models.c.input_shape,
    models.c.flops,
    models.c.parameters,
)
_DEVICE = (
    devices.c.digest.label("device_digest"),
    epochs.c.digest.label("epoch_digest"),
    *registry.EPOCH_COLUMNS,
)
# Several cells may stand for one model; a measurement stays one row, under the first of them.
_FIRST_ALIAS = (
    select(func.min(aliases.c.id)).where(aliases.c.model_id == models.c.id).correlate(models).scalar_subquery()
)
_ATTEMPTS = (
    select(func.count())
    .where(schema.attempts.c.measurement_id == measurements.c.id)
    .scalar_subquery()
    .label("attempts")
)

_MEASURED: Select[Any] = (
    select(measurements, *_MODEL, *_DEVICE, _ATTEMPTS, aliases.c.cell, aliases.c.graph_hash, aliases.c.network_digest)
    .select_from(measurements.join(models).join(epochs).join(devices).outerjoin(aliases, aliases.c.id == _FIRST_ALIAS))
    .order_by(measurements.c.id)
)
_FAILED: Select[Any] = (
    select(
        *_MODEL[:2],
        *_MODEL[3:],
        *_DEVICE,
        func.coalesce(models.c.renderer, failures.c.renderer).label("renderer"),
        func.coalesce(failures.c.cell, aliases.c.cell).label("cell"),
        func.coalesce(failures.c.graph_hash, aliases.c.graph_hash).label("graph_hash"),
        func.coalesce(failures.c.network_digest, aliases.c.network_digest).label("network_digest"),
        devices.c.origin,
        failures.c.reason.label("failure_reason"),
        failures.c.failed_at.label("started_at"),
        failures.c.tool,
        failures.c.commit,
    )
    .select_from(
        failures.outerjoin(models)
        .outerjoin(devices, devices.c.id == failures.c.device_id)
        .outerjoin(epochs, epochs.c.id == failures.c.epoch_id)
        .outerjoin(aliases, aliases.c.id == _FIRST_ALIAS)
    )
    .order_by(failures.c.id)
)
