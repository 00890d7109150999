"""Files that commands write are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from leti_opt.cli.files import check_file
from leti_opt.errors import InvalidInputError


def test_an_ending_may_be_written_in_capitals_and_another_one_is_refused(tmp_path: Path) -> None:
    check_file("--picture", tmp_path / "COSTS.PNG", ".png")
    with pytest.raises(InvalidInputError, match=r"--picture .*costs\.jpg must end with \.png"):
        check_file("--picture", tmp_path / "costs.jpg", ".png")


def test_a_file_in_a_folder_that_is_not_there_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="name a file in another folder"):
        check_file("--table", tmp_path / "none" / "table.parquet", ".parquet")
    folder = tmp_path / "tables"
    folder.mkdir()
    check_file("--table", folder / "table.parquet", ".parquet")
    assert list(folder.iterdir()) == []
