"""A store as a data frame, a Parquet file or a CSV file; batch by batch."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from leti_opt.errors import EpochWarning, InvalidInputError
from leti_opt.store import exchange, pseudonyms
from leti_opt.store.export_rows import ExportRows, Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Selection", "exported", "frame", "write"]


def frame(connection: Connection, selection: Selection) -> pd.DataFrame:
    """See :meth:`leti_opt.store.LatencyStore.to_frame`."""
    rows = ExportRows(connection, selection)
    _warn(rows)
    return _frame(rows)


def exported(connection: Connection, selection: Selection) -> pd.DataFrame:
    """See :meth:`leti_opt.store.LatencyStore.exported`."""
    rows = _exportable(connection, selection)
    _warn(rows)
    return _frame(rows)


def write(connection: Connection, selection: Selection, path: Path) -> int:
    """Write what :func:`exported` holds to a checked path; see :meth:`leti_opt.store.LatencyStore.export`.

    Raises:
        StoreError: it cannot be written; what was there before stays.
    """
    rows = _exportable(connection, selection)
    _warn(rows)
    with exchange.replacing(path) as temporary:
        (_write_csv if path.suffix.lower() == ".csv" else _write_parquet)(rows, temporary)
    return rows.count


def _exportable(connection: Connection, selection: Selection) -> ExportRows:
    rows = ExportRows(connection, selection, pseudonyms.of_store(connection))
    if not rows.count and selection.origin not in (None, "any"):
        raise InvalidInputError(exchange.nothing_of(connection, str(selection.origin), selection.identity))
    return rows


def _warn(rows: ExportRows) -> None:
    if rows.note is not None:
        warnings.warn(EpochWarning(rows.note), stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """The stack level, for a warning of the function that asks, of whoever called the store."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("leti_opt.store."):
        frame, level = frame.f_back, level + 1
    return level


def _frame(rows: ExportRows) -> pd.DataFrame:
    import pyarrow as pa

    return pa.Table.from_batches(rows.batches(), schema=exchange.arrow_schema()).to_pandas()


def _write_parquet(rows: ExportRows, path: Path) -> None:
    from pyarrow import parquet

    shape = exchange.with_story(exchange.arrow_schema())
    with parquet.ParquetWriter(path, shape) as writer:
        for batch in rows.batches():
            writer.write_batch(batch.replace_schema_metadata(shape.metadata))


def _write_csv(rows: ExportRows, path: Path) -> None:
    import pyarrow as pa

    with path.open("w", encoding="utf-8", newline="") as file:
        exchange.empty_frame().to_csv(file, index=False)
        for batch in rows.batches():
            pa.Table.from_batches([batch]).to_pandas().to_csv(file, index=False, header=False)
