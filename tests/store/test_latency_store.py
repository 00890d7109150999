from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from leti_opt.errors import StoreError
from leti_opt.store import LatencyStore, measurement_rows
from tests.store.samples import DEVICE, EPOCH, alias, child_that_adds, measurement, model


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_path_and_an_sqlite_url_mean_the_same_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "with space" / "50% done ü.db"
    path.parent.mkdir()
    with LatencyStore(form.format(path)) as store:
        store.add(model(), measurement())
    with LatencyStore(path) as store:
        assert store.find("key-0", DEVICE) == [measurement()]
    assert os.listdir(path.parent) == [path.name]


def test_a_store_is_what_it_was_after_closing_and_opens_again_when_used(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    store.add(model(), measurement(), alias=alias())
    store.close()
    store.close()
    assert store.find("key-0", DEVICE, EPOCH) == [measurement()]
    assert store.resolve(alias()) == "key-0"
    store.close()


def test_a_relative_path_stays_the_same_file_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with LatencyStore("latency.db") as store:
        store.add(model(), measurement())
        store.close()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert store.find("key-0", DEVICE) == [measurement()]
        copy = pickle.loads(pickle.dumps(store))
        assert copy.find("key-0", DEVICE) == [measurement()]
        copy.close()


def test_a_link_to_a_store_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "latency.db")
    with LatencyStore(tmp_path / "link.db") as store:
        store.add(model(), measurement())
    with LatencyStore(tmp_path / "real" / "latency.db") as store:
        assert store.find("key-0", DEVICE) == [measurement()]


def test_a_store_travels_by_its_url(tmp_path: Path) -> None:
    with LatencyStore(tmp_path / "latency.db") as store:
        content = pickle.dumps(store)
        assert len(content) < 500
        copy = pickle.loads(content)
        store.add(model(), measurement())
        assert copy.find("key-0", DEVICE) == [measurement()]
        copy.close()


def test_a_store_in_memory_does_not_travel() -> None:
    with LatencyStore(":memory:") as store, pytest.raises(StoreError, match="give it a file"):
        pickle.dumps(store)


def test_two_stores_in_memory_are_two() -> None:
    with LatencyStore(":memory:") as first, LatencyStore("sqlite://") as second:
        first.add(model(), measurement())
        assert second.info().measurements == 0


def test_a_forked_child_and_its_parent_write_on(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    store.add(model(0), measurement(0))
    child = child_that_adds(store, 1)
    store.add(model(2), measurement(2))
    store.close()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [store.find(f"key-{n}", DEVICE) for n in range(3)] == [[measurement(n)] for n in range(3)]
    store.close()


def test_the_file_is_durable_and_marked_as_ours(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    with LatencyStore(path) as store:
        store.add(model(), measurement())
    assert path.read_bytes()[68:72] == b"LETI"
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()


def test_a_committed_write_forces_the_log_to_the_disk(tmp_path: Path) -> None:
    """Synchronous FULL: SQLite says 2."""
    from leti_opt.store import sqlite_file

    connection = sqlite_file.connect(tmp_path / "x.db")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (30_000,)
    connection.close()


def test_importing_the_store_loads_no_heavy_library() -> None:
    code = (
        "import sys, leti_opt.store\n"
        "print([name for name in ('pandas', 'pyarrow', 'alembic', 'tensorflow', 'nevergrad') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"


def test_an_interrupt_in_the_middle_of_adding_stores_nothing_and_the_store_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> int:
        insert_rows(*arguments)
        raise KeyboardInterrupt

    insert_rows = measurement_rows.insert_rows
    with LatencyStore(tmp_path / "latency.db") as store:
        store.add(model(0), measurement(0))
        with monkeypatch.context() as patched:
            patched.setattr(measurement_rows, "insert_rows", interrupted)
            with pytest.raises(KeyboardInterrupt):
                store.add(model(1), measurement(1))
        assert store.find("key-1", DEVICE) == []
        store.add(model(1), measurement(1))
        assert store.info().measurements == 2
