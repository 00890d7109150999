"""A store in a PostgreSQL database: who may open it, several processes at once, and what it never tells."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from leti_opt.errors import (
    ForeignStoreError,
    InvalidInputError,
    NotFoundError,
    StoreConnectionError,
    StoreError,
    StoreVersionError,
)
from leti_opt.store import LatencyStore, migrate, opening, postgresql, schema
from leti_opt.store.postgresql_url import parse
from tests.store.make_version_file import fill
from tests.store.postgresql import PASSWORD, PostgresqlServer
from tests.store.samples import DEVICE, child_that_adds, measurement, model
from tests.store.test_claims import claimed_at_once
from tests.store.test_processes import ROOT, WRITER, release, start

pytestmark = pytest.mark.needs("postgresql")


@pytest.fixture
def store(postgresql_url: str) -> Iterator[LatencyStore]:
    with LatencyStore(postgresql_url, patience_s=5) as opened:
        yield opened


@pytest.fixture
def empty_url(postgresql_server: PostgresqlServer) -> str:
    return postgresql_server.url(postgresql_server.new_database())


def content(server: PostgresqlServer, database: str) -> list[Any]:
    """Every table with its rows, and the comments."""
    tables = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", database)
    rows = [(name, server.execute(f'SELECT * FROM "{name}"', database)) for (name,) in tables]
    return [*rows, server.execute("SELECT objoid, description FROM pg_description WHERE classoid = 1259", database)]


# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_forms_of_the_url_mean_the_same_store(postgresql_url: str, scheme: str) -> None:
    with LatencyStore(postgresql_url) as first, LatencyStore(scheme + postgresql_url[len("postgresql") :]) as second:
        first.add(model(), measurement())
        assert second.find("key-0", DEVICE) == [measurement()]
        assert first.url == second.url


def test_a_unix_socket_and_options_are_taken_from_the_url(postgresql_server: PostgresqlServer) -> None:
    database = postgresql_server.new_database("store_template")
    url = postgresql_server.url(database).replace("127.0.0.1", "")
    with LatencyStore(f"{url}?host={postgresql_server.folder}&application_name=mine") as store:
        query = "SELECT client_addr IS NULL FROM pg_stat_activity WHERE application_name = 'mine'"
        assert postgresql_server.execute(query) == [(True,)]
        assert store.info().measurements == 0


def test_the_migrations_make_the_tables_that_the_code_uses(empty_url: str) -> None:
    with LatencyStore(empty_url) as store, store._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert migrate.stored_version(connection, "it") == schema.HEAD


def test_an_empty_database_is_no_store_until_it_is_opened(empty_url: str) -> None:
    assert not opening.exists(empty_url)
    LatencyStore(empty_url).close()
    assert opening.exists(empty_url)


def test_processes_that_create_the_tables_and_write_at_once_lose_and_double_nothing(empty_url: str) -> None:
    writers = [start(WRITER, empty_url, *bounds) for bounds in [(0, 30), (30, 60), (15, 45)]]
    release(writers)
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    with LatencyStore(empty_url) as store:
        assert (store.info().measurements, store.info().models, store.info().aliases) == (60, 60, 60)
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=50)] for n in range(60))


def test_processes_that_claim_at_once_get_every_key_once(empty_url: str) -> None:
    got = claimed_at_once(empty_url)
    assert sorted(key for keys in got for key in keys) == sorted(f"key-{number}" for number in range(60))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE measurements (id integer)",
        "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('0002')",
    ],
)
def test_a_database_of_another_program_is_refused_and_left_as_it_was(
    postgresql_server: PostgresqlServer, statement: str
) -> None:
    database = postgresql_server.new_database()
    postgresql_server.execute(statement, database)
    before = content(postgresql_server, database)
    for opens in (LatencyStore, opening.exists):
        with pytest.raises(ForeignStoreError, match=r"another program.*createdb"):
            opens(postgresql_server.url(database))
    assert content(postgresql_server, database) == before


def test_a_newer_store_is_refused_and_left_as_it_was(postgresql_server: PostgresqlServer) -> None:
    database = postgresql_server.new_database("store_template")
    postgresql_server.execute("UPDATE alembic_version SET version_num = '9999'", database)
    before = content(postgresql_server, database)
    with pytest.raises(StoreVersionError, match=r"9999.*pip install --upgrade"):
        LatencyStore(postgresql_server.url(database))
    assert content(postgresql_server, database) == before


def test_an_older_store_is_brought_to_the_newest_version(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(migrate.MIGRATIONS, tmp_path / "migrations"))
    for newer in folder.glob("versions/*.py"):
        if newer.name[:4] > "0002":
            newer.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(migrate, "MIGRATIONS", folder)
        patched.setattr(schema, "HEAD", "0002")
        with LatencyStore(empty_url) as store:
            store.add(model(), measurement())
            assert store.info().schema_version == "0002"
    with LatencyStore(":memory:") as other, pytest.raises(StoreError, match="earlier version"):
        other.merge(empty_url)
    with LatencyStore(empty_url) as store:
        assert store.info().schema_version == schema.HEAD
        assert store.find("key-0", DEVICE) == [measurement()]
        assert store.claim(["a"], "me", 60) == ["a"]


def test_a_server_that_is_not_there_is_named_at_once_with_the_command_that_asks_for_it() -> None:
    with pytest.raises(StoreConnectionError, match=r"does not answer.*pg_isready -h 127\.0\.0\.1 -p 1 -U ada"):
        LatencyStore("postgresql://ada:secret@127.0.0.1:1/latency")


def test_a_database_that_is_not_there_is_named_with_the_command_that_makes_it(
    postgresql_server: PostgresqlServer,
) -> None:
    with pytest.raises(StoreError, match=rf"createdb -h 127\.0\.0\.1 -p {postgresql_server.port} -U ada latency"):
        LatencyStore(postgresql_server.url("latency"))


@pytest.mark.parametrize(("user", "password"), [("ada", "guess%of@mine"), ("nobody", "guess%of@mine"), ("ada", "")])
def test_a_wrong_user_or_password_is_told_and_not_repeated(
    postgresql_server: PostgresqlServer, user: str, password: str
) -> None:
    with pytest.raises(StoreError, match=f'refuses the user "{user}".*~/.pgpass') as raised:
        LatencyStore(postgresql_server.url("store_template", user, password))
    assert "guess" not in str(raised.value)


def test_a_user_who_may_not_create_tables_is_told_who_can_help(postgresql_server: PostgresqlServer) -> None:
    database = postgresql_server.new_database()
    postgresql_server.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(StoreError, match="GRANT ALL ON SCHEMA public TO guest"):
        LatencyStore(postgresql_server.url(database, "guest", "guest"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:secret@host",
        "postgresql://ada:secret@host:port/latency",
        "postgresql://ada:se@secret@host/latency",
        "postgresql://ada:secret@host/latency?nonsense=1",
        "postgresql://ada:secret@host/latency?options=1&options=2",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError) as raised:
        LatencyStore(url)
    assert "secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_without_the_driver_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'leti_opt\[cluster\]'"):
        LatencyStore("postgresql://ada@host/latency")


def test_importing_the_store_does_not_load_the_driver() -> None:
    code = "import sys, leti_opt.store; print('psycopg' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"


# -- transactions -----------------------------------------------------------------------------------------------------


def test_a_reader_sees_one_state_while_others_write(store: LatencyStore, postgresql_url: str) -> None:
    with LatencyStore(postgresql_url) as other, store._database.read() as connection:
        before = connection.execute(schema.models.select()).all()
        other.add(model(), measurement())
        assert connection.execute(schema.models.select()).all() == before == []
    assert store.model("key-0") is not None


def test_an_interrupt_in_the_middle_of_adding_stores_nothing_and_the_store_goes_on(
    store: LatencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leti_opt.store import measurement_rows

    def interrupted(*arguments: Any) -> int:
        insert_rows(*arguments)
        raise KeyboardInterrupt

    insert_rows = measurement_rows.insert_rows
    with monkeypatch.context() as patched:
        patched.setattr(measurement_rows, "insert_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add(model(1), measurement(1))
    assert store.find("key-1", DEVICE) == []
    store.add(model(1), measurement(1))
    assert store.info().measurements == 1


@pytest.mark.parametrize("wrong", [{"name": "nul \0"}, {"name": "half a pair: \ud800"}])
def test_what_the_database_cannot_hold_is_refused_and_not_tried_again(
    store: LatencyStore, wrong: dict[str, str]
) -> None:
    with pytest.raises(InvalidInputError):
        store.add(replace(model(), **wrong), measurement())
    with pytest.raises(InvalidInputError, match="range"):
        store.add_model(model(), flops=2**80)
    assert store._database.reconnections == 0
    assert store.info().models == 0


def test_the_clock_of_claims_is_the_servers_in_any_time_zone(postgresql_server: PostgresqlServer) -> None:
    database = postgresql_server.new_database("store_template")
    postgresql_server.execute(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
    with LatencyStore(postgresql_server.url(database)) as store:
        ((before,),) = postgresql_server.execute("SELECT clock_timestamp()")
        store.claim(["a"], "me", 60)
        ((after,),) = postgresql_server.execute("SELECT clock_timestamp()")
        (claim,) = store.claims()
        assert before <= claim.expires_at - timedelta(seconds=60) <= after
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE) == [measurement()]


# -- other processes --------------------------------------------------------------------------------------------------


def test_a_store_travels_between_processes_with_its_password(store: LatencyStore) -> None:
    code = (
        "import pickle, sys\nfrom tests.store.samples import measurement, model\n"
        "store = pickle.load(sys.stdin.buffer)\nstore.add(model(), measurement())\nprint(repr(store), store.url)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=pickle.dumps(store), capture_output=True, check=True, timeout=60
    )
    assert store.find("key-0", DEVICE) == [measurement()]
    assert result.stdout.decode().split() == [repr(store), store.url]


def test_a_forked_child_and_its_parent_write_on_over_connections_of_their_own(
    store: LatencyStore, postgresql_server: PostgresqlServer
) -> None:
    store.add(model(0), measurement(0))
    child = child_that_adds(store, 1)
    store.add(model(2), measurement(2))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [store.find(f"key-{n}", DEVICE) for n in range(3)] == [[measurement(n)] for n in range(3)]
    assert store._database.reconnections == 0


# -- files and tables -------------------------------------------------------------------------------------------------


def test_a_file_is_merged_into_a_database_and_a_database_into_a_file(
    store: LatencyStore, postgresql_url: str, tmp_path: Path
) -> None:
    with LatencyStore(tmp_path / "first.db") as first:
        fill(first)
    counts = store.merge(tmp_path / "first.db")
    assert counts.measurements == 7
    assert store.merge(tmp_path / "first.db").measurements == 0
    with LatencyStore(tmp_path / "second.db") as second:
        assert second.merge(postgresql_url) == replace(counts, known_measurements=0)
        assert second.merge(postgresql_url).measurements == 0
        for number in range(8):
            assert second.find(f"key-{number}", DEVICE) == store.find(f"key-{number}", DEVICE)
    with pytest.raises(InvalidInputError, match="itself"):
        store.merge(postgresql_url)


def test_an_empty_database_cannot_be_merged(store: LatencyStore, empty_url: str) -> None:
    with pytest.raises(NotFoundError, match="empty"):
        store.merge(empty_url)


def test_an_export_comes_back_into_a_database(store: LatencyStore, tmp_path: Path) -> None:
    with LatencyStore(tmp_path / "first.db") as first:
        fill(first)
        first.export(tmp_path / "table.parquet", origin="any")
        counts = store.import_data(tmp_path / "table.parquet", origin="any")
        assert counts.measurements == len(first.to_frame(origin="any")) > 3
    assert store.import_data(tmp_path / "table.parquet", origin="any").known == counts.measurements + counts.failures
    assert store.export(tmp_path / "again.csv", origin="any", epoch="any") == counts.measurements


# -- secrecy ----------------------------------------------------------------------------------------------------------


def test_the_password_is_nowhere_but_in_the_connection(
    postgresql_server: PostgresqlServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = postgresql_server.new_database("store_template")
    url = postgresql_server.url(database)
    told: list[str] = []
    with caplog.at_level(logging.DEBUG), LatencyStore(url, patience_s=0.2) as store:
        fill(store)
        store.export(tmp_path / "table.csv", origin="any")
        told += [repr(store), str(store), store.url, repr(store.info()), repr(store._database), store._database.name]
        told += [repr(vars(store)), repr(vars(store._database)), (tmp_path / "table.csv").read_text()]
        with LatencyStore(tmp_path / "other.db") as other:
            other.merge(url)
            told.append(repr(other.to_frame(origin="any").to_dict()))
        postgresql_server.stop()
        try:
            with pytest.raises(StoreConnectionError) as raised:
                store.info()
        finally:
            postgresql_server.start()
        error: BaseException | None = raised.value
        while error is not None:
            told += [str(error), repr(error)]
            error = error.__cause__ or error.__context__
    told += [caplog.text, repr(content(postgresql_server, database))]
    assert "trying again" in caplog.text
    assert url.partition(":ada")[0]
    for secret in (PASSWORD, parse(url).whole.split(":")[2].split("@")[0]):
        assert not [text for text in told if secret in text]
    assert store.url == f"postgresql://ada@127.0.0.1:{postgresql_server.port}/{database}"


def test_texts_of_the_driver_lose_the_password() -> None:
    url = parse("postgresql://ada:s%40cret@host/latency")
    assert url.hide("failed for ada:s@cret and s%40cret") == "failed for ada:*** and ***"
    assert "cret" not in repr(url)


def test_a_patience_that_is_no_number_is_refused() -> None:
    for wrong in (-1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="patience_s"):
            postgresql.PostgresqlDatabase("postgresql://ada@host/latency", wrong)
