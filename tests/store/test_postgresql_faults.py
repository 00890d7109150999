"""A server that goes away: calls are made again, nothing that was answered is lost, and nothing is doubled."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from leti_opt.errors import StoreConnectionError, StoreError
from leti_opt.store import EvaluationRecord, LatencyStore, ScoreRecord, StoredResult, measurement_rows, postgresql
from leti_opt.store.schema import metadata
from tests.store.make_version_file import LINK, SETTINGS, fill
from tests.store.postgresql import PostgresqlServer
from tests.store.samples import DEVICE, EPOCH, NOON, alias, device, measurement, model
from tests.store.test_processes import WRITER, release, start

pytestmark = pytest.mark.needs("postgresql")


@pytest.fixture
def store(postgresql_url: str) -> Iterator[LatencyStore]:
    with LatencyStore(postgresql_url, patience_s=30) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_restarted_between_calls_is_not_noticed(
    store: LatencyStore, postgresql_server: PostgresqlServer, mode: str
) -> None:
    for number in range(3):
        starts = postgresql_server.starts
        store.add(model(number), measurement(number))
        postgresql_server.restart(mode)
        assert postgresql_server.starts == starts + 1
        assert store.find(f"key-{number}", DEVICE) == [measurement(number)]
        assert store._database.reconnections == number + 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_restarted_in_the_middle_of_a_call_makes_it_happen_again(
    store: LatencyStore, postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    calls: list[int] = []
    insert_rows = measurement_rows.insert_rows

    def restarted(*arguments: Any) -> int:
        calls.append(insert_rows(*arguments))
        if len(calls) == 1:
            postgresql_server.restart(mode)
        return calls[-1]

    monkeypatch.setattr(measurement_rows, "insert_rows", restarted)
    stored = store.add(model(), measurement(), alias=alias())
    assert len(calls) == 2
    assert store._database.reconnections >= 1
    assert stored == calls[-1]
    assert store.find("key-0", DEVICE) == [measurement()]
    assert (store.info().measurements, store.info().models, store.info().aliases) == (1, 1, 1)


def test_a_connection_ended_by_an_administrator_is_opened_again(
    store: LatencyStore, postgresql_server: PostgresqlServer
) -> None:
    store.add(model(), measurement())
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'leti_opt'"
    assert (True,) in postgresql_server.execute(ended)
    assert store.find("key-0", DEVICE) == [measurement()]
    assert store._database.reconnections == 1


def test_a_server_that_is_away_for_longer_than_the_patience_is_an_error_and_nothing_is_lost(
    postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    with LatencyStore(postgresql_url, patience_s=0.5) as store:
        store.add(model(0), measurement(0))
        postgresql_server.stop()
        try:
            with pytest.raises(StoreConnectionError, match=r"away for 0\.5 s.*start the server.*patience_s"):
                store.add(model(1), measurement(1))
        finally:
            postgresql_server.start()
        assert store._database.reconnections >= 2
        assert store.find("key-0", DEVICE) == [measurement(0)]
        assert store.find("key-1", DEVICE) == []
        store.add(model(1), measurement(1))
        assert store.info().measurements == 2


def test_a_standby_is_read_and_told_apart_from_a_server_that_can_be_written() -> None:
    server = PostgresqlServer()
    try:
        url = server.url(server.new_database())
        with LatencyStore(url) as store:
            store.add(model(), measurement())
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        assert server.execute("SELECT pg_is_in_recovery()") == [(True,)]
        with LatencyStore(url) as store:
            assert store.find("key-0", DEVICE) == [measurement()]
            with pytest.raises(StoreError, match="name the primary server, not a standby"):
                store.add(model(1), measurement(1))
    finally:
        server.remove()


def pause_with(monkeypatch: pytest.MonkeyPatch, sleep: Callable[[float], None]) -> None:
    """What a store does while it waits for its server."""
    monkeypatch.setattr(postgresql, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))


def test_a_call_that_waits_is_answered_when_the_server_comes_back(
    store: LatencyStore, postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            postgresql_server.start()

    postgresql_server.stop()
    pause_with(monkeypatch, sleep)
    assert store.info().measurements == 0
    assert pauses == [0.1, 0.2, 0.4, 0.8]


def test_a_store_that_travelled_waits_for_a_server_that_is_just_away(
    store: LatencyStore, postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pickle.dumps(store)
    postgresql_server.stop()
    pause_with(monkeypatch, lambda _: postgresql_server.start())
    with pickle.loads(content) as copy:
        assert copy.info().measurements == 0
        assert copy._database.patience_s == 30
        assert copy._database.reconnections == 1


class LostAnswer:
    """The server commits once, and its answer is lost: whoever asked cannot know."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import psycopg

        self.lost = False
        commit = psycopg.Connection.commit

        def commit_and_break(connection: Any) -> None:
            commit(connection)
            if not self.lost:
                self.lost = True
                connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        monkeypatch.setattr(psycopg.Connection, "commit", commit_and_break)


