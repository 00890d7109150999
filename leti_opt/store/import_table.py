"""Tables that come in: what a store exported, and what others published. A file comes in whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leti_opt.errors import InvalidInputError, LetiError, NotFoundError
from leti_opt.store import foreign_table
from leti_opt.store.foreign_rows import ForeignReader
from leti_opt.store.foreign_table import check_plausible, choose_columns
from leti_opt.store.own_rows import OWN_COLUMNS, own_row
from leti_opt.store.table_row import ImportSettings, KnownAliases, TableRow

_SHOWN_FAULTS = 10
_SHOWN_PLACES = 3


def read(path: Path, asked: ImportSettings, aliases: KnownAliases) -> list[TableRow]:
    """Read and check a whole table; nothing is written.

    Args:
        path: ``.parquet`` or ``.csv``.
        asked: what the user says of it.
        aliases: cells with their model's key that the store knows by a hash.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or rows are bad: their numbers are named.
    """
    rows, digest = _rows(path)
    if not rows:
        raise InvalidInputError(f"{path} has no rows")
    source = f"{path.name} sha256:{digest[:12]}"
    rows = _of_origin(path, rows, asked.origin)
    if rows[0][1].keys() >= OWN_COLUMNS:
        return _checked(path, rows, lambda row: own_row(row, source))
    return _foreign(path, rows, asked, aliases, digest, source)


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], str]:
    """The rows with their numbers, from 1 without the heading, and the file's SHA-256. Absent values are None."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path.suffix.lower() == ".parquet":
            found = parquet.read_table(path).to_pylist()
        elif path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found = [{name: value or None for name, value in row.items()} for row in table.to_dict("records")]
        else:
            raise InvalidInputError(f"{path} must end with .parquet or .csv, not with {path.suffix!r}")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}") from error
    except (OSError, pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    return list(enumerate(found, start=1)), digest


def _of_origin(
    path: Path, rows: list[tuple[int, dict[str, Any]]], origin: str | None
) -> list[tuple[int, dict[str, Any]]]:
    """The rows of the origin that was asked for; several are never mixed unasked."""
    there = sorted({str(row["origin"]) for _, row in rows if row.get("origin") is not None})
    if origin is None and len(there) > 1:
        raise InvalidInputError(
            f"the rows of {path} are {' and '.join(there)}; choose one kind with --origin {there[0]}, or --origin any"
        )
    if origin in (None, "any"):
        return rows
    chosen = [(place, row) for place, row in rows if row.get("origin") == origin]
    if not chosen:
        raise InvalidInputError(f"{path} has no {origin} rows; its origins are: {', '.join(there) or 'not named'}")
    return chosen


def _checked(
    path: Path, rows: list[tuple[int, dict[str, Any]]], read_row: Callable[[dict[str, Any]], TableRow]
) -> list[TableRow]:
    """Every row, or one error that names those at fault."""
    found: list[TableRow] = []
    faults: dict[str, list[int]] = {}
    for place, row in rows:
        try:
            found.append(read_row(row))
        except KeyError as error:
            faults.setdefault(f"it lacks the column {error}", []).append(place)
        except json.JSONDecodeError as error:
            faults.setdefault(f"{error.doc[:40]!r} is no JSON", []).append(place)
        except (LetiError, ValueError, TypeError) as error:
            faults.setdefault(str(error), []).append(place)
    if faults:
        shown = [f"{_places(places)}: {reason}" for reason, places in list(faults.items())[:_SHOWN_FAULTS]]
        shown += [f"and {len(faults) - _SHOWN_FAULTS} other faults"] if len(faults) > _SHOWN_FAULTS else []
        raise InvalidInputError(
            f"{path} was not imported, {sum(map(len, faults.values()))} of its {len(rows)} rows are bad (counted from "
            f"1 without the heading): {'; '.join(shown)}"
        )
    return found


def _places(places: list[int]) -> str:
    """The rows of one fault, the first few by their numbers."""
    if len(places) == 1:
        return f"row {places[0]}"
    shown = ", ".join(map(str, places[:_SHOWN_PLACES]))
    return f"rows {shown} and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else f"rows {shown}"


def _foreign(
    path: Path,
    rows: list[tuple[int, dict[str, Any]]],
    asked: ImportSettings,
    aliases: KnownAliases,
    digest: str,
    source: str,
) -> list[TableRow]:
    columns = list(rows[0][1])
    if not set(columns) & set(foreign_table.NETWORK_COLUMNS):
        raise InvalidInputError(
            f"{path} does not say which network a row is of; it needs one of the columns "
            f"{', '.join(foreign_table.NETWORK_COLUMNS)} (adjacency with operations)"
        )
    chosen = choose_columns(columns, asked.latency, asked.unit)
    rows = _of_device(path, rows, asked.device)
    mean = chosen.statistics["mean"]
    reader = ForeignReader(asked, aliases, chosen, digest, source)
    found = _checked(path, rows, reader.read)
    check_plausible([row.measurement.batch.mean_ms for row in found if row.measurement is not None], mean)
    return found


def _of_device(
    path: Path, rows: list[tuple[int, dict[str, Any]]], device: str | None
) -> list[tuple[int, dict[str, Any]]]:
    if "device" not in rows[0][1]:
        if device is None:
            raise InvalidInputError(f"{path} does not say what measured it; give --device NAME")
        return rows
    chosen = [(place, row) for place, row in rows if device is None or row["device"] == device]
    if not chosen:
        there = sorted({str(row["device"]) for _, row in rows})
        raise InvalidInputError(f"{path} has no rows of the device {device!r}; it has: {', '.join(there)}")
    return chosen
