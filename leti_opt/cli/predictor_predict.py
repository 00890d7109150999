"""``leti-opt predictor predict``: what a predictor that was kept says of cells and files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leti_opt.cli.common import EXIT_INFEASIBLE, JsonOption, print_json, reports_errors, share
from leti_opt.cli.predictor_cells import AnsweredCells, asked_cells, check_output, print_cells, write_cells
from leti_opt.cli.predictor_files import answered_files, are_files, say_what_intervals_know

_OF_A_SPACE = 20

FileArgument = Annotated[Path, typer.Argument(help="What 'leti-opt predictor fit' wrote.")]


@reports_errors
def predict(
    file: FileArgument,
    cells: Annotated[
        list[str] | None,
        typer.Argument(help="Cells' texts, native strings, or hashes of the space; or else .tflite files."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="More cells: an .npz, .parquet or .csv file of 'leti-opt space list' or others."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help="nasbench101 or nasbench201: all of its cells, or where hashes are looked up."),
    ] = None,
    coverage: Annotated[
        str, typer.Option("--coverage", help="Share of latencies that the intervals should hold, such as 90%.")
    ] = "90%",
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu", help="Skip networks that these rules forecast to be refused: paper-2020, tflite-current."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=0, help=f"Print so many, the fastest; 0 for all. {_OF_A_SPACE} of a whole space if absent."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write all of them to a .parquet or .csv file instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict latencies, with intervals. Nothing is measured. Of a whole space the fastest are printed.

    Example: leti-opt predictor predict laptop.predictor --space nasbench101 --output predicted.parquet
    """
    from leti_opt.objective.surrogate import SurrogateObjective
    from leti_opt.predictor.predictor import load_predictor

    wanted = share(coverage)
    check_output(output)
    loaded = load_predictor(file)
    story = loaded.story_
    if are_files(cells or [], table is not None or space is not None or gpu is not None or output is not None):
        answered_files(loaded, story, cells or [], wanted, as_json)
        return
    surrogate = SurrogateObjective(loaded, coverage=wanted, skip_forecast=gpu)
    asked = asked_cells(cells or [], table, space)
    answered = AnsweredCells(asked.table, surrogate.evaluate_many(asked.table), story)
    say_what_intervals_know(loaded)
    if output is not None:
        write_cells(answered, output)
    if as_json:
        print_json(answered.as_json(with_cells=output is None))
    else:
        usual = _OF_A_SPACE if asked.whole_space else 0
        print_cells(answered, usual if limit is None else limit, asked.whole_space or limit is not None, output)
    if not asked.whole_space and set(answered.answers.counts) - {"predicted"}:
        raise typer.Exit(EXIT_INFEASIBLE)
