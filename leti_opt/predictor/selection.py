"""What to measure next: cells that fill the space, and later those of which a predictor knows least."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.predictor.cells import CellRows, Cells, rows_of, some_rows
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.space_filling import farthest_first, standardized_points
from leti_opt.predictor.structure_features import structure_features

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_CANDIDATES = 20_000
"""Of more cells than this a random part is looked at."""

_CANDIDATES_A_CHOICE = 4
_COVERAGE = 0.9


def select(
    architectures: Cells,
    n: int,
    predictor: LatencyPredictor | None = None,
    measured: ArrayLike = (),
    seed: int = 0,
) -> Rows:
    """Choose cells to measure next, for a predictor to learn from.

    As long as the predictor has learned nothing, the cells that it sees as farthest from all others are chosen: by its
    standardized features, each group of which counts the same; without a predictor by operations, connections and
    size. A fitted predictor adds how unsure it is: distances count by the width of its interval, relative to the
    prediction. So no two cells that are almost the same are chosen together, nor one like those that were measured.

    Of more than 20,000 cells so many are looked at, drawn at random; or four for each that is asked for.

    Args:
        architectures: the cells.
        n: how many to choose.
        predictor: what shall learn from them, fitted or not.
        measured: rows that are known already, in any order. They are never chosen.
        seed: of the draw and of the first cell. The same seed gives the same choice.

    Returns:
        Rows in the order of the choice, none of them twice.

    Raises:
        InvalidInputError: fewer cells than that are left, a row is none of the cells', or something is of another kind.

    >>> from leti_opt.architecture import Architecture
    >>> cells = ["0-1,1-2:conv3x3-bn-relu", "0-1,1-2:maxpool3x3", "0-1,1-2,2-3:conv3x3-bn-relu,conv3x3-bn-relu"]
    >>> select(map(Architecture.parse, cells), 1, measured=[0, 2]).tolist()
    [1]
    """
    rows = rows_of(architectures)
    check_selection(predictor, seed)
    draw = np.random.default_rng(seed)
    return choose(rows, n, predictor, _checked_rows(measured, len(rows)), draw, by_width=is_fitted(predictor))


def choose(
    rows: CellRows | ArchitectureTable,
    n: int,
    predictor: LatencyPredictor | None,
    measured: Rows,
    draw: np.random.Generator,
    *,
    by_width: bool,
) -> Rows:
    """As :func:`select`, of checked input.

    Args:
        rows: the cells.
        n: how many to choose.
        predictor: whose features count.
        measured: rows that are known, each once.
        draw: what is drawn at random comes from this.
        by_width: whether the predictor's intervals count.

    Raises:
        InvalidInputError: fewer cells than that are left.
    """
    free = np.setdiff1d(np.arange(len(rows)), measured)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= len(free):
        raise InvalidInputError(
            f"{n!r} cells cannot be chosen of {len(rows)}, of which {len(measured)} are measured; ask for 1 to "
            f"{len(free)}"
        )
    most = max(MOST_CANDIDATES, _CANDIDATES_A_CHOICE * n)
    candidates = np.sort(draw.choice(free, most, replace=False)) if len(free) > most else free
    together = some_rows(rows, np.concatenate([candidates, measured]))
    features, names = structure_features(together) if predictor is None else predictor.features(together)
    points = standardized_points(features, names)
    weights = relative_widths(predictor, some_rows(rows, candidates)) if by_width and predictor is not None else None
    first = int(draw.integers(len(candidates)))
    return candidates[farthest_first(points[: len(candidates)], n, points[len(candidates) :], weights, first)]


def relative_widths(predictor: LatencyPredictor, cells: Cells) -> Floats:
    """How unsure a fitted predictor is of each cell: half its 90 % interval, as a share of the prediction.

    Where it knows no width, or predicts no latency, it is as unsure as of the cell that it is most unsure of.

    Args:
        predictor: a fitted one.
        cells: the cells.
    """
    mean = predictor.predict(cells)
    half = predictor.predict_interval(cells, _COVERAGE)[1] - mean
    usable = np.isfinite(mean) & np.isfinite(half) & (mean > 0) & (half > 0)
    widths = np.ones(len(mean))
    widths[usable] = half[usable] / mean[usable]
    widths[~usable] = widths[usable].max(initial=0) or 1.0
    return widths


def is_fitted(predictor: LatencyPredictor | None) -> bool:
    """Whether there is a predictor that has learned something."""
    return hasattr(predictor, "feature_names_")


def check_selection(predictor: LatencyPredictor | None, seed: int) -> None:
    """Refuse what nothing can be selected with.

    Raises:
        InvalidInputError: it is no predictor, or no seed.
    """
    if predictor is not None and not isinstance(predictor, LatencyPredictor):
        raise InvalidInputError(f"cells are selected for a LatencyPredictor, not {predictor!r}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInputError(f"a seed is a whole number of 0 or more, not {seed!r}")


def _checked_rows(measured: ArrayLike, count: int) -> Rows:
    rows = np.asarray(measured)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise InvalidInputError(f"measured holds rows, whole numbers, not {rows.dtype} of shape {rows.shape}")
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        wrong = int(rows.min() if rows.min() < 0 else rows.max())
        raise InvalidInputError(f"measured holds the row {wrong}; the {count} cells have rows 0 to {count - 1}")
    return np.unique(rows).astype(np.int64)
