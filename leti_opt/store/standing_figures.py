"""The figures behind :class:`~leti_opt.store.standings.Standings`: of each cell the row that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, select, type_coerce
from sqlalchemy.types import NullType

from leti_opt.store import paging, protocol_rules
from leti_opt.store.schema import epochs, failures, measurements, metrics
from leti_opt.store.suspicions import IS_SUSPECT

if TYPE_CHECKING:
    import pandas as pd

    from leti_opt.store.standings import CellRows, Scope

COLUMNS: dict[str, str] = {
    "count": "Int64",
    **dict.fromkeys(("mean_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p5_ms", "p95_ms"), "float64"),
    **dict.fromkeys(("mean_error_ms", "initialization_ms"), "float64"),
    "attempts": "Int64",
    "started_at": "datetime64[us, UTC]",
    **dict.fromkeys(("epoch_digest", "tool", "commit", "source"), "string"),
    "peak_memory_bytes": "float64",
    "failure_reason": "string",
}
"""Columns with their types. Of an unstable cell they are those of its newest measurement that used up its attempts; an
infeasible one has a ``failure_reason`` and nothing else. ``peak_memory_bytes`` is the metric ``peak_memory``."""


def load(connection: Connection, scope: Scope, cells: CellRows) -> pd.DataFrame:
    """The figures of each cell, in the order of ``cells``."""
    import pandas as pd

    # Later rows stand before earlier ones of a model, and any that answers before all that do not.
    given_up = ~protocol_rules.is_true(scope.measured) & scope.gives_up
    parts = [_rows(connection, scope.in_epochs_unindexed & part) for part in (given_up, scope.measured)]
    found = pd.concat(parts, ignore_index=True)
    last = found.drop_duplicates("model_id", keep="last").set_index("model_id")
    table = last.reindex(cells.model_ids).reset_index(drop=True)
    served = connection.execute(select(epochs.c.id, epochs.c.digest).where(epochs.c.id.in_(scope.epoch_ids)))
    table["epoch_digest"] = table["epoch_id"].map({row.id: row.digest for row in served})
    infeasible = np.flatnonzero(cells.states == _INFEASIBLE)
    reasons = _reasons(connection, scope.failed) if infeasible.size else {}
    told = {int(place): reasons.get(int(cells.model_ids[place])) for place in infeasible} | cells.reasons
    table["failure_reason"] = pd.Series(told, dtype="string").reindex(table.index)
    return table.astype({name: kind for name, kind in COLUMNS.items() if name != "started_at"})[list(COLUMNS)]


def _rows(connection: Connection, condition: ColumnElement[bool]) -> pd.DataFrame:
    """Rows that were not withdrawn, in the order of time."""
    import pandas as pd

    query = _FIGURES.where(condition, ~IS_SUSPECT)
    tables = [
        pd.DataFrame.from_records([tuple(row) for row in page], columns=_NAMES)
        for page in paging.pages(connection, query, measurements.c.id)
    ] or [pd.DataFrame(columns=_NAMES)]
    found = pd.concat([_typed(table) for table in tables], ignore_index=True)
    return found.sort_values(["started_at", "id"], ignore_index=True)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    kinds = {name: kind for name, kind in COLUMNS.items() if name in table.columns and name != "started_at"}
    moments = pd.to_datetime(table["started_at"], utc=True, format="ISO8601").astype(COLUMNS["started_at"])
    return table.astype({**kinds, "id": "int64", "model_id": "int64"}).assign(started_at=moments)


def _reasons(connection: Connection, condition: ColumnElement[bool]) -> dict[int, str]:
    """The newest reason of each model's failures."""
    query = select(failures.c.model_id, failures.c.reason).where(failures.c.model_id.is_not(None), condition)
    found = connection.execute(query.order_by(failures.c.failed_at, failures.c.id))
    return {row.model_id: row.reason for row in found}


_INFEASIBLE = 0
_PEAK_MEMORY = (
    select(metrics.c.value)
    .where(metrics.c.measurement_id == measurements.c.id, metrics.c.name == "peak_memory")
    .order_by(metrics.c.position)
    .limit(1)
    .correlate(measurements)
    .scalar_subquery()
)
_FIGURES: Select[Any] = select(
    measurements.c.id,
    measurements.c.model_id,
    *(measurements.c[name] for name in COLUMNS if name in measurements.c and name != "started_at"),
    # As the database has it: numpy reads a column of moments many times faster than SQLAlchemy.
    type_coerce(measurements.c.started_at, NullType()).label("started_at"),
    protocol_rules.attempt_count.label("attempts"),
    measurements.c.epoch_id,
    _PEAK_MEMORY.label("peak_memory_bytes"),
).select_from(measurements)
_NAMES = list(_FIGURES.selected_columns.keys())
