"""NAS-Bench-101's accuracy files: what they say is kept and found by cell, and what cannot be is refused.

The public files are not here; these are files in their format, which TensorFlow and Google's protocol buffers wrote.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt import AccuracyLatencyObjective, DeviceLatencyObjective, NetworkConfig, network_cost
from leti_opt.accuracy import StoredAccuracy
from leti_opt.accuracy.nasbench101 import NasBench101Accuracies, Training
from leti_opt.accuracy.nasbench101_import import ImportProgress, read_nasbench101
from leti_opt.accuracy.repeats import STATISTICS, over_repeats
from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import AccuracyFileError, InvalidInputError, NotFoundError
from leti_opt.search_space.definition import NAS_BENCH_101
from leti_opt.search_space.enumeration import enumerate_architectures
from leti_opt.store import LatencyStore
from tests.accuracy.nasbench101_files import (
    CONV,
    POOL,
    PUBLISHED_CELL,
    PUBLISHED_PARAMETERS,
    SKIP,
    final,
    record,
    some_records,
    write_tfrecord,
)

pytestmark = pytest.mark.needs("tensorflow")

ABSENT = Architecture.parse("0-1,1-2:conv1x1-bn-relu")

Importer = Callable[[Iterable[bytes]], NasBench101Accuracies]


@pytest.fixture
def imported(tmp_path: Path) -> Importer:
    """Read a file of these records, and read again what was saved of it."""

    def read(records: Iterable[bytes]) -> NasBench101Accuracies:
        accuracies = read_nasbench101(write_tfrecord(tmp_path / "some.tfrecord", records))
        accuracies.save(tmp_path / "some.accuracy")
        loaded = NasBench101Accuracies.load(tmp_path / "some.accuracy")
        for name in ("digests", "parameters", "figures"):
            one, other = getattr(accuracies.columns, name), getattr(loaded.columns, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        assert (loaded.epochs, loaded.source, repr(loaded)) == (accuracies.epochs, accuracies.source, repr(accuracies))
        return loaded

    return read


def test_every_repeat_is_kept_in_the_order_of_the_file(imported: Importer) -> None:
    accuracies = imported(some_records())
    assert (len(accuracies), accuracies.epochs) == (2, (4, 108))
    assert [one.test_accuracy for one in accuracies.trainings(POOL)] == [0.5, 0.625, 0.75]
    assert accuracies.trainings(POOL, 4) == [Training(0.265625, 0.25, 1.0, 64.25)]
    assert accuracies.trainings(CONV, 4) == []
    assert accuracies.trainings_by_epochs() == {4: 1, 108: 5}


def test_the_last_of_three_evaluations_is_the_figure_that_is_kept(imported: Importer) -> None:
    evaluations = [final(0.125, 0), final(0.25, 54), final(0.9375)]
    accuracies = imported([record(POOL, {}, evaluations=evaluations)])
    assert accuracies.trainings(POOL) == [Training(0.953125, 0.9375, 1.0, 1728.9375)]


def test_the_published_cell_has_the_parameters_of_our_network(imported: Importer) -> None:
    accuracies = imported([record(PUBLISHED_CELL, final(0.9), parameters=PUBLISHED_PARAMETERS)])
    ours = network_cost(PUBLISHED_CELL, NetworkConfig()).parameters
    assert accuracies.parameters(PUBLISHED_CELL) == ours == PUBLISHED_PARAMETERS


def test_a_missing_repeat_is_left_out_and_a_missing_cell_is_not_a_number(imported: Importer) -> None:
    accuracies = imported(some_records())
    table = ArchitectureTable.from_architectures([CONV, ABSENT, POOL, SKIP])
    np.testing.assert_array_equal(accuracies.of(table), [0.625, nan, 0.625, nan])
    np.testing.assert_array_equal(accuracies.of(table, 4), [nan, nan, 0.25, nan])
    np.testing.assert_array_equal(accuracies.repeats(table), [2, 0, 3, 0])
    assert [str(cell) for cell in table[accuracies.of(table, statistic="max") > 0.7]] == [str(CONV), str(POOL)]
    with pytest.raises(NotFoundError, match=f"{ABSENT.graph_hash}.*a file may have fewer"):
        accuracies.accuracy(ABSENT)
    with pytest.raises(NotFoundError, match=r"no test accuracy of the cell .* after 4 epochs"):
        accuracies.accuracy(CONV, 4)


def test_a_figure_that_a_record_does_not_say_is_absent(imported: Importer) -> None:
    accuracies = imported(
        [
            record(POOL, final(0.5, test_accuracy=None), parameters=None),
            record(POOL, final(0.25)),
            record(CONV, final(0.5, training_time=None), parameters=None),
        ]
    )
    assert isnan(accuracies.trainings(POOL)[0].test_accuracy)
    assert accuracies.accuracy(POOL) == 0.25
    assert accuracies.accuracy(POOL, of="validation") == (0.515625 + 0.265625) / 2
    assert (accuracies.parameters(POOL), accuracies.parameters(CONV)) == (1000, None)
    assert isnan(accuracies.trainings(CONV)[0].training_time_s)


def test_a_record_that_repeats_another_one_is_left_out_and_counted(imported: Importer) -> None:
    once = some_records()
    twice = imported([*once, once[2], once[0], once[2]])
    assert (twice.source.records, twice.source.duplicates) == (9, 3)
    assert [one.test_accuracy for one in twice.trainings(POOL)] == [0.5, 0.625, 0.75]
    assert imported(once).source.duplicates == 0


def test_figures_keep_every_bit(imported: Importer) -> None:
    accuracies = imported([record(POOL, final(0.1, training_time=1 / 3)), record(CONV, final(0.5))])
    assert accuracies.accuracy(POOL) == 0.1
    assert accuracies.trainings(POOL)[0].training_time_s == 1 / 3
    narrow = float(np.float32(0.1))
    as_published = imported([record(POOL, final(narrow, validation_accuracy=narrow, training_time=narrow))])
    assert as_published.columns.figures.dtype == np.float32
    assert (as_published.accuracy(POOL), as_published.accuracy(POOL, of="validation")) == (narrow, narrow)


def test_pieces_of_any_size_make_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [*some_records(), record(SKIP, final(0.1)), *some_records()]
    path = write_tfrecord(tmp_path / "some.tfrecord", records)
    wanted = read_nasbench101(path)
    assert wanted.source.duplicates == 6
    monkeypatch.setattr("leti_opt.accuracy.nasbench101_import._BLOCK", 2)
    monkeypatch.setattr("leti_opt.accuracy.nasbench101_import._CHECKED_AT_ONCE", 1)
    monkeypatch.setattr("leti_opt.accuracy.tfrecord._CHUNK", 100)
    found = read_nasbench101(path)
    np.testing.assert_array_equal(found.columns.figures, wanted.columns.figures)
    assert (found.source, found.accuracy(SKIP), found.accuracy(POOL)) == (wanted.source, 0.1, 0.625)


def test_a_cell_is_found_however_it_is_written(imported: Importer) -> None:
    one = Architecture.parse("0-1,0-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
    other = Architecture.parse("0-1,0-2,0-3,1-4,2-4:maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu")
    accuracies = imported([record(one, final(0.5)), record(other, final(0.75)), record(one, final(0.25))])
    assert len(accuracies) == 1
    for cell in (one, other, one.graph_hash):
        assert accuracies.accuracy(cell) == 0.5


@pytest.mark.parametrize(
    ("statistic", "of", "wanted"),
    [("mean", "test", 0.625), ("median", "validation", 0.640625), ("min", "test", 0.5), ("max", "train", 1.0)],
)
def test_accuracies_are_of_the_images_and_the_statistic_asked_for(
    imported: Importer, statistic: str, of: str, wanted: float
) -> None:
    accuracies = imported(some_records())
    assert accuracies.accuracy(POOL, statistic=statistic, of=of) == wanted
    assert accuracies.of(ArchitectureTable.from_architectures([POOL]), statistic=statistic, of=of) == [wanted]


@given(
    st.lists(st.lists(st.just(nan) | st.floats(0, 1), min_size=3, max_size=3), min_size=1),
    st.sampled_from(STATISTICS),
)
def test_statistics_are_those_of_the_repeats_that_are_there(cells: list[list[float]], statistic: str) -> None:
    found = over_repeats(np.array(cells).T, statistic)
    for cell, value in zip(cells, found, strict=True):
        there = [figure for figure in cell if not isnan(figure)]
        wanted = getattr(np, statistic)(there) if there else nan
        assert value == pytest.approx(wanted, nan_ok=True)


def test_a_whole_space_is_looked_up_at_once(imported: Importer) -> None:
    space = enumerate_architectures(replace(NAS_BENCH_101, max_vertices=5))
    chosen = np.random.default_rng(1).permutation(len(space))[:300]
    accuracies = imported(record(space[int(row)], final(int(row) / 4096)) for row in chosen)
    wanted = np.full(len(space), nan)
    wanted[chosen] = chosen / 4096
    np.testing.assert_array_equal(accuracies.of(space), wanted)
    for row in chosen[:20].tolist():
        assert accuracies.accuracy(str(space.graph_hashes[row])) == row / 4096


def test_hashes_that_begin_and_end_with_zeros_are_told_apart() -> None:
    from leti_opt.accuracy.nasbench101_file import AccuracyColumns, SourceFile

    hashes = ["00" * 16, "00" * 15 + "01", "01" + "00" * 15, "80" * 16, "ff" * 15 + "00"]
    digests = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, 16)
    figures = np.arange(5.0)[None, None, None] / 8 * np.ones((1, 4, 1, 1))
    source = SourceFile("made up", "0" * 64, 1, 5, 0)
    accuracies = NasBench101Accuracies(AccuracyColumns(digests, np.ones(5, np.int32), (108,), figures, source))
    assert [accuracies.accuracy(text) for text in hashes] == [0, 0.125, 0.25, 0.375, 0.5]
    for absent in ("00" * 14 + "0100", "ff" * 16):
        with pytest.raises(NotFoundError):
            accuracies.accuracy(absent)


def test_wrong_questions_are_refused_with_what_to_ask(imported: Importer) -> None:
    accuracies = imported(some_records())
    elsewhere = Architecture.parse("0-1,1-2:maxpool3x3:maxpool3x3,conv3x3-bn-relu")
    for ask, words in (
        (lambda: accuracies.accuracy(POOL, 36), "no trainings of 36 epochs; it has 4, 108"),
        (lambda: accuracies.accuracy(POOL, statistic="avg"), "unknown statistic 'avg'"),
        (lambda: accuracies.accuracy(POOL, of="tests"), "did you mean 'test'"),
        (lambda: accuracies.evaluator(statistic="mode"), "unknown statistic"),
        (lambda: accuracies.accuracy("0-1"), "not a graph hash"),
        (lambda: accuracies.accuracy(elsewhere), "depends on the list of labels"),
        (lambda: accuracies.of(ArchitectureTable.from_architectures([elsewhere])), "make the cells with its own"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            ask()


def test_it_is_the_accuracy_of_a_search(imported: Importer) -> None:
    accuracies = imported(some_records())
    latency = DeviceLatencyObjective("replay:formula?seed=1", NetworkConfig.small(), store=":memory:")
    loss, latency_ms = AccuracyLatencyObjective(accuracies, latency)(POOL)
    assert (loss, latency_ms > 0) == (0.375, True)
    assert AccuracyLatencyObjective(accuracies.evaluator(4, of="validation"), latency)(POOL)[0] == 1 - 0.265625
    with pytest.raises(NotFoundError):
        AccuracyLatencyObjective(accuracies, latency)(ABSENT)
    with LatencyStore(":memory:") as store:
        stored = StoredAccuracy(accuracies, store)
        assert [stored(POOL), stored(POOL), stored.from_store] == [0.625, 0.625, 1]


def test_evaluators_of_the_same_figures_have_the_same_digest(imported: Importer) -> None:
    accuracies = imported(some_records())
    same = imported(some_records())
    assert accuracies.digest == same.digest == accuracies.evaluator().digest
    assert accuracies.name == "nasbench101 (mean test accuracy after 108 epochs)"
    others = [
        accuracies.evaluator(4),
        accuracies.evaluator(statistic="max"),
        accuracies.evaluator(of="train"),
        imported(some_records()[:-1]),
    ]
    assert len({accuracies.digest, *(one.digest for one in others)}) == 5
    copy = pickle.loads(pickle.dumps(accuracies.evaluator(4)))
    assert (copy(POOL), copy.digest) == (0.25, accuracies.evaluator(4).digest)


def test_progress_is_told_at_the_end_at_least(tmp_path: Path) -> None:
    path = write_tfrecord(tmp_path / "some.tfrecord", some_records() * 1000)
    told: list[ImportProgress] = []
    read_nasbench101(path, told.append)
    size = path.stat().st_size
    assert told[-1] == ImportProgress(size, size, 6000, 2)
    assert [one.records for one in told] == [4096, 6000]


LONG_PATH = [final(0.0, 0), final(0.25, 54), final(0.5, checkpoint_path="a/" * 500)]


def test_broken_lines_of_base64_and_long_paths_are_read(imported: Importer) -> None:
    import base64

    from tests.accuracy.nasbench101_files import serialized

    broken = base64.encodebytes(serialized(LONG_PATH)).decode()
    assert imported([record(POOL, {}, metrics=broken)]).accuracy(POOL) == 0.5


def test_other_tools_read_what_was_saved(tmp_path: Path) -> None:
    read_nasbench101(write_tfrecord(tmp_path / "some.tfrecord", some_records())).save(tmp_path / "some.accuracy")
    frame = pd.read_parquet(tmp_path / "some.accuracy").set_index("graph_hash")
    row = frame.loc[bytes.fromhex(CONV.graph_hash)]
    assert (row["trainable_parameters"], row["test_accuracy_108_1"], row["test_accuracy_108_2"]) == (1000, 0.75, 0.5)
    assert isnan(row["test_accuracy_108_3"])


def test_saving_where_nobody_can_is_refused(tmp_path: Path, imported: Importer) -> None:
    with pytest.raises(AccuracyFileError, match="cannot write"):
        imported(some_records()).save(tmp_path / "nowhere" / "some.accuracy")


PEAK = """
import sys
from pathlib import Path
from leti_opt.accuracy.nasbench101_import import read_nasbench101
read_nasbench101(sys.argv[1])
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(line.split()[1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak_mib(path: Path) -> float:
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        return int(done.stdout) / 1024

    repeated = write_tfrecord(tmp_path / "part.tfrecord", some_records() * 500).read_bytes()
    peaks = {}
    for size_mb in (20, 200):
        path = tmp_path / f"{size_mb}.tfrecord"
        with path.open("wb") as file:
            for _ in range(size_mb * 10**6 // len(repeated)):
                file.write(repeated)
        peaks[size_mb] = peak_mib(path)
    assert peaks[200] - peaks[20] < 60, "MiB: what is kept of 590,000 more trainings, and the sorting of it"
