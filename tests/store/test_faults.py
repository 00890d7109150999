"""Every file that is no store of ours, and every way in which a disk fails: a clear error, and nothing is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leti_opt.errors import (
    CorruptStoreError,
    ForeignStoreError,
    InvalidInputError,
    StoreError,
    StoreVersionError,
)
from leti_opt.store import LatencyStore, sqlite_file
from tests.store.make_version_file import VERSIONS
from tests.store.samples import DEVICE, alias, measurement, model

ROOT = Path(__file__).parents[2]


def filled(path: Path, count: int = 30) -> Path:
    with LatencyStore(path) as store:
        for number in range(count):
            store.add(model(number), measurement(number, runs=100), alias=alias(number))
    return path


@contextmanager
def untouched(path: Path) -> Iterator[None]:
    """The file stays as it is to the byte, and nothing appears or stays beside it."""
    before = path.read_bytes(), sorted(os.listdir(path.parent))
    yield
    assert (path.read_bytes(), sorted(os.listdir(path.parent))) == before


def foreign_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE measurements (id INTEGER)")
        connection.commit()


def foreign_sqlite_in_wal_mode(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA application_id = 7")
        connection.execute("CREATE TABLE notes (id INTEGER)")
        connection.commit()


def ours_without_a_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {sqlite_file.APPLICATION_ID}")
        connection.execute("CREATE TABLE notes (id INTEGER)")
        connection.commit()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(b"x"), "not an SQLite file"),
        (lambda path: path.write_text("hash,latency\n" * 100), "not an SQLite file"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(400)), "another program"),
        (foreign_sqlite, "another program"),
        (foreign_sqlite_in_wal_mode, "another program"),
        (ours_without_a_version, "no schema version"),
    ],
)
def test_a_file_that_is_no_store_is_refused_and_left_as_it_was(tmp_path: Path, make: object, words: str) -> None:
    path = tmp_path / "other.db"
    make(path)
    with untouched(path), pytest.raises(ForeignStoreError, match=words):
        LatencyStore(path)


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is a folder.*latency\.db"):
        LatencyStore(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="no regular file"):
        LatencyStore(tmp_path / "pipe")
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"mkdir -p .*/no/where"):
        LatencyStore(tmp_path / "no" / "where" / "latency.db")
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        LatencyStore(tmp_path / "file" / "latency.db")


@pytest.mark.parametrize(
    "url", ["postgresql:/host/db", "mysql://x", "http://x/latency.db", "sqlite://relative.db", "", "a\0b"]
)
def test_other_kinds_of_store_are_refused(url: str) -> None:
    with pytest.raises(StoreError):
        LatencyStore(url)


def test_another_database_is_told_what_can_be_a_store_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"'mysql://host/db'.*only SQLite files and PostgreSQL") as raised:
        LatencyStore("mysql://ada:secret@host/db")
    assert "secret" not in str(raised.value)


def test_a_read_only_file_is_refused_even_to_root(tmp_path: Path) -> None:
    path = filled(tmp_path / "latency.db", 1)
    path.chmod(0o444)
    with untouched(path), pytest.raises(StoreError, match="read-only; run: chmod"):
        LatencyStore(path)


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder_is_refused_even_to_root(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    if exists:
        filled(folder / "latency.db", 1)
    before = sorted(os.listdir(folder))
    folder.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="read-only"):
            LatencyStore(folder / "latency.db")
    finally:
        folder.chmod(0o755)
    assert sorted(os.listdir(folder)) == before


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path / "latency.db", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with untouched(path), pytest.raises(StoreVersionError, match=r"9999.*pip install --upgrade"):
        LatencyStore(path)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 50),
        lambda path: os.truncate(path, 4096),
        lambda path: os.truncate(path, path.stat().st_size - 5000),
        lambda path: overwrite(path, 0, b"garbage garbage "),
        lambda path: overwrite(path, 100, bytes(range(256)) * 15),
        lambda path: overwrite(path, 4096, bytes(path.stat().st_size - 4096)),
        lambda path: overwrite(path, 4096, b"\xff" * (path.stat().st_size - 4096)),
        lambda path: overwrite(path, 4096 * 3, b"\x13\x37" * 2048),
    ],
    ids=["in the header", "first page left", "end lost", "magic", "first page", "zeros", "ones", "one page"],
)
def test_a_damaged_store_is_named_so_and_left_as_it_was(tmp_path: Path, damage: object) -> None:
    path = filled(tmp_path / "latency.db")
    damage(path)
    with untouched(path), pytest.raises(CorruptStoreError, match="restore a copy"):
        LatencyStore(path)


def test_damaged_run_times_are_not_served(tmp_path: Path) -> None:
    path = filled(tmp_path / "latency.db", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE attempts SET runs = x'00112233' WHERE runs IS NOT NULL")
        connection.commit()
    with LatencyStore(path) as store, pytest.raises(CorruptStoreError, match="run times"):
        store.find("key-0", DEVICE)


def test_a_log_left_by_a_deleted_store_is_not_played_into_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    log = tmp_path / "latency.db-wal"
    log.write_bytes(b"frames of another life")
    with untouched(log), pytest.raises(StoreError, match="left over"):
        LatencyStore(path)


def limit_pages(monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    """A disk that is full when the database has grown to so many pages."""
    plain = sqlite_file.connect

    def connect(path: Path | None) -> sqlite3.Connection:
        connection = plain(path)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    monkeypatch.setattr(sqlite_file, "connect", connect)


def add_until_it_fails(store: LatencyStore, stored: list[int]) -> None:
    for number in range(1000):
        store.add(model(number), measurement(number, runs=300), alias=alias(number))
        stored.append(number)


def test_a_full_disk_is_a_clear_error_and_keeps_every_earlier_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_pages(monkeypatch, 120)
    stored: list[int] = []
    with LatencyStore(tmp_path / "latency.db") as store:
        with pytest.raises(StoreError, match=r"full; everything stored before is kept"):
            add_until_it_fails(store, stored)
        assert 10 < len(stored) < 1000
        failed = len(stored)
        assert store.find(f"key-{failed}", DEVICE) == []
        assert store.resolve(alias(failed)) is None
    monkeypatch.undo()
    with LatencyStore(tmp_path / "latency.db") as store:
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=300)] for n in stored)
        store.add(model(failed), measurement(failed))
        assert store.info().measurements == failed + 1


def test_a_disk_too_full_for_a_new_store_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_pages(monkeypatch, 3)
    with pytest.raises(StoreError, match="full"):
        LatencyStore(tmp_path / "latency.db")
    assert os.listdir(tmp_path) == []


FILL_A_DISK = """
import sys
from leti_opt.errors import StoreError
from leti_opt.store import LatencyStore
from tests.store.samples import measurement, model
store = LatencyStore(sys.argv[1])
for number in range(1000):
    try:
        store.add(model(number), measurement(number, runs=300))
    except StoreError as error:
        print(number, error)
        break
    if number == 5:
        store.close()
