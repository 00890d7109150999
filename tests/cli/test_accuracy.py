"""``leti-opt accuracy``: from a file in NAS-Bench-101's format to the accuracies of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt.architecture import Architecture
from tests.accuracy.nasbench101_files import final, record, write_tfrecord
from tests.cli.commands import leti_opt, printed_json, refusal

pytestmark = pytest.mark.needs("tensorflow")

CELL = Architecture.parse("0-1,1-2:maxpool3x3")


@pytest.fixture
def source(folder: Path) -> Path:
    again = record(CELL, final(0.5))
    one = record(CELL, final(0.25, 4, test_accuracy=None), 4, parameters=None)
    return write_tfrecord(folder / "some.tfrecord", [again, record(CELL, final(0.75)), again, one])


def test_an_import_says_what_it_found_and_what_is_missing(source: Path) -> None:
    text = leti_opt("accuracy", "import", source, "-o", "some.accuracy").stdout
    assert "some.accuracy: 1 of NAS-Bench-101's 423,624 cells" in text
    assert "4 records, 1 of them repeat another one" in text
    assert "108 epochs          2 trainings, 1 missing" in text
    assert "not that of a file as NAS-Bench-101 published it" in text
    facts = printed_json("accuracy", "import", source)
    assert facts["path"] == "nasbench101.accuracy"
    assert (facts["cells"], facts["trainings"], facts["missing"]) == (1, {"4": 1, "108": 2}, {"4": 2, "108": 1})
    assert (facts["source"]["records"], facts["source"]["duplicates"], facts["source"]["published"]) == (4, 1, None)


def test_a_cell_is_shown_by_its_text_or_its_hash(source: Path) -> None:
    leti_opt("accuracy", "import", source)
    text = leti_opt("accuracy", "show", "nasbench101.accuracy", CELL).stdout
    assert "parameters  1,000" in text
    assert "   108      76.56%  75.00%  100.00%       1,728.8 s" in text
    assert "     4      26.56%       –  100.00%" in text
    shown = printed_json("accuracy", "show", "nasbench101.accuracy", CELL.graph_hash.upper())
    assert shown == printed_json("accuracy", "show", "nasbench101.accuracy", CELL)
    assert [one["test_accuracy"] for one in shown["trainings"]["108"]] == [0.5, 0.75]
    assert shown["trainings"]["4"][0]["test_accuracy"] is None
    assert shown["source"]["name"] == "some.tfrecord"


def test_what_cannot_be_read_or_found_is_one_line(source: Path, folder: Path) -> None:
    cut = folder / "cut.tfrecord"
    cut.write_bytes(source.read_bytes()[:-1])
    assert "is cut" in refusal("accuracy", "import", cut)
    assert not (folder / "nasbench101.accuracy").exists()
    assert "cannot read" in refusal("accuracy", "import", "none.tfrecord")
    assert "name a file in another folder" in refusal("accuracy", "import", source, "-o", "nowhere/some.accuracy")
    assert "leti-opt accuracy import" in refusal("accuracy", "show", "none.accuracy", CELL)
    leti_opt("accuracy", "import", source)
    assert "does not have" in refusal("accuracy", "show", "nasbench101.accuracy", "0-1:")
    assert "is not a cell" in refusal("accuracy", "show", "nasbench101.accuracy", "nonsense")
