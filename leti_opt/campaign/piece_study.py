"""What the studies of pieces share: a device that measures, a store that keeps, and what is left to do."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from leti_opt.campaign.lut_work import LutStep, LutWork
from leti_opt.objective.measuring import MeasuringService


class PieceStudy:
    """Something to measure in pieces, on one device. Close it, or use it as a context manager.

    Args:
        service: measures, and knows what is measured.
        work: what there is to measure.
        seed: of the order in which is measured.
    """

    def __init__(self, service: MeasuringService, work: LutWork, seed: int) -> None:
        self.service = service
        self.store = service.store
        self._work = work
        self._seed = seed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the device. May be called twice."""
        self.service.close()

    def prepare(self, on_step: Callable[[LutStep], None] | None = None) -> None:
        """Convert every piece that is to be measured now, so that nothing is built between two measurements.

        Without it each is converted when its turn comes. The files stay in memory until they are measured.

        Args:
            on_step: told of each conversion.

        Raises:
            InvalidModelError: a network cannot be converted.
        """
        self._work.convert_all(on_step)

    def _counts(self) -> tuple[int, int]:
        """How many measurements the store has already, and how many are left."""
        jobs = self._work.jobs
        stored = sum(self._work.known(job) is not None for job in jobs.values())
        return stored, len(jobs) - stored
