"""A line that says how far something is: one that changes on a terminal, plain ones now and then elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

_EVERY_S = 5.0
_ERASE = "\r\033[K"


class LiveLine:
    """Shows the newest of many lines; what it left on a terminal is gone at the end of a ``with``.

    A line that a terminal has no room for is cut: a second row of it would stay.

    Args:
        stream: where to write.
        clock: seconds that pass.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = stream
        self.clock = clock
        self._start = self._shown_at = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.stream.isatty():
            self._write(_ERASE)

    def show(self, line: Callable[[float], str]) -> None:
        """Put a line, made for the time that it is, in the place of the last; elsewhere leave it out if that is recent.

        Args:
            line: gives it.
        """
        now = self.clock()
        if self.stream.isatty():
            self._write(_ERASE + line(now)[: shutil.get_terminal_size().columns - 1])
        elif now - self._shown_at >= _EVERY_S:
            self._shown_at = now
            self._write(line(now) + "\n")

    def keep(self, line: str) -> None:
        """Write a line that stays."""
        self._shown_at = self.clock()
        self._write(f"{_ERASE if self.stream.isatty() else ''}{line}\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
