"""The cells of ``leti-opt predictor predict``: which are asked about, and how the answers are printed and kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from leti_opt.cli.common import space_definition
from leti_opt.cli.files import check_writable, replacing
from leti_opt.cli.models import is_hash
from leti_opt.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from leti_opt.architecture import Architecture
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.objective.predicted import AnsweredTable
    from leti_opt.predictor.training_data import TrainingStory

_SUFFIXES = (".parquet", ".csv")
_NO_FIGURE = "–"


@dataclass(frozen=True)
class AskedCells:
    """Which cells are asked about.

    Args:
        table: the cells.
        whole_space: whether they are simply all of a space.
    """

    table: ArchitectureTable
    whole_space: bool


@dataclass(frozen=True)
class AnsweredCells:
    """Cells with what a predictor says of them.

    Args:
        table: the cells.
        answers: of each.
        story: where the figures come from that the predictor learned; None where its file does not say.
    """

    table: ArchitectureTable
    answers: AnsweredTable
    story: TrainingStory | None

    @property
    def learned(self) -> str:
        """What kind of figures it learned: ``measured``, ``simulated`` and the like, or ``unknown``."""
        return "unknown" if self.story is None else self.story.every_origin

    def as_json(self, with_cells: bool) -> dict[str, Any]:
        """For scripts; a cell without a figure has null."""
        found: dict[str, Any] = {
            "predictor": self.answers.predictor,
            "training_digest": self.answers.training_digest,
            "training": self.story,
            "coverage": self.answers.coverage,
            "counts": dict(self.answers.counts),
        }
        return {**found, "cells": [self._row(row) for row in range(len(self.table))]} if with_cells else found

    def _row(self, row: int) -> dict[str, Any]:
        figures = {
            "predicted_ms": self.answers.mean_ms[row],
            "lower_ms": self.answers.lower_ms[row],
            "upper_ms": self.answers.upper_ms[row],
        }
        return {
            "cell": str(self.table[row]),
            "graph_hash": str(self.table.graph_hashes[row]),
            "status": str(self.answers.statuses[row]),
            **{name: float(value) if np.isfinite(value) else None for name, value in figures.items()},
        }

    def columns(self) -> pa.Table:
        """All of it as a table."""
        import pyarrow as pa

        from leti_opt.campaign.columns import cell_columns

        known = cell_columns(self.table)
        answers = self.answers
        return pa.table(
            {
                "graph_hash": known["graph_hash"],
                "cell": self._texts(known["cell"]),
                "predicted_ms": pa.array(answers.mean_ms, from_pandas=True),
                "lower_ms": pa.array(answers.lower_ms, from_pandas=True),
                "upper_ms": pa.array(answers.upper_ms, from_pandas=True),
                "status": pa.array(answers.statuses.tolist()).dictionary_encode(),
                "learned_from": pa.array([self.learned] * len(self.table)).dictionary_encode(),
                "predictor": pa.array([answers.predictor] * len(self.table)).dictionary_encode(),
                "training_digest": pa.array([answers.training_digest] * len(self.table)).dictionary_encode(),
            }
        )

    def _texts(self, cells: pa.Array) -> pa.Array:
        """Texts that ``Architecture.parse`` reads: with their labels, where these are not NAS-Bench-101's."""
        import pyarrow.compute as pc

        from leti_opt.architecture import NAS_BENCH_101_LABELS

        labels = self.table.labels
        return cells if labels == NAS_BENCH_101_LABELS else pc.binary_join_element_wise(cells, ",".join(labels), ":")


