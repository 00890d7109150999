"""The files of ``leti-opt predictor predict``: a user's own ``.tflite`` networks in place of cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from leti_opt.cli.common import EXIT_INFEASIBLE, print_json
from leti_opt.cli.models import FILE_SUFFIXES
from leti_opt.cli.predictor_cells import figure_text
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.predictor.networks import NetworkPredictions
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.predictor.training_data import TrainingStory

_SUFFIX = ".tflite"


def are_files(names: Sequence[str], with_cells: bool) -> bool:
    """Whether files were named.

    Args:
        names: what was named.
        with_cells: whether options were used that are about cells.

    Raises:
        InvalidInputError: files and cells were mixed, or files that are no ``.tflite``.
    """
    files = [name for name in names if name.endswith(FILE_SUFFIXES)]
    if not files:
        return False
    if len(files) < len(names) or with_cells:
        raise InvalidInputError(
            "files are predicted by themselves: leave out cells, --table, --space, --gpu and --output, or the files"
        )
    for name in files:
        if not name.endswith(_SUFFIX):
            raise InvalidInputError(f"{name} is no .tflite file; 'leti-opt convert {name}' makes one")
    return True


def answered_files(
    predictor: LatencyPredictor, story: TrainingStory | None, names: Sequence[str], coverage: float, as_json: bool
) -> None:
    """Predict files, and say so.

    Raises:
        InvalidInputError: the predictor sees cells only, or learned another precision.
        InvalidModelError: a file cannot be read.
        typer.Exit: a file has no prediction.
    """
    from leti_opt.report.predictor_table import origin_lines, statement_of

    found = predictor.predict_networks([Path(name) for name in names], coverage)
    say_what_intervals_know(predictor)
    rows = [_row(name, found, place) for place, name in enumerate(names)]
    kind, digest = type(predictor).__name__, predictor.training_digest_
    if as_json:
        print_json(
            {"predictor": kind, "training_digest": digest, "training": story, "coverage": coverage, "files": rows}
        )
    else:
        typer.echo(f"predicted by {kind} {digest[:12]}, which learned {statement_of(story)}")
        typer.echo("\t".join(["predicted ms", f"{100 * coverage:g} % from", "to", "status", "file"]))
        for row in rows:
            figures = [figure_text(row[name]) for name in ("predicted_ms", "lower_ms", "upper_ms")]
            typer.echo("\t".join([*figures, row["status"], row["file"]]))
        for line in origin_lines(story):
            typer.echo(line)
    if any(row["status"] != "predicted" for row in rows):
        raise typer.Exit(EXIT_INFEASIBLE)


def say_what_intervals_know(predictor: LatencyPredictor) -> None:
    """Warn, beside the answers, where a predictor cannot know how far it is off."""
    from leti_opt.report.predictor_table import interval_lines

    for line in interval_lines(predictor):
        typer.echo(f"leti-opt: {line}", err=True)


def _row(name: str, found: NetworkPredictions, place: int) -> dict[str, Any]:
    latency_ms = found.latency_ms[place]
    known = bool(np.isfinite(latency_ms) and latency_ms > 0)
    figures = {"predicted_ms": latency_ms, "lower_ms": found.lower_ms[place], "upper_ms": found.upper_ms[place]}
    return {
        "file": name,
        "status": "predicted" if known else "unpredicted",
        **{key: float(value) if np.isfinite(value) else None for key, value in figures.items()},
    }
