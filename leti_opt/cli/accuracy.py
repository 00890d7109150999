"""``leti-opt accuracy``."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leti_opt.cli.common import JsonOption, print_json, reports_errors
from leti_opt.cli.files import check_writable

if TYPE_CHECKING:
    from leti_opt.accuracy.nasbench101 import NasBench101Accuracies
    from leti_opt.accuracy.nasbench101_import import ImportProgress

app = typer.Typer(help="Accuracies that others measured, to go with latencies.", no_args_is_help=True)

_NAS_BENCH_101_CELLS = 423_624


@app.callback()
def accuracy() -> None:
    """Accuracies that others measured, to go with latencies."""


@app.command("import")
@reports_errors
def import_file(
    file: Annotated[Path, typer.Argument(help="NAS-Bench-101's nasbench_full.tfrecord or nasbench_only108.tfrecord.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to keep the accuracies.")] = Path(
        "nasbench101.accuracy"
    ),
    as_json: JsonOption = False,
) -> None:
    """Take over the accuracies of NAS-Bench-101, each record checked; minutes for the full file.

    Example: leti-opt accuracy import nasbench_only108.tfrecord -o nasbench101.accuracy
    """
    from leti_opt.accuracy.nasbench101_import import read_nasbench101

    check_writable(output)
    with _shown_progress(file.name) as progress:
        accuracies = read_nasbench101(file, progress)
    accuracies.save(output)
    facts = _facts(accuracies)
    if as_json:
        print_json({"path": str(output), **facts})
        return
    source = accuracies.source
    typer.echo(f"{output}: {len(accuracies):,} of NAS-Bench-101's {_NAS_BENCH_101_CELLS:,} cells")
    typer.echo(f"{source.records:,} records, {source.duplicates:,} of them repeat another one and were left out")
    for epochs, trainings in facts["trainings"].items():
        typer.echo(f"  {epochs:>3} epochs  {trainings:>9,} trainings, {facts['missing'][epochs]:,} missing")
    if source.published:
        typer.echo(f"its SHA-256 is that of the published {source.published}")
    else:
        typer.echo(f"SHA-256 {source.sha256}: not that of a file as NAS-Bench-101 published it")


@app.command("show")
@reports_errors
def show(
    file: Annotated[Path, typer.Argument(help="What 'leti-opt accuracy import' made.")],
    cell: Annotated[str, typer.Argument(help="A cell's text, or its graph hash.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a cell: every training of it.

    Example: leti-opt accuracy show nasbench101.accuracy 0-1,1-2:conv3x3-bn-relu
    """
    from leti_opt.accuracy.nasbench101 import NasBench101Accuracies
    from leti_opt.architecture import Architecture

    is_hash = re.fullmatch(r"[0-9a-fA-F]{32}", cell)
    graph_hash = cell.lower() if is_hash else Architecture.parse(cell).graph_hash
    accuracies = NasBench101Accuracies.load(file)
    parameters = accuracies.parameters(graph_hash)
    trainings = {
        epochs: [_said(asdict(training)) for training in accuracies.trainings(graph_hash, epochs)]
        for epochs in accuracies.epochs
    }
    if as_json:
        source = accuracies.source
        print_json(
            {
                "graph_hash": graph_hash,
                "trainable_parameters": parameters,
                "trainings": trainings,
                "source": {"name": source.name, "sha256": source.sha256, "published": source.published},
            }
        )
        return
    typer.echo(f"graph_hash  {graph_hash}")
    typer.echo(f"parameters  {'not known' if parameters is None else f'{parameters:,}'}")
    typer.echo(f"source      {accuracies.source.name}")
    typer.echo("epochs  validation    test   train   training time")
    for epochs, repeats in trainings.items():
        for training in repeats:
            typer.echo(_row(epochs, **training))
        if not repeats:
            typer.echo(f"{epochs:>6}  no training")


def _row(
    epochs: int,
    validation_accuracy: float | None,
    test_accuracy: float | None,
    train_accuracy: float | None,
    training_time_s: float | None,
) -> str:
    shares = ("     –" if share is None else f"{share:6.2%}" for share in (test_accuracy, train_accuracy))
    validation = "–" if validation_accuracy is None else f"{validation_accuracy:.2%}"
    time = "–" if training_time_s is None else f"{training_time_s:,.1f} s"
    return f"{epochs:>6}  {validation:>10}  {'  '.join(shares)}  {time:>14}"


def _said(training: dict[str, float]) -> dict[str, float | None]:
    """None for what the file does not say."""
    return {name: None if math.isnan(value) else value for name, value in training.items()}


def _facts(accuracies: NasBench101Accuracies) -> dict[str, Any]:
    from leti_opt.accuracy.nasbench101 import REPEATS

    counts = accuracies.trainings_by_epochs()
    return {
        "cells": len(accuracies),
        "trainings": counts,
        "missing": {epochs: max(0, REPEATS * len(accuracies) - count) for epochs, count in counts.items()},
        "source": {**asdict(accuracies.source), "published": accuracies.source.published},
    }


@contextmanager
def _shown_progress(name: str) -> Iterator[Callable[[ImportProgress], None] | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(progress: ImportProgress) -> None:
            described = f"{name}: {progress.records:,} records of {progress.cells:,} cells"
            bar.update(task, completed=progress.bytes_read, total=progress.bytes_total, description=described)

        yield show
