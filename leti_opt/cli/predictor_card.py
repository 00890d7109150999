"""``leti-opt predictor card``: what a kept predictor learned and how good it is, to go with its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import reports_errors
from leti_opt.cli.files import check_writable, replacing
from leti_opt.cli.predictor_options import DataDeviceOption, DataStoreOption, Figures, kind_of
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.report.predictor_judgement import Judgement


@reports_errors
def card(
    file: Annotated[Path, typer.Argument(help="What 'leti-opt predictor fit' or 'adapt' wrote.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A campaign's latencies.parquet to judge it by; the one it learned is split."),
    ] = None,
    store: DataStoreOption = None,
    device: DataDeviceOption = None,
    splits: Annotated[int, typer.Option("--splits", min=1, help="How often its own figures are split.")] = 5,
    output: Annotated[Path | None, typer.Option("--out", "-o", help="A file; printed if absent.")] = None,
) -> None:
    """Write a predictor's model card: what it learned, how good it is, what it is not for.

    Example: leti-opt predictor card laptop.predictor --data phones-dataset/latencies.parquet --out laptop.md
    """
    from leti_opt.predictor.predictor import load_predictor
    from leti_opt.report.predictor_card import model_card

    if output is not None:
        check_writable(output)
    loaded = load_predictor(file)
    judged = None
    if data is not None or store is not None:
        judged = _judged(loaded, Figures(data, store, device, None, None), splits)
    elif device is not None:
        raise InvalidInputError("--device names figures of --data or --store; give one of them")
    text = model_card(loaded, file.name, judged)
    if output is None:
        typer.echo(text, nl=False)
        return
    with replacing(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"{output}: the card of {file}")


def _judged(loaded: LatencyPredictor, figures: Figures, splits: int) -> Judgement:
    """By others' figures as it is; by those that it learned as its kind, fitted anew to parts of them."""
    from leti_opt.report.predictor_judgement import judged_by_cells, judged_by_splits

    found = figures.read(loaded.network)
    kind = kind_of(loaded)
    if loaded.was_fitted_to(found.cells, found.latency_ms):
        return judged_by_splits({kind: loaded.fresh}, found, None, splits)
    return judged_by_cells(kind, loaded, loaded.story_, found)
