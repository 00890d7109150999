"""When active learning shall end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from leti_opt.device.bounds import check_bounded
from leti_opt.errors import InvalidInputError
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.limit_sides import check_one_judge
from leti_opt.objective.limits import LatencyLimit

INTERVAL = 0.9
"""The intervals that are looked at without a limit hold this share."""


@dataclass(frozen=True)
class ActiveGoal:
    """When active learning ends: at the first of these.

    Args:
        budget: the most networks to ask for.
        target_error: what the mean error shall be below, as a share of the latency.
        confidence: how sure the last and the next shall be.
        limit: on one side of which every network shall be.
        time_s: so many seconds at most, but for the network that is being measured then.
    """

    budget: int | None
    target_error: float | None
    confidence: float
    limit: LatencyLimit | None
    time_s: float | None = None

    @classmethod
    def checked(
        cls,
        objective: DeviceLatencyObjective,
        budget: int | None,
        target_error: float | None,
        confidence: float,
        until: str | None,
        limit_ms: float | None,
        time_s: float | None = None,
    ) -> ActiveGoal:
        """What :func:`~leti_opt.objective.active.fit_actively` was asked for.

        Raises:
            InvalidInputError: nothing says when to end, or a number is out of range.
        """
        if until not in (None, "decided"):
            raise InvalidInputError(f"until must be 'decided' or None, not {until!r}")
        if (until is None) != (limit_ms is None):
            raise InvalidInputError(f"until='decided' and limit_ms belong together, not {until!r} and {limit_ms!r}")
        if budget is None and target_error is None and until is None and time_s is None:
            raise InvalidInputError(
                "nothing says when to end; give a budget, a target_error, a time_s, or until='decided'"
            )
        if time_s is not None and not 0 < time_s < math.inf:
            raise InvalidInputError(f"time_s is a positive number of seconds, not {time_s!r}")
        if budget is not None:
            check_count(budget, "budget")
        if target_error is not None and not 0 < target_error < math.inf:
            raise InvalidInputError(f"target_error is a share of the latency such as 0.05, not {target_error!r}")
        check_bounded("mean", confidence)
        if limit_ms is None:
            return cls(budget, target_error, confidence, None, time_s)
        check_one_judge(objective)
        return cls(budget, target_error, confidence, LatencyLimit(limit_ms, objective.statistic, confidence), time_s)

    @property
    def interval(self) -> float:
        """What share of latencies the predictor's intervals shall hold: the limit's confidence, else the usual one."""
        return INTERVAL if self.limit is None else self.limit.confidence

    def confidence_of(self, look: int) -> float:
        """Of a look at the error, from 1; what all of them may miss together adds up to what one may without target."""
        if self.target_error is None:
            return self.confidence
        return 1 - (1 - self.confidence) / (look * (look + 1))


def check_count(count: int, name: str) -> None:
    """Refuse what is no number of things.

    Raises:
        InvalidInputError: it is not.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
        raise InvalidInputError(f"{name} is a whole number of 1 or more, not {count!r}")