"""


def test_a_disk_that_is_really_full_keeps_every_row_that_was_added(tmp_path: Path) -> None:
    """A small file system of its own, in a mount namespace that ends with the process."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    script = 'mount -t tmpfs -o size=800k leti "$1" && "$2" -c "$3" "$1/latency.db"; cp "$1"/latency.db* "$4"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(disk), sys.executable, FILL_A_DISK, str(kept)]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is missing")
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip(f"no file system of one's own: {result.stderr.splitlines()[0]}")
    assert "full" in result.stdout, result.stderr
    added = int(result.stdout.split()[0])
    assert added > 5
    with LatencyStore(kept / "latency.db") as store:
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=300)] for n in range(added))
        assert store.info().measurements == added


READ_FROM_MEDIA = """
import sys
from leti_opt.errors import StoreError
from leti_opt.store import LatencyStore
from tests.store.samples import DEVICE, measurement, model
with LatencyStore(sys.argv[1]) as store, LatencyStore(":memory:") as other:
    assert store.find("key-0", DEVICE) == [measurement(0, runs=100)]
    assert store.info().measurements == len(store.to_frame()) == 30
    assert other.merge(sys.argv[1]).measurements == 30
    try:
        store.add(model(99), measurement(99))
    except StoreError as error:
        print("refused:", error)
    assert store.find("key-99", DEVICE) == []
"""


@pytest.mark.parametrize("content", ["closed", "with a log", "older"])
def test_a_store_on_read_only_media_is_read(tmp_path: Path, content: str) -> None:
    """A file system of its own, mounted read-only, in a mount namespace that ends with the process."""
    path = filled(tmp_path / "latency.db")
    if content == "with a log":
        Path(f"{path}-wal").write_bytes(b"frames that nobody played back")
    if content == "older":
        shutil.copy(VERSIONS / "0001.db", path)
    (tmp_path / "disk").mkdir()
    script = (
        'mount -t tmpfs leti "$1/disk" && cp "$1"/latency.db* "$1/disk" && mount -o remount,ro "$1/disk" '
        '&& "$2" -c "$3" "$1/disk/latency.db" && ls "$1/disk"'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable, READ_FROM_MEDIA]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is missing")
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip(f"no file system of one's own: {result.stderr.splitlines()[0]}")
    if content == "closed":
        assert result.returncode == 0, result.stderr
        refused, listed = result.stdout.splitlines()
        assert "cannot be written" in refused
        assert listed == "latency.db"
    else:
        assert {"with a log": "in use; run: cp", "older": "earlier version and on read-only"}[content] in result.stderr


def test_a_store_that_stays_locked_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "latency.db", 1)
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.1)
    with LatencyStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another process"):
            store.add(model(1), measurement(1))
        assert store.find("key-0", DEVICE) == [measurement(0, runs=100)]
        other.execute("ROLLBACK")
        store.add(model(1), measurement(1))
        assert store.find("key-1", DEVICE) == [measurement(1)]


def test_export_refuses_what_it_cannot_write_and_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with LatencyStore(tmp_path / "latency.csv") as store:
        for wrong in ("table.xlsx", "table", "latency.csv"):
            with pytest.raises(InvalidInputError):
                store.export(tmp_path / wrong)
        for wrong in ("no/where.csv", "folder.csv"):
            with pytest.raises(StoreError):
                store.export(tmp_path / wrong)
        assert store.info().measurements == 0
    assert sorted(os.listdir(tmp_path)) == ["folder.csv", "latency.csv"]
