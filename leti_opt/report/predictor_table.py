"""Predictors judged and compared, in words and as a table."""

from __future__ import annotations

from math import isfinite
from typing import Any

from leti_opt.predictor.evaluation import MeanInterval
from leti_opt.predictor.metrics import TOLERANCES
from leti_opt.predictor.row_predictor import RowPredictor
from leti_opt.predictor.training_data import TrainingStory
from leti_opt.report.predictor_judgement import Judgement

HEADINGS = ("kind", *(f"±{100 * tolerance:g} %" for tolerance in TOLERANCES), "MAPE", "Spearman", "90 % hold", "fit, s")
_ORIGINS = {
    "measured": "",
    "simulated": "SIMULATED: a formula gave these figures; nothing was measured",
    "replayed": "REPLAYED: these figures come from a recording; nothing was measured for them",
    "imported": "IMPORTED: these figures come from a table that says little of how they were measured",
}
_MAYBE_SEEN = (
    "networks that it learned may be among those that judge it, and then it looks better than it is: the predictor's "
    "file does not say which it learned"
)
_UNTOLD = "where its figures come from, this predictor's file does not say; they may be simulated"


def statement_of(story: TrainingStory | None) -> str:
    """In a few words, what figures were learned.

    >>> statement_of(None)
    'figures of an unknown origin'
    """
    return "figures of an unknown origin" if story is None else story.statement()


def origin_lines(*stories: TrainingStory | None) -> list[str]:
    """A warning for each kind of figures that nobody measured, or of which nobody knows.

    >>> origin_lines(TrainingStory("formula", "simulated", 80, "x.parquet"))
    ['SIMULATED: a formula gave these figures; nothing was measured']
    >>> pixel = TrainingStory("pixel3", "replayed", 80, "x.parquet")
    >>> origin_lines(TrainingStory("laptop", "measured", 80, "x.parquet", (pixel,)))[0].rpartition(" (")[2]
    'so it is for what it learned of pixel3)'
    """
    lines = [_UNTOLD if each is None else _ORIGINS.get(each.origin, each.origin.upper()) for each in stories]
    others: dict[str, dict[str, None]] = {}
    for other in (other for each in stories if each is not None for other in each.others):
        others.setdefault(other.origin, {})[other.device] = None
    for origin, devices in others.items():
        if line := _ORIGINS.get(origin, origin.upper()):
            lines.append(f"{line} (so it is for what it learned of {', '.join(devices)})")
    return [line for line in dict.fromkeys(lines) if line]


def interval_lines(predictor: RowPredictor[Any]) -> list[str]:
    """A warning where a predictor cannot know how far it is off."""
    if predictor.training_size_:
        return []
    return [
        "no network was measured whole, so the intervals are of the pieces' own errors alone, and far fewer latencies "
        "lie in them; fit it to some measured networks, too"
    ]


def judgement_lines(found: Judgement) -> list[str]:
    """One kind on its data, a figure a line."""
    (row,) = found.rows
    scores = row.scores
    lines = [f"{row.kind}: {how(found)}"]
    lines += [
        f"  within ±{100 * tolerance:g} %".ljust(22) + _share(scores.within[tolerance]) for tolerance in TOLERANCES
    ]
    lines += [
        "  MAPE".ljust(22) + _percent(scores.mean_absolute_percentage_error),
        "  Spearman".ljust(22) + _number(scores.spearman),
        "  90 % intervals hold".ljust(22) + _share(scores.coverage),
    ]
    return [*lines, *notes(found)]


def how(found: Judgement) -> str:
    """What was learned and what it was judged by."""
    learned = statement_of(found.learned)
    if found.splits is not None:
        return (
            f"{learned}; {found.splits} splits, {found.train_cells:,} cells to learn from and {found.test_cells:,} to "
            "be judged by"
        )
    assert found.judged_by is not None, "cells that were not split off are of another file"
    return f"learned from {learned}; judged by {found.test_cells:,} of {found.judged_by.statement()}"


def notes(found: Judgement) -> list[str]:
    """What ± means, what was left out, and whether anything was measured at all."""
    if found.splits is None:
        meaning = "± is half of the 95 % interval over cells drawn anew"
    elif found.splits == 1:
        meaning = "one split says nothing of how sure the figures are"
    else:
        meaning = "± is half of the 95 % interval of the mean over the splits"
    words = {"learned": "that it learned from"}
    left = [f"{number:,} {words.get(word, word)}" for word, number in found.left_out.items()]
    stories = (found.learned,) if found.splits is not None else (found.learned, found.judged_by)
    unsure = [] if found.all_unseen else [_MAYBE_SEEN]
    return [meaning, *([f"left out: {', '.join(left)}"] if left else []), *unsure, *origin_lines(*stories)]


def table_rows(found: Judgement) -> list[tuple[str, ...]]:
    """A row for each kind, under :data:`HEADINGS`."""
    return [
        (
            row.kind,
            *(_share(row.scores.within[tolerance]) for tolerance in TOLERANCES),
            _percent(row.scores.mean_absolute_percentage_error),
            _number(row.scores.spearman),
            _share(row.scores.coverage),
            "–" if row.fit_seconds is None else f"{row.fit_seconds:.2f}",
        )
        for row in found.rows
    ]


def as_json(found: Judgement) -> dict[str, Any]:
    """The same for scripts; what is not known is null."""
    rows = [
        {
            "kind": row.kind,
            "within": {f"{tolerance:g}": _plain(row.scores.within[tolerance]) for tolerance in TOLERANCES},
            "mean_absolute_percentage_error": _plain(row.scores.mean_absolute_percentage_error),
            "spearman": _plain(row.scores.spearman),
            "coverage_90": _plain(row.scores.coverage),
            "fit_seconds": row.fit_seconds,
        }
        for row in found.rows
    ]
    return {
        "learned": found.learned,
        "judged_by": found.judged_by,
        "network": found.network,
        "splits": found.splits,
        "train_cells": found.train_cells,
        "test_cells": found.test_cells,
        "left_out": dict(found.left_out),
        "all_unseen": found.all_unseen,
        "predictors": rows,
    }


def _plain(value: MeanInterval) -> dict[str, float | None]:
    return {
        "mean": value.mean if isfinite(value.mean) else None,
        "half_width": value.half_width if isfinite(value.half_width) else None,
    }


def _share(value: MeanInterval) -> str:
    return _percent(MeanInterval(100 * value.mean, 100 * value.half_width))


def _percent(value: MeanInterval) -> str:
    return f"{_number(value, 1)} %"


def _number(value: MeanInterval, digits: int = 3) -> str:
    if not isfinite(value.mean):
        return "–"
    return f"{value.mean:.{digits}f}" + (f" ± {value.half_width:.{digits}f}" if isfinite(value.half_width) else "")
