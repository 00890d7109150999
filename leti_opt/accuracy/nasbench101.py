"""The accuracies that NAS-Bench-101 published, by graph hash: of a cell, a table, or as an evaluator."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.accuracy.nasbench101_evaluator import TabulatedAccuracy
from leti_opt.accuracy.nasbench101_file import (
    FIGURES,
    AccuracyColumns,
    SourceFile,
    read_accuracies,
    write_accuracies,
)
from leti_opt.accuracy.repeats import checked_statistic, over_repeats
from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError, NotFoundError, did_you_mean

IMAGES = ("test", "validation", "train")
"""Which 10,000 images an accuracy is of."""

REPEATS = 3
"""How often NAS-Bench-101 trained a cell for each number of epochs; some trainings are missing."""


@dataclass(frozen=True)
class Training:
    """The end of one training; NaN where the file does not say.

    Args:
        validation_accuracy: share of right answers on the 10,000 images held out for validation.
        test_accuracy: on the 10,000 test images.
        train_accuracy: on 10,000 of the training images.
        training_time_s: seconds, evaluations not counted, on NAS-Bench-101's hardware.
    """

    validation_accuracy: float
    test_accuracy: float
    train_accuracy: float
    training_time_s: float


@dataclass(frozen=True, eq=False, repr=False)
class NasBench101Accuracies:
    """What NAS-Bench-101 measured of its cells; what it does not have is absent, never made up.

    :meth:`load` reads a file that ``leti-opt accuracy import`` made;
    :func:`leti_opt.accuracy.nasbench101_import.read_nasbench101` reads NAS-Bench-101's own. It is itself an
    :class:`~leti_opt.accuracy.evaluator.AccuracyEvaluator`: called with a cell it gives the mean test accuracy after
    108 epochs; :meth:`evaluator` gives others.

    Args:
        columns: the arrays.

    >>> digest = np.frombuffer(bytes.fromhex(Architecture.parse("0-1,1-2:maxpool3x3").graph_hash), dtype=np.uint8)
    >>> figures = np.array([0.90, 0.91, np.nan]) * np.ones((1, 4, 1, 1))  # two repeats, the third is missing
    >>> source = SourceFile("example.tfrecord", sha256="0" * 64, size_bytes=808, records=2, duplicates=0)
    >>> columns = AccuracyColumns(digest[None], np.array([1], np.int32), (108,), figures.swapaxes(2, 3), source)
    >>> accuracies = NasBench101Accuracies(columns)
    >>> round(accuracies.accuracy(Architecture.parse("0-1,1-2:maxpool3x3"), statistic="max"), 3)
    0.91
    >>> table = ArchitectureTable.from_architectures(map(Architecture.parse, ["0-1,1-2:maxpool3x3", "0-1:"]))
    >>> accuracies.of(table).round(3).tolist(), len(table[accuracies.of(table) > 0.9])
    ([0.905, nan], 1)
    """

    columns: AccuracyColumns

    @classmethod
    def load(cls, path: str | Path) -> NasBench101Accuracies:
        """Read what :meth:`save` wrote.

        Raises:
            AccuracyFileError: there is no such file, it is another kind of file, damaged, or of a newer version.
        """
        return cls(read_accuracies(Path(path)))

    def save(self, path: str | Path) -> None:
        """Write a file; whatever happens, it is whole or as it was.

        Raises:
            AccuracyFileError: it cannot be written.
        """
        write_accuracies(Path(path), self.columns)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.columns.digests)

    def __repr__(self) -> str:
        epochs = ", ".join(map(str, self.epochs))
        return f"<NasBench101Accuracies: {len(self):,} cells, epochs {epochs}, from {self.source.name}>"

    @property
    def epochs(self) -> tuple[int, ...]:
        """Numbers of epochs that there are trainings of, ascending."""
        return self.columns.epochs

    @property
    def source(self) -> SourceFile:
        """The file that this was imported from."""
        return self.columns.source

    def accuracy(self, cell: Architecture | str, epochs: int = 108, statistic: str = "mean", of: str = "test") -> float:
        """Accuracy of a cell, between 0 and 1, over those of its repeats that are there.

        Args:
            cell: the cell, however it is written, or its graph hash.
            epochs: how long it was trained.
            statistic: of the repeats, one of :data:`~leti_opt.accuracy.repeats.STATISTICS`.
            of: which images, one of :data:`IMAGES`.

        Raises:
            InvalidInputError: the text is no hash, the cell has other labels than NAS-Bench-101's, or an argument is
                none of those.
            NotFoundError: the file has no such training of this cell.
        """
        row = self._row(cell)
        value = float(over_repeats(self._repeats(epochs, of)[:, row : row + 1], statistic)[0])
        if np.isnan(value):
            raise NotFoundError(
                f"{self.source.name} has no {of} accuracy of {_called(cell)} after {epochs} epochs; choose other epochs"
            )
        return value

    def of(
        self, table: ArchitectureTable, epochs: int = 108, statistic: str = "mean", of: str = "test"
    ) -> NDArray[np.float64]:
        """Accuracy of every cell of a table, NaN where it is not known; arguments as in :meth:`accuracy`.

        Raises:
            InvalidInputError: the table has other labels than NAS-Bench-101's, or an argument is wrong.
        """
        values = over_repeats(self._repeats(epochs, of), statistic)
        rows, known = self._rows(table)
        return np.where(known, values[rows], np.nan)

    def repeats(self, table: ArchitectureTable, epochs: int = 108, of: str = "test") -> NDArray[np.int64]:
        """How many trainings each of those accuracies is of: three of most cells, 0 where it is not known."""
        counts = (~np.isnan(self._repeats(epochs, of))).sum(axis=0)
        rows, known = self._rows(table)
        return np.where(known, counts[rows], 0)

    def trainings(self, cell: Architecture | str, epochs: int = 108) -> list[Training]:
        """Every training of a cell, in the order of the file; none if there is none of so many epochs.

        Raises:
            InvalidInputError: the text is no hash, or the cell has other labels than NAS-Bench-101's.
            NotFoundError: the file does not have this cell.
        """
        row = self._row(cell)
        figures = self.columns.figures[self._budget(epochs), :, :, row].astype(float)
        return [Training(*repeat) for repeat in figures.T.tolist() if not np.isnan(repeat).all()]

    def trainings_by_epochs(self) -> dict[int, int]:
        """How many trainings of all cells together there are of each number of epochs."""
        there = (~np.isnan(self.columns.figures)).any(axis=1).sum(axis=(1, 2))
        return dict(zip(self.epochs, there.tolist(), strict=True))

    def parameters(self, cell: Architecture | str) -> int | None:
        """Trainable parameters of the network that NAS-Bench-101 made of a cell; None where it does not say.

        Raises:
            InvalidInputError: the text is no hash, or the cell has other labels than NAS-Bench-101's.
            NotFoundError: the file does not have this cell.
        """
        return int(self.columns.parameters[self._row(cell)]) or None

    def evaluator(self, epochs: int = 108, statistic: str = "mean", of: str = "test") -> TabulatedAccuracy:
        """One of the accuracies as a callable for a search; arguments as in :meth:`accuracy`."""
        self._repeats(epochs, of)
        checked_statistic(statistic)
        return TabulatedAccuracy(self, epochs, statistic, of)

    def __call__(self, architecture: Architecture) -> float:
        """Mean test accuracy after 108 epochs; see :meth:`accuracy`."""
        return self.accuracy(architecture)

    @property
    def name(self) -> str:
        """What people call the accuracy that a call gives."""
        return TabulatedAccuracy(self).name

    @property
    def digest(self) -> str:
        """Hexadecimal identity of the accuracy that a call gives."""
        return TabulatedAccuracy(self).digest

    @cached_property
    def _hashes(self) -> NDArray[np.bytes_]:
        """The digests as one sortable value each; numpy drops zeros at the end, which changes no order."""
        hashes: NDArray[np.bytes_] = np.ascontiguousarray(self.columns.digests).view("S16")[:, 0]
        return hashes

    def _rows(self, table: ArchitectureTable) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where each cell of the table is, and whether it is there at all."""
        _check_labels(table.labels)
        wanted = np.ascontiguousarray(table.graph_digests).view("S16")[:, 0]
        rows = np.minimum(np.searchsorted(self._hashes, wanted), len(self) - 1)
        return rows, self._hashes[rows] == wanted

    def _row(self, cell: Architecture | str) -> int:
        digest = _digest_of(cell)
        row = int(np.searchsorted(self._hashes, np.bytes_(digest)))
        if row == len(self) or self.columns.digests[row].tobytes() != digest:
            raise NotFoundError(
                f"{self.source.name} does not have {_called(cell)}; NAS-Bench-101 has cells of up to 7 vertices and "
                "9 edges, and a file may have fewer"
            )
        return row

    def _budget(self, epochs: int) -> int:
        if epochs not in self.epochs:
            raise InvalidInputError(
                f"{self.source.name} has no trainings of {epochs} epochs; it has {', '.join(map(str, self.epochs))}"
            )
        return self.epochs.index(epochs)

    def _repeats(self, epochs: int, of: str) -> NDArray[np.floating[Any]]:
        """``(repeats, cells)``."""
        if of not in IMAGES:
            raise InvalidInputError(f"unknown images {of!r}; {did_you_mean(str(of), IMAGES)}")
        figures: NDArray[np.floating[Any]] = self.columns.figures[self._budget(epochs), FIGURES.index(f"{of}_accuracy")]
        return figures


def _digest_of(cell: Architecture | str) -> bytes:
    if isinstance(cell, Architecture):
        _check_labels(cell.labels)
        return bytes.fromhex(cell.graph_hash)
    text = str(cell)
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise InvalidInputError(f"{text!r} is not a graph hash; it has 32 digits 0-9 and a-f")
    return bytes.fromhex(text)


def _check_labels(labels: tuple[str, ...]) -> None:
    if labels != NAS_BENCH_101_LABELS:
        raise InvalidInputError(
            f"a graph hash depends on the list of labels; NAS-Bench-101's is {', '.join(NAS_BENCH_101_LABELS)}, not "
            f"{', '.join(labels)}: make the cells with its own"
        )


def _called(cell: Architecture | str) -> str:
    return f"the cell {cell} (hash {cell.graph_hash})" if isinstance(cell, Architecture) else f"the hash {cell}"
