"""From an accuracy file of NAS-Bench-101 to a table by graph hash, in one pass over the file."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.accuracy.metrics_message import Evaluation
from leti_opt.accuracy.nasbench101 import NasBench101Accuracies
from leti_opt.accuracy.nasbench101_file import FIGURES, AccuracyColumns, SourceFile
from leti_opt.accuracy.nasbench101_records import (
    ClaimedHash,
    TrainingRecord,
    first_wrong_hash,
    parse_record,
)
from leti_opt.accuracy.tfrecord import read_records
from leti_opt.errors import AccuracyFileError

_CHECKED_AT_ONCE = 1 << 14
_REPORT_EVERY = 1 << 12
_MOST_REPEATS = 16
_BLOCK = 1 << 14


@dataclass(frozen=True)
class ImportProgress:
    """How far a file has been read.

    Args:
        bytes_read: so many.
        bytes_total: of so many.
        records: read so far.
        cells: different ones among them.
    """

    bytes_read: int
    bytes_total: int
    records: int
    cells: int


def read_nasbench101(
    source: str | Path, progress: Callable[[ImportProgress], None] | None = None
) -> NasBench101Accuracies:
    """Read a TFRecord file of NAS-Bench-101, the whole one or the one of 108 epochs.

    Every record is checked: both of its checksums, its figures, and its hash against the cell's own
    :attr:`~leti_opt.architecture.Architecture.graph_hash`. (A cell is hashed once, and again where a record writes it
    differently; in bulk that is about an eighth of the time.) A record that repeats another one in every figure is
    counted and left out. Memory grows with the table that is made, to less than 1 GB for all of NAS-Bench-101, and not
    with the length of the file.

    Args:
        source: the file.
        progress: is told now and then how far it is.

    Raises:
        AccuracyFileError: there is no such file, or it is damaged, cut, empty, or says what cannot be; the message
            names the byte at which the record begins. A file that was cut between two records looks whole: compare
            ``source.records``, or ``source.published``.
    """
    path = Path(source)
    sha256 = hashlib.sha256()
    collected = _Collected(path.name)
    try:
        with path.open("rb") as stream:
            total = path.stat().st_size
            for record in read_records(stream, path.name, sha256.update):
                collected.add(record.offset, record.data)
                if progress and collected.records % _REPORT_EVERY == 0:
                    progress(ImportProgress(stream.tell(), total, collected.records, len(collected.numbers)))
    except OSError as error:
        raise AccuracyFileError(f"cannot read {path}: {error.strerror}; correct the name") from error
    collected.check_hashes()
    if not collected.records:
        raise AccuracyFileError(f"{path} holds no record; fetch the file again")
    if progress:
        progress(ImportProgress(total, total, collected.records, len(collected.numbers)))
    return collected.table(sha256.hexdigest(), total)


@dataclass(frozen=True)
class _Arranged:
    """Trainings of one number of epochs, sorted by cell.

    Args:
        cells: number of each training's cell.
        repeats: 0 for the first of its cell in the file, then 1, ….
        figures: ``(trainings, figures)``, as float32 where that changes none.
        left_out: how many were equal to an earlier one in every figure.
    """

    cells: NDArray[np.int32]
    repeats: NDArray[np.int32]
    figures: NDArray[np.floating[Any]]
    left_out: int


class _Trainings:
    """Those of one number of epochs, in the order of the file."""

    def __init__(self) -> None:
        self._cells = array("i")
        self._full: list[NDArray[np.floating[Any]]] = []
        self._latest = array("d")

    def add(self, cell: int, final: Evaluation) -> None:
        self._cells.append(cell)
        self._latest.extend(
            (final.validation_accuracy, final.test_accuracy, final.train_accuracy, final.training_time_s)
        )
        if len(self._latest) == _BLOCK * len(FIGURES):
            self._full.append(_narrowed(self._latest))
            self._latest = array("d")

    def arranged(self) -> _Arranged:
        cells = np.frombuffer(self._cells, dtype=np.int32)
        figures = np.concatenate([*self._full, _narrowed(self._latest)]).reshape(-1, len(FIGURES))
        self._full.clear()
        bits = figures.view(f"i{figures.itemsize}")  # NaN equals NaN
        order = np.lexsort((*bits.T, cells))  # stable: of equal ones the earliest is first
        before, after = order[:-1], order[1:]
        equal = (cells[before] == cells[after]) & (bits[before] == bits[after]).all(axis=1)
        kept = np.setdiff1d(np.arange(len(cells)), after[equal], assume_unique=True)
        kept = kept[np.argsort(cells[kept], kind="stable")]
        cells = cells[kept]
        first = np.flatnonzero(np.diff(cells, prepend=-1))
        repeats = np.arange(len(cells)) - np.repeat(first, np.diff(first, append=len(cells)))
        return _Arranged(cells, repeats.astype(np.int32), figures[kept], int(equal.sum()))


def _narrowed(figures: array[float]) -> NDArray[np.floating[Any]]:
    """As float32 if that changes none: NAS-Bench-101's published examples are such figures."""
    wide = np.frombuffer(figures)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return narrow if np.array_equal(narrow, wide, equal_nan=True) else wide


