"""``leti-opt predictor``: latencies of networks that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli import predictor_adapt
from leti_opt.cli.common import (
    EXIT_INFEASIBLE,
    JsonOption,
    SetOption,
    check_writable,
    print_json,
    reports_errors,
    share,
)
from leti_opt.cli.predictor_cells import AnsweredCells, asked_cells, check_output, print_cells, write_cells
from leti_opt.cli.predictor_curve import check_curve, print_table, show_curve
from leti_opt.cli.predictor_files import answered_files, are_files
from leti_opt.cli.predictor_options import (
    LUT,
    QUICK_KINDS,
    DataArgument,
    DataDeviceOption,
    DataStoreOption,
    Figures,
    KindOption,
    LutTableOption,
    MeasuredNetworkOption,
    check_kind,
    check_table,
    kind_of,
    new_predictor,
    table_predictor,
    table_story,
)
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.predictor.training_data import TrainingStory
    from leti_opt.report.predictor_judgement import Judgement

app = typer.Typer(
    help="Latencies of networks that nobody measured: learn from measured ones, judge, predict.", no_args_is_help=True
)

SplitsOption = Annotated[int, typer.Option("--splits", min=1, help="How often the cells are split.")]
SizeOption = Annotated[
    int | None, typer.Option("--size", min=2, help="Cells to learn from in each split; four fifths if absent.")
]
FileArgument = Annotated[Path, typer.Argument(help="What 'leti-opt predictor fit' wrote.")]


app.command("adapt")(predictor_adapt.adapt)


@app.callback()
def predictor() -> None:
    """Latencies of networks that nobody measured."""


@app.command("fit")
@reports_errors
def fit(
    output: Annotated[Path, typer.Option("--out", "-o", help="Where to keep the predictor.")],
    data: DataArgument = None,
    store: DataStoreOption = None,
    device: DataDeviceOption = None,
    network: MeasuredNetworkOption = None,
    changes: SetOption = None,
    kind: KindOption = "kernel",
    table: LutTableOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn from measured networks, and keep what was learned in a file. A table of pieces does without networks.

    Example: leti-opt predictor fit phones-dataset/latencies.parquet --device laptop --out laptop.predictor
    """
    from leti_opt.predictor.story_file import save_with_story
    from leti_opt.report.predictor_table import origin_lines

    check_kind(kind, table)
    check_table([kind], table)
    check_writable(output)
    fitted, story, left_out = _fitted(kind, Figures(data, store, device, network, changes), table)
    save_with_story(fitted, story, output)
    if as_json:
        print_json(
            {
                "file": str(output),
                "kind": kind,
                "predictor": type(fitted).__name__,
                "training": story,
                "training_digest": fitted.training_digest_,
                "network": fitted.network.digest,
                "left_out": left_out,
            }
        )
        return
    typer.echo(f"{output}: {type(fitted).__name__} {fitted.training_digest_[:12]}, learned {story.statement()}")
    if left_out:
        left = ", ".join(f"{number:,} {word}" for word, number in left_out.items())
        typer.echo(f"left out, since they have no latency: {left}")
    for line in origin_lines(story):
        typer.echo(line)


