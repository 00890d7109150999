"""Tables of cells in files: npz for speed, Parquet for other tools.

Both carry the format's version and a SHA-256 of the content, so that a file which was cut short or changed is not
taken for a table.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.atomic_file import replacing
from leti_opt.edge_bits import edge_places, pack_edges, words_for
from leti_opt.errors import InvalidInputError, TableFileError
from leti_opt.table_columns import NO_OPERATION, TableColumns

FORMAT_VERSION = 1
_FORMAT = "leti_opt architecture table"


@dataclass(frozen=True)
class _Header:
    """What a file says of itself: JSON, the same in both formats."""

    labels: tuple[str, ...]
    sha256: str
    version: int = FORMAT_VERSION

    def text(self) -> str:
        return json.dumps({"format": _FORMAT, "version": self.version, "labels": self.labels, "sha256": self.sha256})

    @classmethod
    def read(cls, text: str, path: Path) -> _Header:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise KeyError("format")
        if content["version"] > FORMAT_VERSION:
            raise TableFileError(
                f"{path} has format {content['version']}, this leti_opt reads up to {FORMAT_VERSION}; update leti_opt"
            )
        return cls(tuple(content["labels"]), content["sha256"], content["version"])


def write_table(path: Path, columns: TableColumns, digests: Callable[[], NDArray[np.uint8]]) -> None:
    """Write a file by its suffix; it is whole or as it was.

    Args:
        path: ends in ``.npz`` or ``.parquet``.
        columns: what to write.
        digests: asked for the hashes where the format needs them.

    Raises:
        InvalidInputError: another suffix.
        TableFileError: it cannot be written.
    """
    kind = _kind(path)
    if kind == ".parquet":
        columns = replace(columns, graph_digests=digests())
    columns = _trimmed(columns)
    header = _Header(columns.labels, _digest(columns))
    try:
        with replacing(path) as temporary:
            (_write_npz if kind == ".npz" else _write_parquet)(temporary, columns, header)
    except OSError as error:
        raise TableFileError(
            f"cannot write {path}: {error.strerror or error}; free space or name another place"
        ) from error


def read_table(path: Path) -> TableColumns:
    """Read what :func:`write_table` wrote.

    Raises:
        InvalidInputError: another suffix.
        TableFileError: there is no such file, it is not a table's, it is damaged, or of a newer version.
    """
    read = _read_npz if _kind(path) == ".npz" else _read_parquet
    if not path.is_file():
        raise TableFileError(f"there is no file {path}; save a table there first, or correct the name")
    try:
        header, columns = read(path)
        whole = _digest(columns) == header.sha256
    except TableFileError:
        raise
    except (KeyError, TypeError, AttributeError) as error:
        raise TableFileError(
            f"{path} is not a table of cells that leti_opt saved; make one with ArchitectureTable.save"
        ) from error
    except (OSError, ValueError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TableFileError(_damaged(path)) from error
    if not whole:
        raise TableFileError(_damaged(path))
    return columns


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".npz", ".parquet"):
        raise InvalidInputError(f"a table is kept as .npz or .parquet, not as {path.name!r}; change the name's end")
    return kind


def _damaged(path: Path) -> str:
    return f"{path} is damaged, or was changed since leti_opt saved it; save the table again, or fetch a fresh copy"


def _trimmed(columns: TableColumns) -> TableColumns:
    """Without columns of mere filling, so that equal tables make equal files."""
    largest = int(columns.vertices.max(initial=2))
    return replace(
        columns,
        edge_words=columns.edge_words[:, : words_for(largest)],
        operations=columns.operations[:, : largest - 2],
    )


def _digest(columns: TableColumns) -> str:
    sha256 = hashlib.sha256(json.dumps(columns.labels).encode())
    for column in (columns.vertices, columns.edge_words, columns.operations, columns.graph_digests):
        if column is not None:
            sha256.update(f"{column.dtype}{column.shape}".encode())
            sha256.update(np.ascontiguousarray(column).data)
    return sha256.hexdigest()


def _write_npz(path: Path, columns: TableColumns, header: _Header) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "header": np.array(header.text()),
        "vertices": columns.vertices,
        "edge_words": columns.edge_words,
        "operations": columns.operations,
    }
    if columns.graph_digests is not None:
        arrays["graph_digests"] = columns.graph_digests
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_npz(path: Path) -> tuple[_Header, TableColumns]:
    with path.open("rb") as source, np.load(source, allow_pickle=False) as file:
        header = _Header.read(str(file["header"]), path)
        digests = file.get("graph_digests")
        return header, TableColumns(file["vertices"], file["edge_words"], file["operations"], header.labels, digests)


def _write_parquet(path: Path, columns: TableColumns, header: _Header) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    assert columns.graph_digests is not None
    largest = int(columns.vertices.max(initial=2))
    hexadecimal = columns.graph_digests.tobytes().hex()
    table = pa.table(
        {
            "graph_hash": pa.array([hexadecimal[start : start + 32] for start in range(0, len(hexadecimal), 32)]),
            "vertices": columns.vertices,
            "edges": _text_column(columns.edge_words, lambda words: _edges_text(words, largest)),
            "operations": _text_column(
                columns.operations,
                lambda row: ",".join(columns.labels[place] for place in row if place != NO_OPERATION),
            ),
        },
        metadata={_FORMAT: header.text()},
    )
    parquet.write_table(table, path)


def _read_parquet(path: Path) -> tuple[_Header, TableColumns]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    header = _Header.read((table.schema.metadata or {})[_FORMAT.encode()].decode(), path)
    vertices = table["vertices"].to_numpy()
    largest = int(vertices.max(initial=2))
    positions = {label: position for position, label in enumerate(header.labels)}

    def operations_row(text: str) -> NDArray[np.uint8]:
        row = np.full(largest - 2, NO_OPERATION, dtype=np.uint8)
        names = text.split(",") if text else []
        row[: len(names)] = [positions[name] for name in names]
        return row

    digests = np.frombuffer(bytes.fromhex("".join(table["graph_hash"].to_pylist())), dtype=np.uint8)
    columns = TableColumns(
        vertices,
        _rows_of_texts(table["edges"], lambda text: _edges_row(text, largest), words_for(largest), np.uint32),
        _rows_of_texts(table["operations"], operations_row, largest - 2, np.uint8),
        header.labels,
        digests.reshape(-1, 16),
    )
    return header, columns


def _text_column(rows: NDArray[Any], as_text: Callable[[NDArray[Any]], str]) -> Any:
    """A dictionary column: each distinct row is put into words once."""
    import pyarrow as pa

    distinct: dict[bytes, int] = {}
    codes = [distinct.setdefault(row.tobytes(), len(distinct)) for row in rows]
    texts = [as_text(np.frombuffer(row, dtype=rows.dtype)) for row in distinct]
    return pa.DictionaryArray.from_arrays(pa.array(codes, type=pa.int32()), pa.array(texts, type=pa.string()))


def _rows_of_texts(column: Any, parse: Callable[[str], NDArray[Any]], width: int, dtype: Any) -> NDArray[Any]:
    encoded = column.combine_chunks()
    if not hasattr(encoded, "dictionary"):  # a file that another tool wrote anew
        encoded = encoded.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    rows: NDArray[Any] = np.array([parse(text) for text in texts], dtype=dtype).reshape(len(texts), width)
    every_row: NDArray[Any] = rows[encoded.indices.to_numpy()]
    return every_row


def _edges_text(words: NDArray[np.uint32], largest: int) -> str:
    """As an :class:`~leti_opt.architecture.Architecture` writes its edges."""
    edges = sorted((x, y) for x, y, word, bit in edge_places(largest) if int(words[word]) >> bit & 1)
    return ",".join(f"{x}-{y}" for x, y in edges)


def _edges_row(text: str, largest: int) -> NDArray[np.uint32]:
    adjacency = np.zeros((1, largest, largest), dtype=np.int8)
    for edge in text.split(","):
        source, target = edge.split("-")
        adjacency[0, int(source), int(target)] = 1
    words: NDArray[np.uint32] = pack_edges(adjacency)[0]
    return words
