"""How far a search is: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from leti_opt.search.architecture_search import SearchSettings, SearchStep

_LINE_EVERY_S = 5.0
_ERASE = "\r\033[K"


class SearchProgress:
    """Shows each step of a search: how many of how many, the time left, the best latency so far.

    Args:
        settings: of the search.
        stream: where to write; a terminal gets one line that changes.
        statistic: which figure the fastest one is.

    Attributes:
        done: steps so far.
    """

    def __init__(self, settings: SearchSettings, stream: TextIO, statistic: str = "mean") -> None:
        self.settings = settings
        self.statistic = statistic
        self.stream = stream
        self.done = 0
        self._repeated = 0
        self._best_ms: float | None = None
        self._start = time.monotonic()
        self._shown_at = self._start

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.stream.isatty():
            self.stream.write(_ERASE)
            self.stream.flush()

    def step(self, step: SearchStep) -> None:
        """Count a step and show it."""
        self.done += 1
        self._repeated += step.repeated
        answer = step.evaluation.answer
        if answer.measurement is not None and not answer.provisional:
            self._best_ms = min(step.evaluation.latency_ms, self._best_ms or float("inf"))
        now = time.monotonic()
        if self.stream.isatty():
            self.stream.write(_ERASE + self.line(now))
            self.stream.flush()
        elif now - self._shown_at >= _LINE_EVERY_S:
            self._shown_at = now
            self.stream.write(self.line(now) + "\n")
            self.stream.flush()

    def line(self, now: float) -> str:
        """One line: count, time left, best."""
        total = "" if self.settings.budget is None else f" of {self.settings.budget}"
        figure = "" if self.statistic == "mean" else f"{self.statistic} "
        best = "" if self._best_ms is None else f", fastest {figure}{self._best_ms:.3f} ms"
        left = self._left_s(now)
        remaining = "" if left is None else f", about {_duration(left)} left"
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


def _duration(duration_s: float) -> str:
    """Seconds for people.

    >>> _duration(90)
    '1 min 30 s'
    """
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
