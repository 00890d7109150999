"""``leti-opt predictor evaluate --curve``: how good a predictor is with more and more cells to learn from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from leti_opt.cli.common import print_json
from leti_opt.cli.predictor_options import Figures, new_predictor, read_with_table
from leti_opt.errors import InvalidInputError


def check_curve(size: int | None, held_out: Path | None, saved: Path | None) -> None:
    """Refuse what makes no sense with a curve.

    Raises:
        InvalidInputError: another option says how many cells are learned from, or by what is judged.
    """
    given = {"--size": size, "--held-out": held_out, "--predictor": saved}
    for name, value in given.items():
        if value is not None:
            raise InvalidInputError(f"--curve goes through sizes by itself; leave out {name}, or --curve")


def show_curve(kind: str, figures: Figures, splits: int, table: Path | None, as_json: bool) -> None:
    """Judge one kind at each size, and print a line for each."""
    from functools import partial

    from leti_opt.report.predictor_judgement import judged_at_sizes
    from leti_opt.report.predictor_table import HEADINGS, notes, table_rows
    from leti_opt.report.predictor_table import as_json as plain

    data = read_with_table(figures, table)
    found = judged_at_sizes(kind, partial(new_predictor, kind, data, table), data, splits)
    if as_json:
        print_json({"kind": kind, "curve": [plain(each) for each in found]})
        return
    typer.echo(f"{kind}: {data.story.statement()}; {splits} split(s) for each number of cells to learn from")
    rows: list[tuple[Any, ...]] = [(f"{each.train_cells:,}", *table_rows(each)[0][1:]) for each in found]
    print_table(("cells", *HEADINGS[1:]), rows)
    typer.echo("\n".join(notes(found[-1])))


def print_table(headings: Any, rows: Any) -> None:
    """A plain table, as wide as it needs to be where nobody watches."""
    from rich.console import Console

    from leti_opt.report.tables import plain_table

    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(plain_table(headings, rows))
