from __future__ import annotations

import json
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.errors import PredictorFileError
from leti_opt.predictor import predictor_file
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.story_file import load_story, save_with_story
from leti_opt.predictor.training_data import TrainingStory
from tests.predictor.samples import SMALL, made_up_latency_ms, small_table

MEMBERS = ["header.json", "learned.npz", "sha256"]
STORY = TrainingStory("formula [SIMULATED]", "simulated", 30, "latencies.parquet")


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


@pytest.mark.parametrize("version", [1, predictor_file.FORMAT_VERSION + 1])
def test_another_version_is_refused_and_named(saved: Path, version: int) -> None:
    with pytest.raises(PredictorFileError, match=f"format {version} .*reads {predictor_file.FORMAT_VERSION}"):
        load_predictor(changed(saved, version=version))


def test_another_version_is_named_even_if_it_is_verified_in_another_way(saved: Path) -> None:
    members = contents(changed(saved, version=9))
    with zipfile.ZipFile(saved, "w") as file:
        for name, data in {**members, "sha256": b"something else", "more.json": b"{}"}.items():
            file.writestr(name, data)
    with pytest.raises(PredictorFileError, match="format 9"):
        load_predictor(saved)


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


@cache
def good() -> bytes:
    """A whole file with a story."""
    table = small_table(30)
    with TemporaryDirectory() as folder:
        save_with_story(FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table)), STORY, Path(folder) / "one")
        return (Path(folder) / "one").read_bytes()


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.fixture
def told(tmp_path: Path) -> Path:
    (tmp_path / "told.predictor").write_bytes(good())
    return tmp_path / "told.predictor"


def refused(path: Path, match: str = "damaged") -> None:
    for read in (load_predictor, load_story):
        with pytest.raises(PredictorFileError, match=match):
            read(path)


class TestDamage:
    @settings(max_examples=150, deadline=None)
    @given(member=st.sampled_from(MEMBERS), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_flipped_bit_in_any_member_is_refused(self, member: str, place: float, bit: int) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.predictor"
            path.write_bytes(good())
            with zipfile.ZipFile(path) as file:
                info = file.getinfo(member)
                start = info.header_offset + len(info.FileHeader())
                content = bytearray(good())
                content[start + int(place * info.compress_size)] ^= 1 << bit
            path.write_bytes(content)
            refused(path)

    @settings(max_examples=150, deadline=None)
    @given(member=st.sampled_from(MEMBERS), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_so_it_is_where_the_archive_was_packed_anew(self, member: str, place: float, bit: int) -> None:
        """Then the archive's own checksums fit."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.predictor"
            path.write_bytes(good())
            members = contents(path)
            data = bytearray(members[member])
            data[int(place * len(data))] ^= 1 << bit
            packed(path, {**members, member: bytes(data)})
            refused(path, "damaged|no predictor|has format")

    @settings(max_examples=200, deadline=None)
    @given(place=st.integers(0, len(good()) - 1), bit=st.integers(0, 7))
    def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(self, place: int, bit: int) -> None:
        """The archive has a few bytes that mean nothing here, such as the time of day."""
        content = bytearray(good())
        content[place] ^= 1 << bit
        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.predictor"
            path.write_bytes(content)
            try:
                found = load_predictor(path)
            except PredictorFileError:
                return
            assert found.story_ == STORY
            table = small_table(30)
            expected = FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table))
            assert found.predict(table).tolist() == expected.predict(table).tolist()
            assert found.training_digest_ == expected.training_digest_

    @settings(max_examples=60, deadline=None)
    @given(length=st.integers(0, len(good()) - 1))
    def test_a_cut_file_is_refused(self, length: int) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "one.predictor"
            path.write_bytes(good()[:length])
            refused(path, "damaged|no predictor")

    @pytest.mark.parametrize("member", MEMBERS)
    def test_a_member_of_another_predictor_is_refused(self, told: Path, tmp_path: Path, member: str) -> None:
        table = small_table(40, seed=1)
        FlopsPredictor(SMALL).fit(table, made_up_latency_ms(table)).save(tmp_path / "other")
        packed(told, {**contents(told), member: contents(tmp_path / "other")[member]})
        refused(told)

    @pytest.mark.parametrize("member", MEMBERS)
    def test_a_lacking_member_is_refused(self, told: Path, member: str) -> None:
        packed(told, {name: data for name, data in contents(told).items() if name != member})
        refused(told, "damaged|no predictor")

    def test_a_member_too_many_is_refused(self, told: Path) -> None:
        packed(told, {**contents(told), "training.json": b"{}"})
        refused(told)

    def test_what_another_predictor_learned_is_refused(self, told: Path) -> None:
        with pytest.raises(PredictorFileError, match="does not hold what a KernelPredictor needs"):
            load_predictor(changed(told, predictor="KernelPredictor"))


class TestOrigin:
    def test_a_changed_origin_is_refused(self, told: Path) -> None:
        members = contents(told)
        patched = members["header.json"].replace(b'"simulated"', b'"measured"')
        assert patched != members["header.json"]
        packed(told, {**members, "header.json": patched})
        refused(told)

    def test_an_origin_that_was_taken_away_is_refused(self, told: Path) -> None:
        members = contents(told)
        header = {**json.loads(members["header.json"]), "story": None}
        packed(told, {**members, "header.json": json.dumps(header, indent=1).encode()})
        refused(told)

    def test_it_stays_with_a_predictor_that_is_saved_again(self, told: Path, tmp_path: Path) -> None:
        load_predictor(told).save(tmp_path / "again")
        assert load_story(tmp_path / "again") == STORY

    def test_fitting_anew_forgets_it(self, told: Path, tmp_path: Path) -> None:
        table = small_table(30)
        load_predictor(told).fit(table, made_up_latency_ms(table)).save(tmp_path / "again")
        assert load_story(tmp_path / "again") is None
