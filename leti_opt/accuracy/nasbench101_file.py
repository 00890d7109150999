"""Accuracies of NAS-Bench-101 in a small file of our own: Parquet, so that any tool reads it.

A row is a cell, sorted by graph hash: ``graph_hash`` (16 bytes), ``trainable_parameters``, and for every number of
epochs and every repeat columns such as ``test_accuracy_108_1``. What is absent is null. The file's metadata hold the
format's version, the SHA-256 of the file that was imported, and a SHA-256 of all of this, so that a file which was cut
or changed is not taken for a whole one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.atomic_file import replacing
from leti_opt.errors import AccuracyFileError

FORMAT_VERSION = 1
FIGURES = ("validation_accuracy", "test_accuracy", "train_accuracy", "training_time_s")
"""What is kept of the end of each training."""

_FORMAT = "leti_opt NAS-Bench-101 accuracies"
_PUBLISHED = {
    "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c": "nasbench_full.tfrecord",
    "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1": "nasbench_only108.tfrecord",
}
_ADVICE = "import the accuracies again with 'leti-opt accuracy import'"


@dataclass(frozen=True)
class SourceFile:
    """The file that was imported.

    Args:
        name: without its folder.
        sha256: hexadecimal, of its bytes.
        size_bytes: its length.
        records: how many it holds.
        duplicates: how many of these were equal to an earlier one in every figure, and left out.
    """

    name: str
    sha256: str
    size_bytes: int
    records: int
    duplicates: int

    @property
    def published(self) -> str | None:
        """Which of NAS-Bench-101's two files it is, by the SHA-256 that its authors state; None for another one."""
        return _PUBLISHED.get(self.sha256)


@dataclass(frozen=True, eq=False)
class AccuracyColumns:
    """The arrays of :class:`~leti_opt.accuracy.nasbench101.NasBench101Accuracies`.

    Args:
        digests: the 16 bytes of each cell's graph hash, ascending, no two equal; uint8, ``(cells, 16)``.
        parameters: trainable ones of each cell's network, 0 where it is not known; int32.
        epochs: numbers of epochs that there are trainings of, ascending.
        figures: NaN where absent; float32 or float64, ``(epochs, figures, repeats, cells)``, the figures as in
            :data:`FIGURES`.
        source: where all this is from.
    """

    digests: NDArray[np.uint8]
    parameters: NDArray[np.int32]
    epochs: tuple[int, ...]
    figures: NDArray[np.floating[Any]]
    source: SourceFile

    def named(self) -> Iterator[tuple[str, NDArray[np.floating[Any]]]]:
        """Each column of figures with its name."""
        for epochs, budget in zip(self.epochs, self.figures, strict=True):
            for figure, repeats in zip(FIGURES, budget, strict=True):
                for number, column in enumerate(repeats, start=1):
                    yield f"{figure}_{epochs}_{number}", column


def write_accuracies(path: Path, columns: AccuracyColumns) -> None:
    """Write a file; it is whole or as it was.

    Raises:
        AccuracyFileError: it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    header = _header(columns)
    digests = pa.py_buffer(np.ascontiguousarray(columns.digests))
    hashes = pa.Array.from_buffers(pa.binary(16), len(columns.digests), [None, digests])
    parameters = pa.array(columns.parameters, mask=columns.parameters == 0)
    figures = {name: pa.array(column, from_pandas=True) for name, column in columns.named()}
    table = pa.table(
        {"graph_hash": hashes, "trainable_parameters": parameters, **figures},
        metadata={_FORMAT: json.dumps({**header, "sha256": _digest(header, columns)})},
    )
    try:
        with replacing(path) as temporary:
            parquet.write_table(table, temporary, compression="zstd")
    except OSError as error:
        raise AccuracyFileError(
            f"cannot write {path}: {error.strerror or error}; free space or name another place"
        ) from error


def read_accuracies(path: Path) -> AccuracyColumns:
    """Read what :func:`write_accuracies` wrote.

    Raises:
        AccuracyFileError: there is no such file, it is another kind of file, damaged, or of a newer version.
    """
    import pyarrow as pa

    if not path.is_file():
        raise AccuracyFileError(f"there is no file {path}; make it with 'leti-opt accuracy import'")
    try:
        header, columns = _read(path)
        whole = header.pop("sha256") == _digest(header, columns)
    except AccuracyFileError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        raise AccuracyFileError(f"{path} is damaged, or no file of accuracies of leti_opt; {_ADVICE}") from error
    if not whole:
        raise AccuracyFileError(f"{path} is damaged, or was changed since leti_opt wrote it; {_ADVICE}")
    for column in (columns.digests, columns.parameters, columns.figures):
        column.setflags(write=False)
    return columns


def _read(path: Path) -> tuple[dict[str, Any], AccuracyColumns]:
    from pyarrow import parquet

    table = parquet.read_table(path).combine_chunks()
    header = json.loads(table.schema.metadata[_FORMAT.encode()])
    if header["version"] > FORMAT_VERSION:
        raise AccuracyFileError(
            f"{path} has format {header['version']}, this leti_opt reads up to {FORMAT_VERSION}; update leti_opt"
        )
    cells = len(table)
    digests = np.frombuffer(b"".join(table["graph_hash"].to_pylist()), dtype=np.uint8).reshape(cells, 16).copy()
    parameters = table["trainable_parameters"].fill_null(0).to_numpy().astype(np.int32)
    shape = (len(header["epochs"]), len(FIGURES), header["repeats"], cells)
    figures = np.empty(shape, dtype=np.dtype(header["dtype"]))
    columns = AccuracyColumns(digests, parameters, tuple(header["epochs"]), figures, SourceFile(**header["source"]))
    for name, column in columns.named():
        column[:] = table[name].to_numpy()
    return header, columns


def _header(columns: AccuracyColumns) -> dict[str, Any]:
    return {
        "version": FORMAT_VERSION,
        "epochs": columns.epochs,
        "repeats": columns.figures.shape[2],
        "dtype": str(columns.figures.dtype),
        "source": asdict(columns.source),
    }


def _digest(header: dict[str, Any], columns: AccuracyColumns) -> str:
    sha256 = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    sha256.update(np.ascontiguousarray(columns.digests).data)
    sha256.update(np.ascontiguousarray(columns.parameters).data)
    for _, column in columns.named():
        sha256.update(np.where(np.isnan(column), column.dtype.type(np.nan), column).data)
    return sha256.hexdigest()
