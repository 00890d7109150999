"""An evaluator behind a store is asked once for a cell, also after the store was opened again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leti_opt.accuracy import StoredAccuracy
from leti_opt.architecture import Architecture
from leti_opt.store import LatencyStore

CELL = Architecture.parse("0-1,0-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
SAME = Architecture.parse("0-1,0-2,1-3,2-3:maxpool3x3,conv3x3-bn-relu")
OTHER = Architecture.parse("0-1,1-2:maxpool3x3")


@dataclass
class Counting:
    """Accuracy by the number of edges; it remembers what it was asked for."""

    digest: str = "counting-1"
    name: str = "counting"
    asked: list[Architecture] = field(default_factory=list)

    def __call__(self, architecture: Architecture) -> float:
        self.asked.append(architecture)
        return len(architecture.edges) / 10


def test_a_cell_is_evaluated_once_however_it_is_written() -> None:
    with LatencyStore(":memory:") as store:
        evaluator = Counting()
        accuracy = StoredAccuracy(evaluator, store)
        assert [accuracy(cell) for cell in (CELL, SAME, CELL, OTHER)] == [0.4, 0.4, 0.4, 0.2]
        assert len(evaluator.asked) == 2
        assert (accuracy.evaluated, accuracy.from_store) == (2, 2)
        assert (accuracy.name, accuracy.digest) == ("counting", "counting-1")


def test_a_reopened_store_knows_it(tmp_path: Path) -> None:
    with LatencyStore(tmp_path / "latency.db") as store:
        StoredAccuracy(Counting(), store)(CELL)
    evaluator = Counting()
    with LatencyStore(tmp_path / "latency.db") as store:
        accuracy = StoredAccuracy(evaluator, store)
        assert accuracy(SAME) == 0.4
        assert (evaluator.asked, accuracy.from_store) == ([], 1)
        assert store.info().scores == 1


def test_another_evaluator_is_asked_anew() -> None:
    with LatencyStore(":memory:") as store:
        StoredAccuracy(Counting(), store)(CELL)
        other = Counting(digest="counting-2")
        StoredAccuracy(other, store)(CELL)
        assert other.asked == [CELL]


def test_an_evaluator_that_fails_leaves_nothing_behind() -> None:
    def fail(architecture: Architecture) -> float:
        raise RuntimeError("out of memory")

    fail.name, fail.digest = "failing", "failing-1"
    with LatencyStore(":memory:") as store:
        with pytest.raises(RuntimeError, match="out of memory"):
            StoredAccuracy(fail, store)(CELL)
        assert store.score(str(CELL.canonical()), "failing-1") is None
        assert store.info().scores == 0