class _Collected:
    """What was read so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records = 0
        self.numbers: dict[bytes, int] = {}
        self._parameters = array("i")
        self._writings = array("q")
        self._trainings: dict[int, _Trainings] = {}
        self._unchecked: list[ClaimedHash] = []

    def add(self, offset: int, data: bytes) -> None:
        """Take a record."""
        try:
            record = parse_record(data)
        except ValueError as error:
            raise self._fault(offset, str(error)) from error
        self.records += 1
        number = self._number(offset, record)
        self._trainings.setdefault(record.epochs, _Trainings()).add(number, record.final)

    def _number(self, offset: int, record: TrainingRecord) -> int:
        """The cell's number; its hash is put down to be checked if it was not seen in these words."""
        writing = hash(record.cell)
        parameters = record.parameters or 0
        number = self.numbers.get(record.digest)
        if number is None:
            number = self.numbers[record.digest] = len(self.numbers)
            self._parameters.append(parameters)
            self._writings.append(writing)
        else:
            self._check_parameters(number, offset, parameters)
            if self._writings[number] == writing:
                return number
        self._unchecked.append(ClaimedHash(offset, record.digest, record.cell))
        if len(self._unchecked) == _CHECKED_AT_ONCE:
            self.check_hashes()
        return number

    def _check_parameters(self, number: int, offset: int, parameters: int) -> None:
        known = self._parameters[number]
        if known and parameters and known != parameters:
            raise self._fault(offset, f"has {parameters:,} trainable parameters, an earlier one of its cell {known:,}")
        self._parameters[number] = known or parameters

    def check_hashes(self) -> None:
        """Check those that were put down.

        Raises:
            AccuracyFileError: one is wrong.
        """
        fault = first_wrong_hash(self._unchecked)
        if fault is not None:
            raise self._fault(fault.offset, fault.reason)
        self._unchecked.clear()

    def table(self, sha256: str, size_bytes: int) -> NasBench101Accuracies:
        """Everything by hash, sorted."""
        digests = np.frombuffer(b"".join(self.numbers), dtype=np.uint8).reshape(-1, 16)
        order = np.argsort(digests.view("S16")[:, 0])
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        epochs = sorted(self._trainings)
        arranged = [self._trainings.pop(each).arranged() for each in epochs]
        most = max(int(part.repeats.max()) for part in arranged) + 1
        if most > _MOST_REPEATS:
            raise AccuracyFileError(
                f"{self.name}: a cell was trained {most} times; NAS-Bench-101 trained each three times, "
                f"and {_MOST_REPEATS} are read at most"
            )
        kind = np.result_type(*(part.figures for part in arranged))
        figures = np.full((len(epochs), len(FIGURES), most, len(order)), np.nan, dtype=kind)
        for budget, part in zip(figures, arranged, strict=True):
            budget[:, part.repeats, place[part.cells]] = part.figures.T
        duplicates = sum(part.left_out for part in arranged)
        source = SourceFile(self.name, sha256, size_bytes, self.records, duplicates)
        parameters = np.frombuffer(self._parameters, dtype=np.int32)[order]
        return NasBench101Accuracies(AccuracyColumns(digests[order], parameters, tuple(epochs), figures, source))

    def _fault(self, offset: int, reason: str) -> AccuracyFileError:
        return AccuracyFileError(
            f"{self.name}: the record at byte {offset} {reason}; take an unchanged file of NAS-Bench-101"
        )
