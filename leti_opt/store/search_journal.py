"""Scores of cells, and the journals of searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leti_opt.store import journal
from leti_opt.store.base import StoreBase
from leti_opt.store.records import EvaluationRecord, ScoreRecord


class SearchStore(StoreBase):
    """The scores and searches of a store."""

    def add_score(self, score: ScoreRecord) -> int:
        """Store a score of a cell; the first one that an evaluator gave a cell stands. Returns its id."""
        return self._write(journal.add_score, score)

    def score(self, cell: str, evaluator_digest: str) -> ScoreRecord | None:
        """The score that an evaluator gave a cell, or None.

        Args:
            cell: text of the canonical cell.
            evaluator_digest: identity of the evaluator with its settings.
        """
        return self._read(journal.load_score, cell, evaluator_digest)

    def open_search(self, settings: Mapping[str, Any]) -> int:
        """Id of the search with these settings: a new one, or the one to go on with.

        Args:
            settings: everything that makes the search what it is, in values that JSON can hold; order plays no part.
        """
        return self._write(journal.open_search, settings)

    def add_evaluation(self, search: int, evaluation: EvaluationRecord) -> None:
        """Write what an optimizer was told into the journal of its search. The same entry again changes nothing.

        Raises:
            NotFoundError: there is no such search.
            StoreError: this position of the journal holds something else.
        """
        self._write(journal.add_evaluation, search, evaluation)

    def evaluations(self, search: int) -> list[EvaluationRecord]:
        """The journal of a search, in order of position."""
        return self._read(journal.load_evaluations, search)
