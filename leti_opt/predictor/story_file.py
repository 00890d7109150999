"""A predictor's file that also says where its figures come from, so that simulated ones stay simulated."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

from leti_opt.atomic_file import replacing
from leti_opt.errors import PredictorFileError
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.training_data import TrainingStory

_STORY, _HEADER = "training.json", "header.json"


def save_with_story(predictor: LatencyPredictor, story: TrainingStory, path: str | Path) -> None:
    """Write a predictor as :meth:`LatencyPredictor.save` does, with its story; the file is whole or as it was.

    Raises:
        InvalidInputError: the predictor was not fitted.
        PredictorFileError: the file cannot be written.
    """
    try:
        with replacing(Path(path)) as temporary:
            predictor.save(temporary)
            with zipfile.ZipFile(temporary, "a") as file:
                file.writestr(_STORY, json.dumps(asdict(story)))
    except PredictorFileError:
        raise
    except OSError as error:
        raise PredictorFileError(
            f"cannot write {path}: {error.strerror or error}; free space or name another place"
        ) from error


def load_story(path: str | Path) -> TrainingStory | None:
    """The story in a predictor's file; None where whoever saved it told none.

    Raises:
        PredictorFileError: there is no such file, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            if _HEADER not in names:  # a cut one may open as one of the archives within
                raise PredictorFileError(f"{path} is damaged, or no predictor that leti_opt saved; save it again")
            if _STORY not in names:
                return None
            return TrainingStory(**json.loads(file.read(_STORY)))
    except FileNotFoundError as error:
        raise PredictorFileError(
            f"there is no file {path}; save a predictor there first, or correct the name"
        ) from error
    except PredictorFileError:
        raise
    except (OSError, zipfile.BadZipFile, ValueError, TypeError) as error:
        raise PredictorFileError(f"{path} is damaged: {error}; save the predictor again") from error
