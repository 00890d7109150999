"""What an exported table is: its columns, what its rows tell, and the files that hold it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from leti_opt import atomic_file
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError, StoreError
from leti_opt.store import schema
from leti_opt.store.schema import devices, epochs, measurements, models
from leti_opt.version import version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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


def unlinked_epochs(counted: Iterable[tuple[Mapping[str, Any], int]]) -> str | None:
    """One line that names epochs of one device which no panel showed to agree; None if there are none.

    Args:
        counted: what rows with figures say of their device and epoch, and how many rows say it, oldest first.
    """
    found: dict[tuple[Any, ...], dict[int, list[tuple[Mapping[str, Any], int]]]] = {}
    for row, count in counted:
        lineage = tuple(row[name] for name in ("device_kind", "device", "runner", "delegate", "options", "origin"))
        found.setdefault(lineage, {}).setdefault(row["epoch_group"], []).append((row, count))
    for groups in found.values():
        if len(groups) > 1:
            sizes = [(some[0][0], sum(count for _, count in some)) for some in groups.values()]
            named = "; ".join(f"{_epoch_text(row)} ({count} rows)" for row, count in sizes)
            return (
                f"the rows of {sizes[0][0]['device']} are of {len(groups)} epochs that no panel showed to agree: "
                f"{named}. The column epoch_group tells them apart; 'leti-opt compare --panel' measures whether they "
                "agree"
            )
    return None


def _epoch_text(row: Mapping[str, Any]) -> str:
    unit = row["unit"] and f"unit {row['unit'][:8]}"
    return ", ".join(part for part in (row["runtime"], row["system_build"], row["driver"], unit) if part)


def place_of(row: Mapping[str, Any]) -> tuple[DeviceIdentity, DeviceEpoch]:
    """The device and epoch of a row of an exported table."""
    return identity_of(row), DeviceEpoch(row["system_build"], row["driver"], row["unit"])


def identity_of(row: Mapping[str, Any]) -> DeviceIdentity:
    """The device of a row of an exported table."""
    return DeviceIdentity(
        kind=row["device_kind"],
        hardware=row["hardware"],
        runtime=row["runtime"],
        runner=row["runner"],
        delegate=row["delegate"],
        options=tuple((str(key), str(value)) for key, value in json.loads(row["options"])),
        origin=row["origin"],
    )


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
        raise StoreError(f"the folder {path.parent} does not exist; run: mkdir -p {shlex.quote(str(path.parent))}")
    return path


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
    parquet.write_table(columns.replace_schema_metadata(with_story(columns.schema).metadata), path)


def with_story(shape: pa.Schema) -> pa.Schema:
    """A schema that says which leti_opt wrote it."""
    story = {"leti_opt": version(), "leti_opt_schema": schema.HEAD}
    return shape.with_metadata({**(shape.metadata or {}), **story})


def empty_frame() -> pd.DataFrame:
    """A table without rows, with the types of :data:`COLUMNS`."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in COLUMNS.items()})


def arrow_schema() -> pa.Schema:
    """:data:`COLUMNS` as Parquet has them, with what pandas needs to read the same types back."""
    import pyarrow as pa

    return pa.Schema.from_pandas(empty_frame(), preserve_index=False)


def nothing_of(connection: Connection, origin: str, identity: DeviceIdentity | None) -> str:
    """What to say where there are no rows of an origin: what there is instead."""
    places = measurements.join(models).join(epochs).join(devices)
    query = select(devices.c.origin, func.count()).select_from(places).where(models.c.role.is_(None))
    if identity is not None:
        query = query.where(devices.c.digest == identity.digest)
    there = [f"{count} {name}" for name, count in connection.execute(query.group_by(devices.c.origin))]
    held = f"it holds {', '.join(there)} (unstable and withdrawn ones included)" if there else "it holds none at all"
    return f"the store has no {origin} figures to export; {held}; choose another origin"


def refuse_mixture(origins: set[str]) -> None:
    """Refuse rows of several origins that nobody asked to mix.

    Raises:
        InvalidInputError: there are several.
    """
    if len(origins) > 1:
        raise InvalidInputError(
            f"the rows are {' and '.join(sorted(origins))}; choose one kind, for instance origin='measured' "
            "(--origin measured), or mix them with origin='any' (--origin any)"
        )
