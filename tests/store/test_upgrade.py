"""Stores of earlier versions open, are upgraded as a whole or not at all, and keep everything."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect

from leti_opt.errors import StoreError
from leti_opt.store import LatencyStore, migrate, schema
from tests.store.make_version_file import EVALUATIONS, LINK, MEASUREMENTS, SCORE, SETTINGS, VERSIONS
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, alias, device, measurement, model

NEXT = f"{int(schema.HEAD) + 1:04}"
STORED = sorted(VERSIONS.glob("*.db"))

NEXT_VERSION = """
import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("models", sa.Column("remark", sa.Text(), nullable=True))
    op.execute("UPDATE models SET remark = 'upgraded ' || key")
"""

REMADE_TABLE = (
    NEXT_VERSION
    + """
    with op.batch_alter_table("models") as models:
        models.alter_column("precision", new_column_name="number_format")
"""
)

BROKEN_REFERENCES = (
    NEXT_VERSION
    + """
    op.execute("DELETE FROM models")
"""
)


def version_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(version)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of the first version."""
    return Path(shutil.copy(VERSIONS / "0001.db", tmp_path / "latency.db"))


def next_version(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    """Pretend that this leti_opt has one more version."""
    folder = tmp_path_factory.mktemp("migrations") / "migrations"
    shutil.copytree(migrate.MIGRATIONS, folder)
    source = source.replace("{next}", NEXT).replace("{head}", schema.HEAD)
    (folder / "versions" / f"{NEXT}_next.py").write_text(source)
    monkeypatch.setattr(migrate, "MIGRATIONS", folder)
    monkeypatch.setattr(schema, "HEAD", NEXT)


def test_every_version_up_to_this_one_has_a_stored_file() -> None:
    assert [path.stem for path in STORED] == [f"{n:04}" for n in range(1, int(schema.HEAD) + 1)]


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_a_stored_version_opens_with_all_its_content_and_is_brought_to_the_newest(stored: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(stored, tmp_path / "latency.db"))
    assert version_of(path) == stored.stem
    with LatencyStore(path) as store:
        assert store.info().schema_version == schema.HEAD
        assert store.find("key-0", DEVICE) == [MEASUREMENTS[1], MEASUREMENTS[0]]
        assert store.find("key-0", DEVICE, EPOCH) == [MEASUREMENTS[1], MEASUREMENTS[0]]
        assert store.find("key-1", DEVICE) == [MEASUREMENTS[2]]
        assert store.find("key-2", device("simulated")) == [MEASUREMENTS[3]]
        assert store.resolve(alias(0)) == "key-0"
        assert [failure.reason for failure in store.failures("key-3", identity=DEVICE)] == ["refused"]
        assert [failure.stage for failure in store.failures(alias=alias(4))] == ["build"]
        assert store.links(DEVICE) == [LINK]
        assert store.device_of("host-cpu") == (DEVICE, LATER_EPOCH)
        assert store.score("0-1:", "digest") == SCORE
        assert store.evaluations(store.open_search(SETTINGS)) == list(EVALUATIONS)
        row = store.to_frame(origin="measured").iloc[0]
        assert (row["flops"], row["parameters"], row["input_shape"]) == (1234, 56, "[8,8,3]")
        store.add(model(9), measurement(9))
        assert store.find("key-9", DEVICE) == [measurement(9)]
        is_third = stored.stem >= "0003"
        assert [(claim.key, claim.owner) for claim in store.claims()] == (
            [("key-0", "a host"), ("key-1", "a host")] if is_third else []
        )
        assert store.claim(["key-9"], "another host", 60) == ["key-9"]
        events = store.events(store.open_campaign("dataset", SETTINGS))
        assert [event.kind for event in events] == (["started", "ended"] if is_third else [])
    assert version_of(path) == schema.HEAD


def checks_of(engine: Engine) -> dict[str, list[tuple[str | None, str]]]:
    """Check constraints by table: what Alembic does not compare."""
    inspector = inspect(engine)
    return {
        name: [(check["name"], check["sqltext"]) for check in inspector.get_check_constraints(name)]
        for name in schema.metadata.tables
    }


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    LatencyStore(tmp_path / "latency.db").close()
    migrated, declared = create_engine(f"sqlite:///{tmp_path / 'latency.db'}"), create_engine("sqlite://")
    schema.metadata.create_all(declared)
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
    assert set(inspect(migrated).get_table_names()) == {*schema.metadata.tables, "alembic_version"}
    assert checks_of(migrated) == checks_of(declared)
    assert len(checks_of(declared)["measurements"]) == 1
    migrated.dispose()
    declared.dispose()


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    assert ScriptDirectory(str(migrate.MIGRATIONS)).get_current_head() == schema.HEAD


def test_an_upgrade_keeps_everything_and_a_copy_of_the_old_store(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    next_version(monkeypatch, tmp_path_factory, NEXT_VERSION)
    with LatencyStore(old) as store:
        assert store.info().schema_version == NEXT
        assert store.find("key-1", DEVICE) == [MEASUREMENTS[2]]
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT remark FROM models WHERE key = 'key-1'").fetchall() == [("upgraded key-1",)]
    assert sorted(os.listdir(old.parent)) == ["latency.db", "latency.db.backup-0001"]
    monkeypatch.undo()
    assert version_of(old.with_name("latency.db.backup-0001")) == "0001"
    with LatencyStore(old.with_name("latency.db.backup-0001")) as copy:
        assert copy.find("key-1", DEVICE) == [MEASUREMENTS[2]]


def test_an_upgrade_may_make_a_table_anew_that_others_refer_to(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    next_version(monkeypatch, tmp_path_factory, REMADE_TABLE)
    with LatencyStore(old) as store:
        assert store.find("key-1", DEVICE) == [MEASUREMENTS[2]]
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT number_format FROM models").fetchall() == [("float32",)] * 4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (NEXT_VERSION + '    op.execute("SELECT * FROM no_such_table")\n', "no_such_table"),
        (BROKEN_REFERENCES, "references"),
    ],
)
def test_an_upgrade_that_fails_halfway_leaves_the_old_store(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, source: str, words: str
) -> None:
    before = old.read_bytes()
    with monkeypatch.context() as patched:
        next_version(patched, tmp_path_factory, source)
        with pytest.raises(StoreError, match=words):
            LatencyStore(old)
    assert old.read_bytes() == before
    assert os.listdir(old.parent) == ["latency.db"]
    with LatencyStore(old) as store:
        assert store.find("key-1", DEVICE) == [MEASUREMENTS[2]]


def test_a_second_upgrade_does_not_overwrite_the_first_copy(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = old.with_name("latency.db.backup-0001")
    kept.write_text("an earlier copy")
    next_version(monkeypatch, tmp_path_factory, NEXT_VERSION)
    LatencyStore(old).close()
    assert kept.read_text() == "an earlier copy"
    assert version_of(old.with_name("latency.db.backup-0001.1")) == "0001"


def test_threads_that_open_an_old_store_at_once_upgrade_it_once(
    old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    next_version(monkeypatch, tmp_path_factory, NEXT_VERSION)

    def look(_: int) -> int:
        with LatencyStore(old) as store:
            return store.info().measurements

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(4))) == [len(MEASUREMENTS)] * 4
    assert sorted(os.listdir(old.parent)) == ["latency.db", "latency.db.backup-0001"]
