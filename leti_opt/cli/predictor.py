"""``leti-opt predictor``: latencies of networks that nobody measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leti_opt.cli import predictor_adapt, predictor_card, predictor_predict
from leti_opt.cli.common import JsonOption, SetOption, print_json, reports_errors
from leti_opt.cli.files import check_writable
from leti_opt.cli.predictor_curve import check_curve, print_table, show_curve
from leti_opt.cli.predictor_judging import fitted_kind, judged_held_out, judged_kinds, judged_saved
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
)
from leti_opt.errors import InvalidInputError

app = typer.Typer(
    help="Latencies of networks that nobody measured: learn from measured ones, judge, predict.", no_args_is_help=True
)

SplitsOption = Annotated[int, typer.Option("--splits", min=1, help="How often the cells are split.")]
SizeOption = Annotated[
    int | None, typer.Option("--size", min=2, help="Cells to learn from in each split; four fifths if absent.")
]


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
    fitted, story, left_out = fitted_kind(kind, Figures(data, store, device, network, changes), table)
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
        found = judged_saved(saved, figures)
    elif held_out is not None:
        found = judged_held_out(kind, figures, held_out, table)
    else:
        found = judged_kinds([kind], figures, size, splits, table)
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
    found = judged_kinds(chosen, Figures(data, store, device, network, changes), size, splits, table)
    if as_json:
        print_json(plain(found))
        return
    typer.echo(how(found))
    print_table(HEADINGS, table_rows(found))
    typer.echo("\n".join(notes(found)))


app.command("predict")(predictor_predict.predict)
app.command("adapt")(predictor_adapt.adapt)
app.command("card")(predictor_card.card)
