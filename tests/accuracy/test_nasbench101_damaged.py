"""NAS-Bench-101's file and ours, cut, damaged or of another make: refused, with the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leti_opt.accuracy.nasbench101 import NasBench101Accuracies
from leti_opt.accuracy.nasbench101_import import read_nasbench101
from leti_opt.errors import AccuracyFileError
from tests.accuracy.nasbench101_files import CONV, POOL, SKIP, final, record, some_records, write_tfrecord

pytestmark = pytest.mark.needs("tensorflow")


def test_a_file_cut_anywhere_is_refused_or_says_how_many_records_it_has(tmp_path: Path) -> None:
    contents = some_records()[:3]
    whole = write_tfrecord(tmp_path / "some.tfrecord", contents).read_bytes()
    bounds = np.cumsum([0, *(len(data) + 16 for data in contents)]).tolist()
    cut = tmp_path / "cut.tfrecord"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        if length == 0:
            with pytest.raises(AccuracyFileError, match="holds no record"):
                read_nasbench101(cut)
        elif length in bounds:
            assert read_nasbench101(cut).source.records == bounds.index(length)
        else:
            begins = max(bound for bound in bounds if bound < length)
            with pytest.raises(AccuracyFileError, match=rf"at byte {begins}, is cut: the file ends at byte {length}"):
                read_nasbench101(cut)


def test_a_file_damaged_anywhere_is_refused_with_the_place(tmp_path: Path) -> None:
    contents = some_records()[:3]
    whole = write_tfrecord(tmp_path / "some.tfrecord", contents).read_bytes()
    bounds = np.cumsum([0, *(len(data) + 16 for data in contents)]).tolist()
    damaged = tmp_path / "damaged.tfrecord"
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        damaged.write_bytes(content)
        begins = max(bound for bound in bounds if bound <= place)
        with pytest.raises(AccuracyFileError, match=rf"damaged\.tfrecord: record \d, at byte {begins}, is damaged"):
            read_nasbench101(damaged)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: record(POOL, final(0.5), module_hash=CONV.graph_hash), f"leti_opt's .* is {POOL.graph_hash}"),
        (lambda: record(POOL, final(0.5), operations="input,conv3x3-bn-relu,output"), f"hash .* {CONV.graph_hash}"),
        (lambda: record(POOL, final(0.5), adjacency="0110010000"), "no square matrix"),
        (lambda: record(POOL, final(0.5), adjacency="01020100"), "no square matrix"),
        (lambda: record(POOL, final(0.5), adjacency="010001100"), "backwards|cycle"),
        (lambda: record(POOL, final(0.5), adjacency="000000000"), "no path leads"),
        (lambda: record(POOL, final(0.5), adjacency="0100"), "3 operations for 2 vertices"),
        (lambda: record(POOL, final(0.5), adjacency=""), "has no cell"),
        (lambda: record(POOL, final(0.5), operations="input,maxpool5x5,output"), "not NAS-Bench-101's operations"),
        (lambda: record(POOL, final(0.5), operations="maxpool3x3"), "not NAS-Bench-101's operations"),
        (lambda: record(POOL, final(0.5), module_hash="0" * 31), "not 32 hexadecimal digits"),
        (lambda: record(POOL, final(0.5), module_hash="0" * 30 + "xy"), "not 32 hexadecimal digits"),
        (lambda: record(POOL, final(0.5, 5), 5), "has 5 epochs; NAS-Bench-101 has 4, 12, 36, 108"),
        (lambda: record(POOL, final(0.5), metrics="@@@@"), "cannot be decoded"),
        (lambda: record(POOL, final(0.5), metrics="CgA"), "cannot be decoded"),
        (lambda: record(POOL, final(0.5), metrics="Cg=="), "cannot be decoded"),
        (lambda: record(POOL, {}, evaluations=[final(0.5)] * 2), "has 2 evaluations, not 3"),
        (
            lambda: record(POOL, {}, evaluations=[final(0.5), final(0.5), final(0.0, 0)]),
            "not the last of its 108",
        ),
        (lambda: record(POOL, final(1.5)), "an accuracy of 1.5"),
        (lambda: record(POOL, final(-0.5)), "an accuracy of -0.484375"),
        (lambda: record(POOL, final(0.5, training_time=-1.0)), "a training time of -1.0 s"),
        (lambda: record(POOL, final(0.5, training_time=float("inf"))), "a training time of inf s"),
        (lambda: record(POOL, final(0.5), parameters=0), "has 0 trainable parameters"),
        (lambda: record(CONV, final(0.5), parameters=1001), "1,001 trainable parameters, an earlier .* 1,000"),
        (lambda: b"\xff\xfe", "is no JSON"),
        (lambda: b"{", "is no JSON"),
        (lambda: b"[" * 60000, "is no JSON"),
        (lambda: b"{}", r"is not \[hash, epochs"),
        (lambda: b'["a", true, "b", "c", "d"]', r"is not \[hash, epochs"),
    ],
)
def test_records_that_cannot_be_are_refused_with_their_place(
    tmp_path: Path, wrong: Callable[[], bytes], words: str
) -> None:
    before = record(CONV, final(0.5))
    path = write_tfrecord(tmp_path / "some.tfrecord", [before, wrong(), record(SKIP, final(0.5))])
    with pytest.raises(AccuracyFileError, match=rf"some.tfrecord: the record at byte {len(before) + 16} .*({words})"):
        read_nasbench101(path)


def test_a_hash_is_checked_again_where_a_later_record_writes_the_cell_differently(tmp_path: Path) -> None:
    records = [record(POOL, final(0.5)), record(CONV, final(0.5), module_hash=POOL.graph_hash)]
    with pytest.raises(AccuracyFileError, match=f"at byte {len(records[0]) + 16} has the hash {POOL.graph_hash}, but"):
        read_nasbench101(write_tfrecord(tmp_path / "some.tfrecord", records))


def test_more_trainings_of_a_cell_than_anybody_made_are_refused(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "some.tfrecord", (record(POOL, final(n / 32)) for n in range(17)))
    with pytest.raises(AccuracyFileError, match="trained 17 times"):
        read_nasbench101(path)


def test_a_saved_file_damaged_anywhere_is_refused_or_says_the_same(tmp_path: Path) -> None:
    accuracies = read_nasbench101(write_tfrecord(tmp_path / "some.tfrecord", some_records()))
    path = tmp_path / "some.accuracy"
    accuracies.save(path)
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            loaded = NasBench101Accuracies.load(path)
        except AccuracyFileError:
            refused += 1
        else:  # statistics that nobody reads, for instance
            np.testing.assert_array_equal(loaded.columns.figures, accuracies.columns.figures)
            np.testing.assert_array_equal(loaded.columns.digests, accuracies.columns.digests)
            assert loaded.source == accuracies.source
    assert refused > 0


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.accuracy"
    with pytest.raises(AccuracyFileError, match="there is no file"):
        NasBench101Accuracies.load(path)
    with pytest.raises(AccuracyFileError, match="cannot read"):
        read_nasbench101(tmp_path / "none.tfrecord")
    with pytest.raises(AccuracyFileError, match="cannot read"):
        read_nasbench101(tmp_path)
    for content in (b"", b"nothing", bytes(1000)):
        path.write_bytes(content)
        with pytest.raises(AccuracyFileError, match="import the accuracies again"):
            NasBench101Accuracies.load(path)
    pd.DataFrame({"graph_hash": [b"0" * 16]}).to_parquet(path)
    with pytest.raises(AccuracyFileError, match="no file of accuracies"):
        NasBench101Accuracies.load(path)


def test_a_file_of_a_newer_version_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.accuracy"
    accuracies = read_nasbench101(write_tfrecord(tmp_path / "some.tfrecord", some_records()))
    with monkeypatch.context() as newer:
        newer.setattr("leti_opt.accuracy.nasbench101_file.FORMAT_VERSION", 2)
        accuracies.save(path)
    with pytest.raises(AccuracyFileError, match="has format 2, this leti_opt reads up to 1; update leti_opt"):
        NasBench101Accuracies.load(path)
