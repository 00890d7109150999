"""A predictor's file that also says where its figures come from, so that simulated ones stay simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from leti_opt.predictor.predictor_file import read_predictor, write_predictor
from leti_opt.predictor.row_predictor import RowPredictor
from leti_opt.predictor.training_data import TrainingStory


def save_with_story(predictor: RowPredictor[Any], story: TrainingStory, path: str | Path) -> None:
    """Write a predictor as :meth:`RowPredictor.save` does, with its story; the file is whole or as it was.

    The story is verified with all the rest: changed or taken away, the file is refused. A predictor that was read from
    a file keeps its story when it is saved again.

    Raises:
        InvalidInputError: the predictor was not fitted.
        PredictorFileError: the file cannot be written.
    """
    write_predictor(Path(path), replace(predictor.content(), story=story))


def load_story(path: str | Path) -> TrainingStory | None:
    """The story in a predictor's file; None where whoever saved it told none.

    Raises:
        PredictorFileError: there is no such file, it is damaged, or of another version.
    """
    return read_predictor(Path(path)).story
