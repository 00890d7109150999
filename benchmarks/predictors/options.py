"""What the commands over the public columns share: their options, and one column after the other on the same splits."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import joblib

from benchmarks.predictors.public_data import DEFAULT_FOLDER, PublicColumns, load_columns
from leti_opt.predictor.evaluation import Split, split_by_class

Found = TypeVar("Found")


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows where the public data are; its help shows the text as it stands."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="a file, or the folder that holds it")
    return parser


def add_columns(parser: argparse.ArgumentParser) -> None:
    """``--columns``: which devices."""
    parser.add_argument("--columns", nargs="+", help="those with aims if absent, all of a file that has none of them")


def add_splits(parser: argparse.ArgumentParser, splits: int) -> None:
    """``--splits``: how often the cells are split."""
    parser.add_argument("--splits", type=int, default=splits, help=f"{splits} if absent")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """``--workers``: how many columns at once."""
    parser.add_argument("--workers", type=int, default=1, help="processes; processor times are those of one")


def on_every_column(
    judge: Callable[[PublicColumns, str, Sequence[Split]], Found], usual: Iterable[str], arguments: argparse.Namespace
) -> list[Found]:
    """What a function finds on every column that was asked for.

    Args:
        judge: given the data, a column's name and the splits, which are by isomorphism class and the same for all.
        usual: columns that are meant where none are named.
        arguments: ``data``, ``columns``, ``size``, ``splits`` and ``workers``.
    """
    data = load_columns(arguments.data)
    data.cells.table()  # once, before the processes begin
    splits = [split_by_class(data.classes, arguments.size, seed) for seed in range(arguments.splits)]
    tasks = (joblib.delayed(judge)(data, column, splits) for column in arguments.columns or data.present(usual))
    found: list[Found] = joblib.Parallel(n_jobs=arguments.workers)(tasks)
    return found
