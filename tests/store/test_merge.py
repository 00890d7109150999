"""Merging stores: everything or nothing, nothing twice, and the same set whatever the order."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from leti_opt.errors import ForeignStoreError, InvalidInputError, NotFoundError, StoreError, StoreVersionError
from leti_opt.store import EpochLink, LatencyStore, ScoreRecord, schema
from tests.store.make_version_file import MEASUREMENTS, NETWORK, VERSIONS, WITHDRAWN, fill
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, NOON, alias, device, measurement, model, model_with_layers

TABLES = (
    *("models", "networks", "aliases", "devices", "epochs", "epoch_links", "measurements", "attempts"),
    *("attempt_faults", "metrics", "suspicions", "failures", "scores"),
)
REFERENCES = {
    "model_id": ("models", "key"),
    "device_id": ("devices", "digest"),
    "epoch_id": ("epochs", "digest"),
    "first_epoch_id": ("epochs", "digest"),
    "second_epoch_id": ("epochs", "digest"),
    "measurement_id": ("measurements", "digest"),
}


def content(store: LatencyStore) -> set[tuple[Any, ...]]:
    """Every row with names in place of ids, and without where a measurement came from."""
    with store._database.read() as connection:
        rows = {
            name: [dict(row._mapping) for row in connection.execute(select(schema.metadata.tables[name]))]
            for name in TABLES
        }
    names = {column: {row["id"]: row[key] for row in rows[table]} for column, (table, key) in REFERENCES.items()}
    return {
        (
            table,
            *(
                (name, str(names[name].get(value) if name in names else value))
                for name, value in row.items()
                if name not in ("id", "source") or (name == "source" and table == "metrics")
            ),
        )
        for table in TABLES
        for row in rows[table]
    }


LATE = measurement(10, minutes=200)
ACT_NAMES = ("measure", "simulate", "unstable", "fail", "link", "score", "network", "withdraw", "layers")
Act = tuple[str, int]
ACTS = st.lists(
    st.tuples(st.sampled_from(ACT_NAMES), st.integers(0, 3)),
    max_size=6,
)


def play(store: LatencyStore, acts: Sequence[Act]) -> None:
    for act, number in acts:
        if act == "measure":
            store.add(model(number), measurement(number), alias=alias(number))
        elif act == "simulate":
            store.add(model(number), measurement(number, identity=device("simulated")))
        elif act == "unstable":
            store.add(model(number), measurement(number, stable=False, epoch=LATER_EPOCH))
        elif act == "fail":
            store.add_failure("no", stage="load", model=model(number), device=DEVICE, epoch=EPOCH, failed_at=NOON)
        elif act == "link":
            at = NOON + timedelta(minutes=number)
            store.add_link(DEVICE, EpochLink(EPOCH, LATER_EPOCH, bool(number % 2), 1.0, None, 20, at))
        elif act == "score":
            store.add_score(ScoreRecord(f"cell {number}", "hash", "digest", "digits", 0.5, 1.0, NOON, {"n": number}))
        elif act == "network":
            store.add_network(f"net {number}", {"filters": number})
        elif act == "layers":
            store.add_model(model_with_layers(number), flops=10 + number)
        else:
            withdraw(store)


def withdraw(store: LatencyStore) -> None:
    """At a moment that does not depend on the clock, so that two stores can be compared."""
    store.suspect(DEVICE, EPOCH, since=NOON - timedelta(hours=1), reason="canary")
    with store._database.write() as connection:
        connection.execute(schema.suspicions.update().values(found_at=NOON))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store to copy: making its tables takes most of a short test's time."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    LatencyStore(path).close()
    return path


def stored(path: Path, acts: Sequence[Act], empty: Path) -> Path:
    shutil.copy(empty, path)
    with LatencyStore(path) as store:
        play(store, acts)
    return path


def merged(path: Path, *others: Path) -> set[tuple[Any, ...]]:
    with LatencyStore(path) as store:
        for other in others:
            store.merge(other)
        return content(store)


@settings(max_examples=15, deadline=None)
@given(ACTS, ACTS, ACTS)
def test_merging_is_commutative_associative_and_idempotent_in_content(
    empty: Path, first: list[Act], second: list[Act], third: list[Act]
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        a, b, c = (
            stored(folder / f"{n}.db", acts, empty) for n, acts in zip("abc", (first, second, third), strict=True)
        )

        def copied(path: Path, number: int) -> Path:
            return Path(shutil.copy(path, folder / f"{path.stem}{number}.db"))

        everything = merged(copied(a, 1), b, c)
        assert merged(copied(c, 2), b, a) == everything
        merged(b_and_c := copied(b, 3), c)
        assert merged(copied(a, 4), b_and_c) == everything
        assert merged(folder / "a1.db", b, c, b_and_c) == everything
        assert everything >= {row for row in merged(copied(a, 5)) if row[0] == "measurements"}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    with LatencyStore(tmp_path / "other.db") as store:
        fill(store)
        store.add(model(10), LATE)
        store.suspect(DEVICE, EPOCH, since=NOON + timedelta(hours=3), reason="canary")
    return tmp_path / "other.db"


@pytest.fixture
def here(tmp_path: Path) -> LatencyStore:
    return LatencyStore(tmp_path / "latency.db")


def test_everything_comes_over_and_says_where_from(here: LatencyStore, other: Path) -> None:
    before = other.read_bytes()
    counts = here.merge(other)
    assert (counts.measurements, counts.known_measurements, counts.suspicions) == (8, 0, 1)
    assert (counts.failures, counts.links, counts.scores, counts.networks) == (2, 1, 1, 1)
    (found, _) = here.find("key-0", DEVICE)
    assert found.source == "other.db"
    assert found.attempts == MEASUREMENTS[1].attempts
    assert (found.faults, found.metrics) == (MEASUREMENTS[1].faults, MEASUREMENTS[1].metrics)
    assert here.network("net") == NETWORK
    assert here.find("key-10", DEVICE) == []
    assert here.find("key-10", DEVICE, include_suspect=True) == [replace(LATE, source="other.db")]
    assert here.find("key-5", DEVICE) == [WITHDRAWN]
    assert here.device_of("host-cpu") is None
    assert other.read_bytes() == before


def test_a_second_merge_adds_nothing(here: LatencyStore, other: Path) -> None:
    here.merge(other)
    first = content(here)
    counts = here.merge(other)
    assert counts.known_measurements == 8
    assert sum(vars(counts).values()) == 8
    assert content(here) == first


def test_what_goes_there_and_back_stays_this_stores_own(here: LatencyStore, other: Path) -> None:
    here.add(model(9), measurement(9))
    with LatencyStore(other) as there:
        there.merge(here.url)
    counts = here.merge(other)
    assert counts.known_measurements == 1
    assert [found.source for found in here.find("key-9", DEVICE)] == [None]


def test_the_canary_of_this_store_withdraws_nothing_that_came_by_a_merge(here: LatencyStore, other: Path) -> None:
    here.merge(other)
    here.add(model(9), measurement(9))
    assert here.suspect(DEVICE, EPOCH, since=NOON - timedelta(hours=1), reason="canary") == ["key-9"]


def test_a_cell_that_is_another_model_there_is_refused_by_name_before_anything_is_written(
    here: LatencyStore, other: Path
) -> None:
    here.add(model(8), measurement(8), alias=alias(0))
    before = content(here)
    with pytest.raises(StoreError, match=r"0-1,1-2:maxpool0 .*key-8.*key-0 in other\.db"):
        here.merge(other)
    assert content(here) == before


def test_a_score_of_this_store_stands_and_the_difference_is_counted(here: LatencyStore, other: Path) -> None:
    here.add_score(ScoreRecord("0-1:", "hash", "digest", "digits", 0.1, 3.5, NOON))
    assert here.merge(other).differing_scores == 1
    found = here.score("0-1:", "digest")
    assert found is not None
    assert found.value == 0.1


def test_what_is_not_known_of_a_model_is_filled_in_and_nothing_is_overwritten(
    here: LatencyStore, other: Path, tmp_path: Path
) -> None:
    here.add_model(model(0), flops=7)
    here.merge(other)
    row = here.to_frame(origin="measured").set_index("model_key").loc["key-0"].iloc[0]
    assert (row["flops"], row["parameters"], row["input_shape"]) == (7, 56, "[8,8,3]")


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_an_older_store_is_upgraded_in_a_copy_and_stays_as_it_was(
    here: LatencyStore, tmp_path: Path, version: str
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    old = Path(shutil.copy(VERSIONS / f"{version}.db", folder / "old.db"))
    before = old.read_bytes()
    assert here.merge(old).measurements >= len(MEASUREMENTS)
    assert old.read_bytes() == before
    assert os.listdir(folder) == ["old.db"]


def test_what_cannot_be_merged_is_refused_by_its_own_name(here: LatencyStore, other: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    (tmp_path / "text.db").write_text("no store")
    for path, kind in (
        (other, StoreVersionError),
        (tmp_path / "text.db", ForeignStoreError),
        (tmp_path / "absent.db", NotFoundError),
        (tmp_path / "latency.db", InvalidInputError),
    ):
        with pytest.raises(kind) as refused:
            here.merge(path)
        assert str(path) in str(refused.value)
        assert "leti-opt-merge" not in str(refused.value)
    with pytest.raises(InvalidInputError, match="memory"):
        here.merge(":memory:")
    assert here.info().models == 0


def test_two_merges_at_once_add_everything_once(here: LatencyStore, other: Path) -> None:
    here.close()

    def work(_: int) -> int:
        with LatencyStore(here.url) as store:
            return store.merge(other).measurements

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(4))) == [0, 0, 0, 8]
    with LatencyStore(other) as there:
        assert content(here) == content(there)


KILLED = """
import os, signal, sys
from leti_opt.store import LatencyStore, merge
def die(self):
    os.kill(os.getpid(), signal.SIGKILL)
merge._Merge._scores = die
LatencyStore(sys.argv[1]).merge(sys.argv[2])
"""


def test_a_merge_that_is_killed_halfway_leaves_nothing(here: LatencyStore, other: Path) -> None:
    here.add(model(9), measurement(9))
    before = content(here)
    here.close()
    result = subprocess.run([sys.executable, "-c", KILLED, here.url, str(other)], check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert content(here) == before
    assert here.merge(other).measurements == 8
