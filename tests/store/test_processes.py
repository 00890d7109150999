"""Processes that write at once, and processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from leti_opt.errors import StoreError
from leti_opt.store import LatencyStore, sqlite_file
from tests.store.samples import DEVICE, alias, measurement, model

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from leti_opt.store import LatencyStore
from tests.store.samples import alias, measurement, model
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.stdin.readline()
with LatencyStore(path) as store:
    for number in range(first, last):
        store.add(model(number), measurement(number, runs=50), alias=alias(number))
        print(number, flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def release(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def test_processes_that_create_and_write_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "latency.db"
    ranges = [(0, 30), (30, 60), (15, 45)]
    writers = [start(WRITER, path, *bounds) for bounds in ranges]
    release(writers)
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    assert os.listdir(tmp_path) == ["latency.db"]
    with LatencyStore(path) as store:
        assert store.info().measurements == 60
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=50)] for n in range(60))
        assert all(store.resolve(alias(n)) == f"key-{n}" for n in range(60))


def test_what_was_added_before_a_kill_is_there_and_complete(tmp_path: Path) -> None:
    """SIGKILL at random moments: each answered add is stored, none is stored in part, the store goes on."""
    path = tmp_path / "latency.db"
    moments = random.Random(1)
    answered: set[int] = set()
    for round_ in range(3):
        writer = start(WRITER, path, round_ * 10_000, round_ * 10_000 + 5_000)
        release([writer])
        assert writer.stdout is not None
        answered.add(int(writer.stdout.readline()))
        time.sleep(moments.uniform(0.01, 0.15))
        writer.send_signal(signal.SIGKILL)
        answered |= {int(line) for line in writer.stdout if line.endswith("\n")}
        assert writer.wait(timeout=30) == -signal.SIGKILL
        writer.stdin.close() if writer.stdin else None
        writer.stdout.close()
    assert len(answered) > 5
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        stored = {int(key.split("-")[1]) for (key,) in connection.execute("SELECT key FROM models")}
    with LatencyStore(path) as store:
        assert answered <= stored
        assert len(stored) <= len(answered) + 3
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n, runs=50)] for n in stored)


DIE_WHILE_CREATING = """
import os, signal, sys
from leti_opt.store import LatencyStore, sqlite_file
stage = sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if stage == "before the tables":
    from leti_opt.store import migrate
    migrate.upgrade = die
elif stage == "before it is in place":
    sqlite_file._place = die
else:
    sqlite_file._sync_folder = die
LatencyStore(sys.argv[1])
"""


@pytest.mark.parametrize("stage", ["before the tables", "before it is in place", "after it is in place"])
def test_a_kill_while_a_store_is_created_leaves_none_or_a_whole_one(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "latency.db"
    process = start(DIE_WHILE_CREATING, path, stage)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert path.exists() == (stage == "after it is in place")
    with LatencyStore(path) as store:
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE) == [measurement()]


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    path = tmp_path / "latency.db"
    calls = []

    def no_links(source: Path, target: Path) -> None:
        calls.append(source)
        if taken:
            monkeypatch.setattr(os, "link", real)
            with LatencyStore(path) as faster:
                faster.add(model(), measurement())
        raise PermissionError(1, "Operation not permitted")

    real = os.link
    monkeypatch.setattr(os, "link", no_links)
    with LatencyStore(path) as store:
        assert store.info().measurements == int(taken)
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE) == [measurement()]
    assert len(calls) == 1


def test_a_folder_that_vanishes_while_the_store_is_created_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: Path, target: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "link", gone)
    with pytest.raises(StoreError, match="cannot be created: No such file"):
        LatencyStore(tmp_path / "latency.db")
    assert os.listdir(tmp_path) == []


def test_threads_may_create_stores_at_once(tmp_path: Path) -> None:
    """Alembic runs one migration at a time in a process."""
    from concurrent.futures import ThreadPoolExecutor

    def make(number: int) -> int:
        with LatencyStore(tmp_path / f"{number % 3}.db") as store:
            store.add(model(number), measurement(number))
            return store.info().measurements

    with ThreadPoolExecutor(6) as pool:
        assert min(pool.map(make, range(6))) >= 1
    assert sorted(os.listdir(tmp_path)) == ["0.db", "1.db", "2.db"]
    assert sqlite_file.check(tmp_path / "0.db")
