"""Parquet files in the form in which a latency store exports them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

PIXEL = {"device": "Pixel 3+", "device_digest": "d1"}
GALAXY = {"device": "Galaxy & co", "device_digest": "d2"}
_SCHEMA = {
    "model_key": pa.string(),
    "device": pa.string(),
    "device_digest": pa.string(),
    "status": pa.string(),
    "count": pa.int64(),
    **dict.fromkeys(("mean_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p5_ms", "p95_ms"), pa.float64()),
    "failure_reason": pa.string(),
}


def recorded(key: str, mean_ms: float = 2.0, relative_std: float = 0.01, **changes: Any) -> dict[str, Any]:
    """A row with aggregates, stable where nothing else is said; percentiles are not revealed."""
    std_ms = relative_std * mean_ms
    row = {"model_key": key, **PIXEL, "status": "stable", "count": 300, "mean_ms": mean_ms}
    return {**row, "std_ms": std_ms, "min_ms": mean_ms - std_ms, "max_ms": mean_ms + std_ms, **changes}


def failed(key: str, reason: str | None = "out of memory", **changes: Any) -> dict[str, Any]:
    """A row of a network that could not run."""
    return {"model_key": key, **PIXEL, "status": "infeasible", "failure_reason": reason, **changes}


def write_recording(
    path: Path, rows: Sequence[dict[str, Any]], without: Sequence[str] = (), count_type: pa.DataType | None = None
) -> Path:
    """Write rows; what a row lacks is null. ``without`` leaves columns out; a count of another type may be NaN."""
    columns = {name: kind for name, kind in _SCHEMA.items() if name not in without}
    if count_type is not None:
        columns["count"] = count_type
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()})
    parquet.write_table(table, path)
    return path
