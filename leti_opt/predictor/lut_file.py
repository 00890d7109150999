"""Lookup tables in Parquet files: the rows for any tool, the rest as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from leti_opt.atomic_file import replacing
from leti_opt.errors import InvalidInputError, LetiError, TableFileError
from leti_opt.predictor.lut import LatencyTable, TableOrigin
from leti_opt.predictor.lut_residual import Residual
from leti_opt.predictor.lut_sum import TableEntry

FORMAT_VERSION = 1
_FORMAT = "leti_opt latency table"


def write_lut(table: LatencyTable, path: Path) -> Path:
    """Write a table; the file is whole or as it was. See :meth:`LatencyTable.save`."""
    if path.suffix.lower() != ".parquet":
        raise InvalidInputError(f"a latency table is kept as .parquet, not as {path.name!r}; change the name's end")
    content = lut_content(table)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise TableFileError(
            f"cannot write {path}: {error.strerror or error}; free space or name another place"
        ) from error
    return path


def lut_content(table: LatencyTable) -> bytes:
    """What :func:`write_lut` writes."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [asdict(entry) for entry in table.entries.values()]
    about = {
        "granularity": table.granularity,
        "precision": table.precision,
        "origin": asdict(table.origin),
        "residual": None if table.residual is None else asdict(table.residual),
    }
    header = {"format": _FORMAT, "version": FORMAT_VERSION, "sha256": _digest(rows, about), "about": about}
    types = {"latency_ms": pa.float64(), "std_ms": pa.float64(), "mean_error_ms": pa.float64(), "runs": pa.int64()}
    types |= {"runs_per_sample": pa.int64(), "stable": pa.bool_()}
    schema = pa.schema(
        [(item.name, types.get(item.name, pa.string())) for item in fields(TableEntry)],
        metadata={_FORMAT: json.dumps(header)},
    )
    stream = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), stream)
    content: bytes = stream.getvalue().to_pybytes()
    return content


def read_lut(path: Path) -> LatencyTable:
    """Read a table. See :meth:`LatencyTable.load`."""
    if not path.is_file():
        raise TableFileError(f"there is no file {path}; 'leti-opt lut' writes one with --table, or correct the name")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableFileError(f"cannot read {path}: {error.strerror or error}; correct its permissions") from error
    return lut_of_content(content, path)


def lut_of_content(data: bytes, path: Path) -> LatencyTable:
    """The table that :func:`lut_content` gave.

    Args:
        data: the content.
        path: where it comes from, for messages.

    Raises:
        TableFileError: it is no such table, damaged, or of a newer version.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        content = parquet.read_table(pa.BufferReader(data))
    except (OSError, ValueError) as error:
        raise TableFileError(_damaged(path)) from error
    stored = (content.schema.metadata or {}).get(_FORMAT.encode())
    if stored is None:
        raise TableFileError(f"{path} is no latency table of leti_opt; 'leti-opt lut' writes one with --table")
    try:
        header = json.loads(stored)
        _check_version(header["version"], path)
        rows = content.to_pylist()
        if _digest(rows, header["about"]) != header["sha256"]:
            raise TableFileError(_damaged(path))
        return _table(rows, header["about"])
    except TableFileError:
        raise
    except (LetiError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise TableFileError(_damaged(path)) from error


def _table(rows: list[dict[str, Any]], about: dict[str, Any]) -> LatencyTable:
    residual = about["residual"]
    if residual is not None:
        residual = Residual(**residual | {"fitted_on": tuple(residual["fitted_on"])})
    entries = [TableEntry(**row) for row in rows]
    return LatencyTable(entries, about["granularity"], about["precision"], TableOrigin(**about["origin"]), residual)


def _check_version(found: int, path: Path) -> None:
    if found != FORMAT_VERSION:
        raise TableFileError(
            f"{path} is a latency table of format {found}, this leti_opt reads format {FORMAT_VERSION}; "
            + ("update leti_opt" if found > FORMAT_VERSION else "measure the table again")
        )


def _damaged(path: Path) -> str:
    return f"{path} is damaged, or was changed since leti_opt saved it; save the table again, or fetch a fresh copy"


def _digest(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([rows, about], sort_keys=True).encode()).hexdigest()
