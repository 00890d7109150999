"""How far a search is: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TextIO

from leti_opt.report.live_line import LiveLine
from leti_opt.report.quantities import duration_text
from leti_opt.search.architecture_search import SearchSettings, SearchStep


class SearchProgress(LiveLine):
    """Shows each step of a search: how many of how many, the time left, the best latency so far.

    Args:
        settings: of the search.
        stream: where to write; a terminal gets one line that changes.
        statistic: which figure the fastest one is.

    Attributes:
        done: steps so far.
    """

    def __init__(self, settings: SearchSettings, stream: TextIO, statistic: str = "mean") -> None:
        super().__init__(stream)
        self.settings = settings
        self.statistic = statistic
        self.done = 0
        self._repeated = 0
        self._best_ms: float | None = None

    def step(self, step: SearchStep) -> None:
        """Count a step and show it."""
        self.done += 1
        self._repeated += step.repeated
        answer = step.evaluation.answer
        if answer.measurement is not None and not answer.provisional:
            self._best_ms = min(step.evaluation.latency_ms, self._best_ms or float("inf"))
        self.show(self.line)

    def line(self, now: float) -> str:
        """One line: count, time left, best."""
        total = "" if self.settings.budget is None else f" of {self.settings.budget}"
        figure = "" if self.statistic == "mean" else f"{self.statistic} "
        best = "" if self._best_ms is None else f", fastest {figure}{self._best_ms:.3f} ms"
        left = self._left_s(now)
        remaining = "" if left is None else f", about {duration_text(left)} left"
        return f"{self.done}{total} evaluations{remaining}{best}"

    def _left_s(self, now: float) -> float | None:
        """Repeated steps cost nothing, so the pace is that of the others."""
        fresh, elapsed = self.done - self._repeated, now - self._start
        limits = []
        if self.settings.time_limit_s is not None:
            limits.append(max(0.0, self.settings.time_limit_s - elapsed))
        if self.settings.budget is not None and fresh:
            limits.append(elapsed / fresh * (self.settings.budget - self.done))
        return min(limits, default=None)
