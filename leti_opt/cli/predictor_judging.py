"""What ``leti-opt predictor fit``, ``evaluate`` and ``compare`` do with what a user named: fit, and judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.cli.predictor_options import (
    LUT,
    Figures,
    kind_of,
    new_predictor,
    read_with_table,
    table_predictor,
)
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.predictor.training_data import TrainingStory
    from leti_opt.report.predictor_judgement import Judgement


def fitted_kind(
    kind: str, figures: Figures, table: Path | None
) -> tuple[LatencyPredictor, TrainingStory, dict[str, int]]:
    """A fitted predictor, where its figures come from, and how many networks have none; a table may do alone.

    Raises:
        InvalidInputError: figures or table do not fit, or are too few.
        NotFoundError, TableFileError: there is no such file, store or device.
    """
    if kind == LUT and table is not None and figures.file is None and figures.store is None:
        return *table_predictor(figures.config(), table), {}
    found = read_with_table(figures, table)
    fitted = new_predictor(kind, found, table).fit(found.cells, found.latency_ms)
    return fitted, found.story, found.left_out


def judged_kinds(kinds: list[str], figures: Figures, size: int | None, splits: int, table: Path | None) -> Judgement:
    """Kinds on the same splits of the same figures.

    Raises:
        as :func:`fitted_kind`.
    """
    from functools import partial

    from leti_opt.report.predictor_judgement import judged_by_splits

    found = read_with_table(figures, table)
    return judged_by_splits({kind: partial(new_predictor, kind, found, table) for kind in kinds}, found, size, splits)


def judged_held_out(kind: str, figures: Figures, held_out: Path, table: Path | None) -> Judgement:
    """A kind that learned from all the figures, judged by those of another file.

    Raises:
        as :func:`fitted_kind`.
    """
    from leti_opt.report.predictor_judgement import judged_by_cells

    found, test = read_with_table(figures, table), figures.held_out(held_out)
    fitted = new_predictor(kind, found, table).fit(found.cells, found.latency_ms)
    return judged_by_cells(kind, fitted, found.story, test, found)


def judged_saved(saved: Path, figures: Figures) -> Judgement:
    """A predictor that was kept, judged by figures.

    Raises:
        InvalidInputError: it is for another network, or was fitted to just these figures.
        PredictorFileError: there is no such predictor.
    """
    from leti_opt.predictor.predictor import load_predictor
    from leti_opt.report.predictor_judgement import judged_by_cells

    loaded = load_predictor(saved)
    if (figures.network or figures.changes) and figures.config() != loaded.network:
        raise InvalidInputError(
            f"{saved} is for another network; leave out --network and --set, since it brings its own"
        )
    test = figures.read(loaded.network)
    if loaded.was_fitted_to(test.cells, test.latency_ms):
        raise InvalidInputError(
            f"{saved} was fitted to just these figures of {test.story.source}; judge it by others, or leave out "
            "--predictor for splits of these"
        )
    return judged_by_cells(kind_of(loaded), loaded, loaded.story_, test)
