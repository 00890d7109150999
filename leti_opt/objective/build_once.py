"""A network that several devices ask for at once is built once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from leti_opt.device.model import MeasurableModel


class BuildOnce:
    """A build that is made once for all who ask at the time; an exception is everybody's."""

    def __init__(self, build: Callable[[], MeasurableModel]) -> None:
        self._build = build
        self._made: Future[MeasurableModel] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> MeasurableModel:
        """What the build makes.

        Raises:
            whatever the build raised, for everybody who asks.
        """
        with self._lock:
            if self._made is None:
                self._made = Future()
                try:
                    self._made.set_result(self._build())
                except BaseException as error:  # noqa: BLE001  # kept for all who ask, and raised for each below
                    self._made.set_exception(error)
            made = self._made
        return made.result()

    def drop(self) -> None:
        """Give the memory back; a device that is late builds it again."""
        with self._lock:
            self._made = None
