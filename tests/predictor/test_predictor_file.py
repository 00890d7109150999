from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from leti_opt.errors import PredictorFileError
from leti_opt.predictor import predictor_file
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.predictor import load_predictor
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    table = small_table(30)
    FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table)).save(tmp_path / "predictor.zip")
    return tmp_path / "predictor.zip"


def changed(path: Path, **changes: object) -> Path:
    """The file with another header and a checksum that fits it."""
    with zipfile.ZipFile(path) as file:
        header, learned = json.loads(file.read("header.json")), file.read("learned.npz")
    parts = {"header.json": json.dumps({**header, **changes}).encode(), "learned.npz": learned}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {**parts, "sha256": predictor_file._checksum(parts).encode()}.items():
            file.writestr(name, data)
    return path


def test_the_header_tells_what_it_is(saved: Path) -> None:
    with zipfile.ZipFile(saved) as file:
        header = json.loads(file.read("header.json"))
    assert header["predictor"] == "FlopsPredictor"
    assert header["feature_names"] == ["flops"]
    assert header["training_size"] == 30
    assert header["network"] == SMALL.settings
    assert {"version", "leti_opt", "training_digest"} <= set(header)


def test_nothing_in_it_is_pickled(saved: Path) -> None:
    with zipfile.ZipFile(saved) as file, file.open("learned.npz") as learned, zipfile.ZipFile(learned) as arrays:
        for name in arrays.namelist():
            assert b"'|O'" not in arrays.read(name)[:128]


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused_and_named(saved: Path, version: int) -> None:
    with pytest.raises(PredictorFileError, match=f"format {version} .*reads 1"):
        load_predictor(changed(saved, version=version))


def test_an_unknown_predictor_is_refused(saved: Path) -> None:
    with pytest.raises(PredictorFileError, match="unknown predictor 'FlopPredictor'; did you mean 'FlopsPredictor'"):
        load_predictor(changed(saved, predictor="FlopPredictor"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PredictorFileError, match="there is no file"):
        load_predictor(tmp_path / "none.zip")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.zip"
    path.write_bytes(content)
    with pytest.raises(PredictorFileError, match="no predictor"):
        load_predictor(path)


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("readme", "hello")
    with pytest.raises(PredictorFileError, match="no predictor that leti_opt saved"):
        load_predictor(tmp_path / "other.zip")


def test_a_folder_that_is_not_there_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(PredictorFileError, match="cannot write"):
        load_predictor(saved).save(tmp_path / "nowhere" / "predictor.zip")
