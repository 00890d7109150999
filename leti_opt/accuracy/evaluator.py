"""How accurate a cell is, by whatever means, and a store in front of the expensive ones."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any, Protocol

from leti_opt.architecture import Architecture
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import ScoreRecord


class AccuracyEvaluator(Protocol):
    """A callable that says how accurate a cell is, and what it is itself.

    Equal digests give equal accuracies.
    """

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def digest(self) -> str:
        """Hexadecimal identity of the evaluator."""

    def __call__(self, architecture: Architecture) -> float:
        """Accuracy between 0 and 1."""


class StoredAccuracy:
    """An evaluator that is asked once for a cell; after that the store answers.

    Args:
        evaluator: the expensive one.
        store: what remembers.

    Attributes:
        evaluated: how often the evaluator was asked through this object.
        from_store: how often the store knew.
    """

    def __init__(self, evaluator: AccuracyEvaluator, store: LatencyStore) -> None:
        self.evaluator = evaluator
        self.store = store
        self.evaluated = 0
        self.from_store = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The evaluator's name."""
        return self.evaluator.name

    @property
    def digest(self) -> str:
        """The evaluator's digest."""
        return self.evaluator.digest

    def __call__(self, architecture: Architecture) -> float:
        """Accuracy between 0 and 1. Threads take turns, so that no cell is evaluated twice."""
        with self._lock:
            return self._answer(architecture.canonical())

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _answer(self, cell: Architecture) -> float:
        known = self.store.score(str(cell), self.digest)
        if known is not None:
            self.from_store += 1
            return known.value
        start = time.monotonic()
        value = self.evaluator(cell)
        self.evaluated += 1
        self.store.add_score(
            ScoreRecord(
                cell=str(cell),
                graph_hash=cell.graph_hash,
                evaluator_digest=self.digest,
                evaluator=self.name,
                value=value,
                duration_s=time.monotonic() - start,
                scored_at=datetime.now(UTC),
            )
        )
        return value