REPLAYED = device("replayed")
FAILED = StoredResult(model(9), failure="refused", device=REPLAYED, epoch=EPOCH, failed_at=NOON)
EVALUATION = EvaluationRecord(7, "cell", (1.5,), "measured", NOON)
HOUR = timedelta(hours=1)
CALLS: dict[str, Callable[[LatencyStore], Any]] = {
    "add": lambda store: store.add(model(20), measurement(20), alias=alias(20)),
    "add_all": lambda store: store.add_all([StoredResult(model(21), measurement(21, identity=REPLAYED)), FAILED]),
    "add_alias": lambda store: store.add_alias(alias(22), model(22)),
    "add_failure": lambda store: store.add_failure("refused", stage="run", model=model(0), device=DEVICE, epoch=EPOCH),
    "add_link": lambda store: store.add_link(DEVICE, LINK),
    "add_score": lambda store: store.add_score(ScoreRecord("cell", "hash", "digest", "digits", 0.5, 1.0, NOON)),
    "suspect": lambda store: store.suspect(DEVICE, EPOCH, since=NOON - HOUR, reason="too slow"),
    "suspect_one": lambda store: store.suspect_one(1, "too slow"),
    "set_panel": lambda store: store.set_panel(DEVICE, "other", ["key-1", "key-0"]),
    "remember_uri": lambda store: store.remember_uri("host-cpu?threads=2", DEVICE, EPOCH, seen_at=NOON),
    "open_search": lambda store: store.open_search({"seed": 3}),
    "add_evaluation": lambda store: store.add_evaluation(store.open_search(SETTINGS), EVALUATION),
    "open_campaign": lambda store: store.open_campaign("another", {}),
    "add_event": lambda store: store.add_event(store.open_campaign("dataset", SETTINGS), "gone", "unplugged", "usb"),
    "claim": lambda store: store.claim(["a", "key-0", "b"], "me", 60),
}
_MOMENTS = {"created_at", "failed_at", "found_at", "at", "expires_at"}


def content(store: LatencyStore) -> dict[str, list[Any]]:
    """Every row of every table, without the ids and moments that a call makes itself."""
    with store._database.read() as connection:
        return {
            table.name: sorted(
                repr([value for name, value in row._mapping.items() if name not in {*_MOMENTS, "id"}])
                for row in connection.execute(table.select())
            )
            for table in metadata.sorted_tables
        }


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_answer_was_lost_is_made_again_and_doubles_nothing(
    postgresql_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    urls = [postgresql_server.url(postgresql_server.new_database("store_template")) for _ in range(2)]
    with LatencyStore(urls[0], patience_s=30) as plain, LatencyStore(urls[1], patience_s=30) as broken:
        for one in (plain, broken):
            fill(one)
        answer = CALLS[call](plain)
        with monkeypatch.context() as patched:
            fault = LostAnswer(patched)
            assert CALLS[call](broken) == answer
        assert fault.lost
        assert broken._database.reconnections == 1
        assert content(broken) == content(plain)


def test_a_lost_answer_in_a_merge_and_an_import_doubles_nothing(
    store: LatencyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LatencyStore(tmp_path / "first.db") as first:
        fill(first)
        first.add(model(30), measurement(30))
        first.export(tmp_path / "table.parquet", origin="measured")
    with monkeypatch.context() as patched:
        fault = LostAnswer(patched)
        store.merge(tmp_path / "first.db")
    assert fault.lost
    merged = content(store)
    with monkeypatch.context() as patched:
        fault = LostAnswer(patched)
        store.import_data(tmp_path / "table.parquet")
    assert fault.lost
    assert store._database.reconnections == 2
    assert content(store)["measurements"] == merged["measurements"]


@pytest.mark.slow
def test_a_crash_of_the_server_in_the_midst_of_many_adds_loses_nothing_answered_and_doubles_nothing() -> None:
    server = PostgresqlServer(durable=True)
    try:
        url = server.url(server.new_database())
        LatencyStore(url).close()
        writers = [start(WRITER, url, *bounds) for bounds in [(0, 400), (200, 600)]]
        release(writers)
        answered: list[set[int]] = [set(), set()]
        for crash in range(3):
            for writer, numbers in zip(writers, answered, strict=True):
                assert writer.stdout is not None
                numbers |= {int(writer.stdout.readline()) for _ in range(30)}
            server.restart("immediate")
            assert server.starts == crash + 2
        for writer, numbers in zip(writers, answered, strict=True):
            assert writer.stdout is not None
            assert writer.stdin is not None
            numbers |= {int(line) for line in writer.stdout}
            assert writer.wait(timeout=60) == 0
            writer.stdout.close()
            writer.stdin.close()
        assert answered == [set(range(400)), set(range(200, 600))]
        with LatencyStore(url) as store:
            assert (store.info().measurements, store.info().models, store.info().aliases) == (600, 600, 600)
            assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=50)] for n in range(600))
        log = (server.folder / "log").read_text()
        assert log.count("database system was not properly shut down") == 3
    finally:
        server.remove()


@pytest.mark.slow
def test_a_client_that_stands_still_in_a_transaction_is_cut_off_and_its_call_made_again(
    store: LatencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server does to a client whose host is gone, with a shorter time."""
    calls: list[int] = []
    insert_rows = measurement_rows.insert_rows

    def stands_still(connection: Any, *arguments: Any) -> int:
        calls.append(insert_rows(connection, *arguments))
        if len(calls) == 1:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
            time.sleep(0.5)
        return calls[-1]

    monkeypatch.setattr(measurement_rows, "insert_rows", stands_still)
    store.add(model(), measurement())
    assert len(calls) == 2
    assert store._database.reconnections == 1
    assert store.find("key-0", DEVICE) == [measurement()]