@app.command("evaluate")
@reports_errors
def evaluate(
    data: DataArgument = None,
    store: DataStoreOption = None,
    device: DataDeviceOption = None,
    network: MeasuredNetworkOption = None,
    changes: SetOption = None,
    kind: KindOption = "kernel",
    table: LutTableOption = None,
    splits: SplitsOption = 5,
    size: SizeOption = None,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", help="Learn from all the figures, and judge by this other campaign's file."),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option("--predictor", help="Judge a predictor that was kept, by figures that it did not learn from."),
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="With 10, 30, 100 and so on cells to learn from, up to four fifths.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how good a predictor is on cells that it has not seen, and how sure that is.

    Example: leti-opt predictor evaluate phones-dataset/latencies.parquet --device laptop --kind kernel --splits 10
    """
    from leti_opt.report.predictor_table import as_json as plain
    from leti_opt.report.predictor_table import judgement_lines

    check_kind(kind, table)
    check_table([kind], table)
    if held_out is not None and saved is not None:
        raise InvalidInputError("--held-out judges a predictor that is fitted first, --predictor a kept one; use one")
    figures = Figures(data, store, device, network, changes)
    if curve:
        check_curve(size, held_out, saved)
        show_curve(kind, figures, splits, table, as_json)
        return
    if saved is not None:
        found = _judged_saved(saved, figures)
    elif held_out is not None:
        found = _judged_held_out(kind, figures, held_out, table)
    else:
        found = _judged_kinds([kind], figures, size, splits, table)
    if as_json:
        print_json(plain(found))
        return
    typer.echo("\n".join(judgement_lines(found)))


@app.command("compare")
@reports_errors
def compare(
    data: DataArgument = None,
    store: DataStoreOption = None,
    device: DataDeviceOption = None,
    network: MeasuredNetworkOption = None,
    changes: SetOption = None,
    kinds: Annotated[
        str, typer.Option("--kind", help="Which to compare, joined by commas; gcn trains for minutes a split.")
    ] = ",".join(QUICK_KINDS),
    table: LutTableOption = None,
    splits: SplitsOption = 5,
    size: SizeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare kinds of predictors on the same splits of the same cells.

    Example: leti-opt predictor compare phones-dataset/latencies.parquet --device laptop --size 300
    """
    from leti_opt.report.predictor_table import HEADINGS, how, notes, table_rows
    from leti_opt.report.predictor_table import as_json as plain

    chosen = [each.strip() for each in kinds.split(",")]
    if table is not None and chosen == [*QUICK_KINDS]:
        chosen.append(LUT)
    for each in chosen:
        check_kind(each, table)
    check_table(chosen, table)
    if len(set(chosen)) < len(chosen):
        raise InvalidInputError(f"--kind {kinds} names a kind twice; name each once")
    found = _judged_kinds(chosen, Figures(data, store, device, network, changes), size, splits, table)
    if as_json:
        print_json(plain(found))
        return
    typer.echo(how(found))
    print_table(HEADINGS, table_rows(found))
    typer.echo("\n".join(notes(found)))


@app.command("predict")
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
    limit: Annotated[int, typer.Option("--limit", min=0, help="Of a whole space, how many to print; 0 for all.")] = 20,
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
    from leti_opt.predictor.story_file import load_story

    wanted = share(coverage)
    check_output(output)
    loaded = load_predictor(file)
    story = load_story(file)
    if are_files(cells or [], table is not None or space is not None or gpu is not None or output is not None):
        answered_files(loaded, story, cells or [], wanted, as_json)
        return
    surrogate = SurrogateObjective(loaded, coverage=wanted, skip_forecast=gpu)
    asked = asked_cells(cells or [], table, space)
    answered = AnsweredCells(asked.table, surrogate.evaluate_many(asked.table), story)
    if output is not None:
        write_cells(answered, output)
    if as_json:
        print_json(answered.as_json(with_cells=output is None))
    else:
        print_cells(answered, limit if asked.whole_space else 0, asked.whole_space, output)
    if not asked.whole_space and set(answered.answers.counts) - {"predicted"}:
        raise typer.Exit(EXIT_INFEASIBLE)


def _fitted(kind: str, figures: Figures, table: Path | None) -> tuple[LatencyPredictor, TrainingStory, dict[str, int]]:
    """A fitted predictor, where its figures come from, and how many networks have none; a table may do alone."""
    if kind == LUT and table is not None and figures.file is None and figures.store is None:
        return *table_predictor(figures.config(), table), {}
    found = figures.read()
    predictor = new_predictor(kind, found, table)
    story = found.story if table is None else replace(found.story, others=(table_story(table),))
    return predictor.fit(found.cells, found.latency_ms), story, found.left_out


def _judged_kinds(kinds: list[str], figures: Figures, size: int | None, splits: int, table: Path | None) -> Judgement:
    from functools import partial

    from leti_opt.report.predictor_judgement import judged_by_splits

    found = figures.read()
    return judged_by_splits({kind: partial(new_predictor, kind, found, table) for kind in kinds}, found, size, splits)


def _judged_held_out(kind: str, figures: Figures, held_out: Path, table: Path | None) -> Judgement:
    from leti_opt.report.predictor_judgement import judged_by_cells

    found, test = figures.read(), figures.held_out(held_out)
    fitted = new_predictor(kind, found, table).fit(found.cells, found.latency_ms)
    return judged_by_cells(kind, fitted, found.story, test, found)


def _judged_saved(saved: Path, figures: Figures) -> Judgement:
    from leti_opt.predictor.predictor import load_predictor
    from leti_opt.predictor.story_file import load_story
    from leti_opt.report.predictor_judgement import judged_by_cells, learned_just_these

    loaded = load_predictor(saved)
    if (figures.network or figures.changes) and figures.config() != loaded.network:
        raise InvalidInputError(
            f"{saved} is for another network; leave out --network and --set, since it brings its own"
        )
    test = figures.read(loaded.network)
    if learned_just_these(loaded, test):
        raise InvalidInputError(
            f"{saved} was fitted to just these figures of {test.story.source}; judge it by others, or leave out "
            "--predictor for splits of these"
        )
    return judged_by_cells(kind_of(loaded), loaded, load_story(saved), test)