def check_output(output: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is predicted.

    Raises:
        InvalidInputError: it is one.
    """
    if output is None:
        return
    if output.suffix not in _SUFFIXES:
        raise InvalidInputError(f"cannot write {output}: name a .parquet or .csv file")
    check_writable(output)


def asked_cells(names: Sequence[str], table: Path | None, space: str | None) -> AskedCells:
    """Cells by their names and from a file, or all of a space where neither is given.

    Raises:
        InvalidInputError: nothing was named, a name is none, or cells are of several spaces.
        NotFoundError: there is no such file, or no cell of such a hash.
        TableFileError: the file is damaged.
    """
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.search_space.enumeration import enumerate_architectures

    if not names and table is None:
        if space is None:
            raise InvalidInputError("name cells, or a --table of cells, or a whole --space")
        return AskedCells(enumerate_architectures(space_definition(space)), True)
    named = [_cell(name, space or "nasbench101") for name in names]
    if table is None:
        return AskedCells(ArchitectureTable.from_architectures(named), False)
    filed = read_cells(table)
    whole = filed if not named else ArchitectureTable.from_architectures([*named, *filed])
    return AskedCells(whole, False)


def read_cells(path: Path) -> ArchitectureTable:
    """Cells of a file: what an ArchitectureTable saved, or any table with their texts in a column ``cell``.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it has no such column, or something else than a cell in it.
        TableFileError: it is damaged.
    """
    from leti_opt.architecture import Architecture
    from leti_opt.architecture_table import ArchitectureTable

    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; 'leti-opt space list --output {path}' writes one")
    if path.suffix == ".parquet":
        from pyarrow import parquet

        texts = parquet.read_table(path, columns=["cell"]).to_pandas() if "cell" in _columns(path) else None
    elif path.suffix == ".csv":
        texts = _read_csv(path)
    else:
        texts = None
    if texts is None:
        return ArchitectureTable.load(path)
    if "cell" not in texts:
        raise InvalidInputError(f"{path} has no column 'cell'; it has: {', '.join(map(str, texts.columns))}")
    return ArchitectureTable.from_architectures(Architecture.parse(str(text)) for text in texts["cell"])


def write_cells(found: AnsweredCells, output: Path) -> None:
    """Write all of them to a file, which appears whole or not at all.

    Raises:
        InvalidInputError: it cannot be written.
    """
    from pyarrow import csv, parquet

    with replacing(output) as temporary:
        if output.suffix == ".csv":
            csv.write_csv(_plain(found.columns()), temporary)
        else:
            parquet.write_table(found.columns(), temporary, compression="zstd")


def print_cells(found: AnsweredCells, limit: int, fastest: bool, output: Path | None) -> None:
    """Who says so, then a line a cell, then what kind of figures it all rests on.

    Args:
        found: the cells.
        limit: how many at most; 0 for all.
        fastest: the quickest first; else in the order they came in.
        output: the file that they are in, so that they need not be printed.
    """
    from leti_opt.report.predictor_table import origin_lines, statement_of

    answers = found.answers
    learned = statement_of(found.story)
    typer.echo(f"predicted by {answers.predictor} {answers.training_digest[:12]}, which learned {learned}")
    if output is not None:
        typer.echo(f"{output}: {', '.join(f'{number:,} {word}' for word, number in answers.counts.items())}")
    else:
        order = np.argsort(answers.mean_ms, kind="stable") if fastest else np.arange(len(answers))
        shown = order[:limit] if limit else order
        _print_rows(found, shown.tolist())
        if len(shown) < len(order):
            typer.echo(f"the fastest {len(shown)} of {len(order):,}; --limit 0 prints all, -o FILE.parquet writes them")
    for line in origin_lines(found.story):
        typer.echo(line)


def _print_rows(found: AnsweredCells, rows: list[int]) -> None:
    from rich.console import Console

    from leti_opt.report.tables import plain_table

    answers = found.answers
    headings = ["predicted ms", f"{100 * answers.coverage:g} % from", "to", "status", "cell"]
    lines = [
        [
            *(figure_text(values[row]) for values in (answers.mean_ms, answers.lower_ms, answers.upper_ms)),
            str(answers.statuses[row]),
            str(found.table[row]),
        ]
        for row in rows
    ]
    if sys.stdout.isatty():
        Console(highlight=False).print(plain_table(headings, lines))
        return
    for line in [headings, *lines]:  # whole lines, for what reads them next
        typer.echo("\t".join(line))


def figure_text(latency_ms: float | None) -> str:
    """A latency in milliseconds for people; a dash where there is none."""
    from leti_opt.cli.measure_table import ms_text

    return ms_text(float(latency_ms)) if latency_ms is not None and np.isfinite(latency_ms) else _NO_FIGURE


def _cell(name: str, space: str) -> Architecture:
    from leti_opt.architecture import Architecture
    from leti_opt.search_space.definition import NAS_BENCH_201
    from leti_opt.search_space.enumeration import enumerate_architectures

    if is_hash(name):
        table = enumerate_architectures(space_definition(space))
        return table[table.find(name)]
    return NAS_BENCH_201.parse_native(name) if name.startswith("|") else Architecture.parse(name)


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # a longer line would shift what comes before it into an index
        return pd.read_csv(path, dtype=str, index_col=False, on_bad_lines="error")
    except (ValueError, OSError) as error:
        raise InvalidInputError(
            f"{path} is no CSV file: {' '.join(str(error).split())[:200]}; put texts with commas, as cells have them, "
            'in quotes: "0-1,1-2:maxpool3x3"'
        ) from error


def _columns(path: Path) -> list[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        names: list[str] = parquet.read_schema(path).names
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidInputError(f"{path} is no Parquet file: {' '.join(str(error).split())[:200]}") from error
    return names


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries, which CSV cannot hold."""
    import pyarrow as pa

    return table.cast(
        pa.schema(
            [(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type) for field in table.schema]
        )
    )
