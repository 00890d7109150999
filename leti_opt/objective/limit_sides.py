"""On which side of a limit each network of a table is: by its own measurements, else by a predictor's interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.objective.active_result import SideCounts
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.limit_decisions import decide_limits
from leti_opt.objective.limits import LatencyLimit
from leti_opt.predictor.predictor import LatencyPredictor

Verdicts = NDArray[np.str_]
Rows = NDArray[np.int64]

MET, MISSED, UNDECIDED, INFEASIBLE = "met", "missed", "undecided", "infeasible"
_ROWS_AT_ONCE = 20_000


def check_one_judge(objective: DeviceLatencyObjective) -> None:
    """Refuse devices that may be of different opinions.

    Raises:
        InvalidInputError: there are several that do not answer for each other.
    """
    judges = objective.service.judges
    if len(judges) != 1:
        raise InvalidInputError(
            f"a limit is decided on one device, or on equal ones, and these are {len(judges)} different ones; "
            "make an objective of each"
        )


def measured_sides(
    objective: DeviceLatencyObjective, table: ArchitectureTable, rows: Sequence[int], limit: LatencyLimit
) -> list[str]:
    """Verdicts on networks that were asked for, by the bounds of their measurements; nothing is measured for them.

    Args:
        objective: what answered.
        table: the networks.
        rows: those that were asked for.
        limit: the limit.
    """
    questions = [objective.question(table[row]) for row in rows]
    # With one run allowed each is judged by what is there, at the limit's own confidence.
    return [row.verdict for row in decide_limits(objective.service.judges[0], questions, limit, max_runs=1)]


def predicted_sides(
    predictor: LatencyPredictor, table: ArchitectureTable, rows: Rows, limit: LatencyLimit, widening: float
) -> Verdicts:
    """Verdicts on networks by the intervals of a fitted predictor.

    Args:
        predictor: a fitted one.
        table: the networks.
        rows: those that are asked about.
        limit: the limit; its confidence is the intervals' coverage.
        widening: intervals are wider by this factor; infinity decides nothing.
    """
    verdicts = np.full(len(rows), UNDECIDED, dtype="U10")
    for start in range(0, len(rows) if np.isfinite(widening) else 0, _ROWS_AT_ONCE):
        part = table[rows[start : start + _ROWS_AT_ONCE]]
        mean = predictor.predict(part)
        half = widening * (predictor.predict_interval(part, limit.confidence)[1] - mean)
        own = verdicts[start : start + _ROWS_AT_ONCE]
        own[mean + half < limit.limit_ms] = MET
        own[mean - half > limit.limit_ms] = MISSED
    return verdicts


def counted(verdicts: Verdicts) -> SideCounts:
    """How many there are of each verdict."""
    return SideCounts(*(int((verdicts == kind).sum()) for kind in (MET, MISSED, UNDECIDED, INFEASIBLE)))
