"""What a service was answered already in this process."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import replace

from leti_opt.objective.answers import Answer, Source, without_runs
from leti_opt.store.records import CellAlias


class AnswerMemory:
    """Answers by a cell's alias or a model's key, without their raw times. Several threads may use it.

    >>> memory = AnswerMemory()
    >>> memory.keep("a key", Answer(Source.DEVICE, failure="too large")).source.value
    'device'
    >>> memory.of("a key").source.value
    'memory'
    """

    def __init__(self) -> None:
        self._answers: dict[CellAlias | str, Answer] = {}
        self._lock = threading.Lock()

    def of(self, key: CellAlias | str) -> Answer | None:
        """The answer that was kept, as one from memory; None if there is none."""
        with self._lock:
            known = self._answers.get(key)
        return None if known is None else replace(known, source=Source.MEMORY)

    def keep(self, key: CellAlias | str, answer: Answer) -> Answer:
        """Remember an answer, and hand it back as it was given."""
        with self._lock:
            self._answers[key] = without_runs(answer)
        return answer

    def forget(self, model_keys: Collection[str]) -> None:
        """Remember the measurements of these models no more."""
        with self._lock:
            for name, known in list(self._answers.items()):
                if known.measurement is not None and known.measurement.model_key in model_keys:
                    del self._answers[name]

    def clear(self) -> None:
        """Remember nothing."""
        with self._lock:
            self._answers.clear()
