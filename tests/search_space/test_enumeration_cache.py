"""Enumerated cells kept on disk: whole, or computed again, among processes too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from leti_opt import NAS_BENCH_201, ArchitectureTable, SpaceDefinition, enumerate_architectures
from leti_opt.errors import TableCacheWarning
from leti_opt.search_space.table_cache import cache_file
from tests.search_space.spaces import OPERATIONS

pytestmark = pytest.mark.usefixtures("own_cache")


def test_presets_are_kept_with_their_hashes(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = enumerate_architectures(NAS_BENCH_201)
    path = cache_file(NAS_BENCH_201)
    assert path.is_relative_to(own_cache)
    assert ArchitectureTable.load(path) == first
    assert "graph_digests" not in vars(ArchitectureTable.load(path))
    hashes = first.graph_hashes
    monkeypatch.setattr("leti_opt.search_space.enumeration._enumerated", fail)
    monkeypatch.setattr(ArchitectureTable, "hashed", fail)
    second = enumerate_architectures(NAS_BENCH_201)
    assert second == first
    assert np.array_equal(second.graph_hashes, hashes)


def fail(*arguments: object) -> None:
    raise AssertionError("computed again")


def test_cells_of_a_fresh_table_have_its_hashes() -> None:
    table = enumerate_architectures(NAS_BENCH_201)
    assert table[77].graph_hash == table.graph_hashes[77]


def test_other_definitions_and_cache_off_keep_nothing(own_cache: Path) -> None:
    _ = enumerate_architectures(SpaceDefinition("own", OPERATIONS, 4)).graph_hashes
    _ = enumerate_architectures(NAS_BENCH_201, cache=False).graph_hashes
    assert not own_cache.exists()


@pytest.mark.parametrize("damage", [b"", b"no table", None])
def test_a_damaged_file_is_replaced(damage: bytes | None, own_cache: Path) -> None:
    first = enumerate_architectures(NAS_BENCH_201)
    _ = first.graph_hashes
    path = cache_file(NAS_BENCH_201)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole if damage is None else damage)
    with pytest.warns(TableCacheWarning, match="computed anew"):
        assert enumerate_architectures(NAS_BENCH_201) == first
    assert ArchitectureTable.load(path) == first


def test_a_file_damaged_between_table_and_hashes_is_replaced() -> None:
    table = enumerate_architectures(NAS_BENCH_201)
    path = cache_file(NAS_BENCH_201)
    path.write_bytes(b"no table")
    assert table[5].graph_hash == table.graph_hashes[5]
    assert np.array_equal(ArchitectureTable.load(path).graph_digests, table.graph_digests)


def test_a_folder_that_cannot_be_used_costs_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(TableCacheWarning, match="LETI_CACHE_DIR"):
        table = enumerate_architectures(NAS_BENCH_201)
    with pytest.warns(TableCacheWarning, match="LETI_CACHE_DIR"):
        assert len(table.graph_hashes) == 8764


def test_a_full_disk_costs_the_cache_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(TableCacheWarning, match="No space left"):
        table = enumerate_architectures(NAS_BENCH_201)
    assert len(table) == 8764
    assert not cache_file(NAS_BENCH_201).exists()


def test_the_user_is_not_warned_without_reason() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _ = enumerate_architectures(NAS_BENCH_201).graph_hashes
    assert not caught


def started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, env=os.environ
    )


def test_processes_at_once_compute_once(tmp_path: Path) -> None:
    code = f"""
        import os, time
        from pathlib import Path
        from leti_opt import ArchitectureTable, NAS_BENCH_201, enumerate_architectures
        from leti_opt.search_space import enumeration

        folder = Path({str(tmp_path)!r})

        def counted(name, compute):
            def inner(*arguments):
                (folder / f"{{name}}-{{os.getpid()}}").touch()
                time.sleep(1)
                return compute(*arguments)
            return inner

        enumeration._enumerated = counted("table", enumeration._enumerated)
        ArchitectureTable.hashed = counted("hashes", ArchitectureTable.hashed)
        (folder / f"ready-{{os.getpid()}}").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        table = enumerate_architectures(NAS_BENCH_201)
        print(len(table), table.graph_digests.tobytes().hex()[:64])
    """
    processes = [started(code) for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / "go").touch()
    printed = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(printed) == 1
    assert len(list(tmp_path.glob("table-*"))) == 1
    assert len(list(tmp_path.glob("hashes-*"))) == 1


def test_a_process_killed_while_it_writes_leaves_nothing_wrong(tmp_path: Path) -> None:
    code = f"""
        import os, signal
        from pathlib import Path
        from leti_opt import NAS_BENCH_201, enumerate_architectures

        def die(descriptor):
            Path({str(tmp_path / "reached")!r}).touch()
            os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = die
        enumerate_architectures(NAS_BENCH_201)
    """
    process = started(code)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "reached").exists()
    path = cache_file(NAS_BENCH_201)
    assert not path.exists()
    assert len(list(path.parent.glob("*.npz"))) == 1  # what it had begun to write
    table = enumerate_architectures(NAS_BENCH_201)
    assert ArchitectureTable.load(path) == table
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".lock", ".npz"]
