"""Hashes of many cells at once: the same as one after the other."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import bulk_hash
from leti_opt.architecture import Architecture
from leti_opt.bulk_hash import bulk_graph_digests
from leti_opt.bulk_md5 import md5_digests
from tests.reference.graph_hash import graph_hash
from tests.reference.strategies import cells, label_indices

LABELS = ("conv", "pool", "skip", "dense")


@given(st.integers(0, 300), st.integers(1, 5), st.randoms(use_true_random=False))
def test_md5_is_hashlibs(length: int, count: int, random: object) -> None:
    texts = [random.randbytes(length) for _ in range(count)]  # type: ignore[attr-defined]
    messages = np.frombuffer(b"".join(texts), dtype=np.uint8).reshape(count, length)
    expected = [hashlib.md5(text, usedforsecurity=False).digest() for text in texts]
    assert [digest.tobytes() for digest in md5_digests(messages)] == expected


@pytest.mark.parametrize("length", [55, 56, 63, 64, 119, 120])
def test_md5_at_the_ends_of_blocks(length: int) -> None:
    text = bytes(range(length))
    digest = md5_digests(np.frombuffer(text, dtype=np.uint8)[None])
    assert digest.tobytes() == hashlib.md5(text, usedforsecurity=False).digest()


def test_md5_of_no_messages_is_empty() -> None:
    assert md5_digests(np.empty((0, 7), dtype=np.uint8)).shape == (0, 16)


def hashes_of(architectures: list[Architecture], workers: int | None = None) -> list[str]:
    adjacency = np.stack([cell.adjacency for cell in architectures])
    operations = np.array([label_indices(cell)[1:-1] for cell in architectures], dtype=np.uint8)
    operations = operations.reshape(len(architectures), -1)
    return [digest.tobytes().hex() for digest in bulk_graph_digests(adjacency, operations, workers)]


def plain_hash(cell: Architecture) -> str:
    return graph_hash(cell.adjacency.tolist(), label_indices(cell))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bulk_hash_is_the_plain_one(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 9))
    strategy = cells(max_vertices=size, labels=LABELS).map(Architecture.pruned)
    drawn = data.draw(st.lists(strategy, min_size=1, max_size=12))
    for vertices in {len(cell) for cell in drawn}:
        alike = [cell for cell in drawn if len(cell) == vertices]
        assert hashes_of(alike) == [plain_hash(cell) for cell in alike]


def test_bulk_hash_of_a_cell_with_very_many_vertices_and_labels() -> None:
    vertices = 40
    labels = tuple(f"op{number}" for number in range(200))
    matrix = np.triu(np.random.RandomState(0).rand(vertices, vertices) < 0.4, 1)
    matrix |= np.eye(vertices, k=1, dtype=bool)
    names = [labels[5 * number] for number in range(vertices - 2)]
    cell = Architecture(matrix.astype(int), ["input", *names, "output"], labels)
    assert hashes_of([cell]) == [plain_hash(cell)]


def test_neighbours_with_equal_hashes_are_in_order() -> None:
    matrix = np.zeros((7, 7), dtype=int)
    matrix[0, 1:6] = matrix[1:6, 6] = 1
    cell = Architecture(matrix, ["input", *["pool"] * 4, "conv", "output"], LABELS)
    assert hashes_of([cell]) == [plain_hash(cell)]


def test_hashes_that_agree_in_their_first_half_are_ordered_by_the_second() -> None:
    hashes = bulk_hash._Hashes.room_for(4)
    hashes.halves[0], hashes.halves[1] = 7, [3, 1, 2, 1]
    columns = [np.array([0]), np.array([1]), np.array([2]), np.array([3])]
    assert [int(column[0]) for column in hashes.in_order(columns)] == [1, 3, 2, 0]


def test_parts_and_workers_do_not_change_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.RandomState(3)
    drawn = []
    for _ in range(50):
        matrix = np.triu(rng.rand(6, 6) < 0.4, 1) | np.eye(6, k=1, dtype=bool)
        drawn.append(
            Architecture(matrix.astype(int), ["input", *[LABELS[k] for k in rng.randint(4, size=4)], "output"], LABELS)
        )
    expected = [plain_hash(cell) for cell in drawn]
    assert hashes_of(drawn, workers=1) == expected
    monkeypatch.setattr(bulk_hash, "_CHUNK", 7)
    monkeypatch.setattr(bulk_hash, "_MOST_VERTICES_AT_ONCE", 100)
    monkeypatch.setattr(bulk_hash, "_FEWEST_FOR_A_WORKER", 1)
    for workers in (1, 2, 3):
        assert hashes_of(drawn, workers) == expected


@pytest.mark.parametrize("way", ["-c", "file"])
def test_scripts_without_a_main_guard_hash_on_all_cores(way: str, tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import os, sys
        import numpy as np
        from leti_opt import bulk_hash
        print("begins")
        bulk_hash._FEWEST_FOR_A_WORKER = 1
        chain = np.array([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]] * 4, dtype=np.int8)
        digests = bulk_hash.bulk_graph_digests(chain, np.full((4, 1), 2, dtype=np.uint8), workers=2)
        print("joblib" in sys.modules, {digest.tobytes().hex() for digest in digests})
    """)
    script = tmp_path / "script.py"
    script.write_text(code)
    command = ["-c", code] if way == "-c" else [str(script)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["begins", "True {'53cee42601ad14d661bb6878031d6acb'}"]


def test_an_empty_list_has_no_hashes() -> None:
    none = bulk_graph_digests(np.empty((0, 3, 3), dtype=np.int8), np.empty((0, 1), dtype=np.uint8))
    assert none.shape == (0, 16)
