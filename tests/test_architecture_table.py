"""Tables of cells: rows and columns, selection, files."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt import Architecture, ArchitectureTable, table_files
from leti_opt.edge_bits import pack_edges, unpack_edges, words_for
from leti_opt.errors import InvalidInputError, NotFoundError, TableFileError
from tests.reference.canonical import canonical_cell, edge_bits
from tests.reference.strategies import cells, label_indices

LABELS = ("conv", "pool", "skip")
TEXTS = [
    "0-1:",
    "0-1,1-2:maxpool3x3",
    "0-1,0-2,1-2:conv1x1-bn-relu",
    "0-1,1-2,2-3,0-3:conv3x3-bn-relu,maxpool3x3",
    "0-1,1-2:maxpool3x3",
]
SUFFIXES = [".npz", ".parquet"]


@pytest.fixture
def table() -> ArchitectureTable:
    return ArchitectureTable.from_architectures(map(Architecture.parse, TEXTS))


@settings(max_examples=60, deadline=None)
@given(st.lists(cells(labels=LABELS, max_vertices=10), max_size=8))
def test_rows_are_the_canonical_cells(drawn: list[Architecture]) -> None:
    table = ArchitectureTable.from_architectures(drawn, LABELS)
    assert len(table) == len(drawn)
    assert [str(cell) for cell in table] == [str(cell.canonical()) for cell in drawn]
    for row, cell in enumerate(drawn):
        taken = table[row]
        assert taken == cell
        assert taken.canonical() is taken


@settings(max_examples=40, deadline=None)
@given(cells(labels=LABELS, max_vertices=6))
def test_columns_are_as_documented(cell: Architecture) -> None:
    table = ArchitectureTable.from_architectures([cell])
    pruned = cell.pruned()
    matrix, labels = canonical_cell(pruned.adjacency.tolist(), label_indices(pruned))
    assert table.vertices.tolist() == [len(matrix)]
    assert table.edge_words.tolist() == [[edge_bits(matrix)]]
    assert table.operations.tolist() == [labels[1:-1]]
    assert table.edge_counts.tolist() == [len(cell.pruned().edges)]


@given(st.integers(2, 20), st.integers(0, 2**32 - 1))
def test_edges_of_any_size_can_be_packed(vertices: int, seed: int) -> None:
    adjacency = np.triu(np.random.RandomState(seed).rand(3, vertices, vertices) < 0.5, 1).astype(np.int8)
    words = pack_edges(adjacency)
    assert words.shape == (3, words_for(vertices))
    numbers = [sum(int(word) << 32 * place for place, word in enumerate(row)) for row in words]
    assert numbers == [edge_bits(matrix) for matrix in adjacency.tolist()]
    assert np.array_equal(unpack_edges(words, vertices), adjacency)


def test_selection(table: ArchitectureTable) -> None:
    assert str(table[-2]) == str(Architecture.parse(TEXTS[3]).canonical())
    assert [str(cell) for cell in table[1:3]] == TEXTS[1:3]
    assert [len(cell) for cell in table[::-1]] == [3, 4, 3, 3, 2]
    assert [str(cell) for cell in table[table.vertices == 3]] == [TEXTS[1], TEXTS[2], TEXTS[4]]
    assert [str(cell) for cell in table[[2, 0, 2]]] == [TEXTS[2], TEXTS[0], TEXTS[2]]
    assert str(table[np.int64(1)]) == TEXTS[1]
    assert len(table[[]]) == 0
    assert len(table[np.zeros(5, dtype=bool)]) == 0


@pytest.mark.parametrize("index", [5, -6, [5], [True]])
def test_rows_that_are_not_there_are_index_errors(table: ArchitectureTable, index: object) -> None:
    with pytest.raises(IndexError):
        table[index]  # type: ignore[call-overload]


@pytest.mark.parametrize("index", ["0", 1.5, [[0]], True])
def test_what_is_no_row_is_refused(table: ArchitectureTable, index: object) -> None:
    with pytest.raises(InvalidInputError, match="mask or a list of rows"):
        table[index]  # type: ignore[call-overload]


def test_equality_looks_at_cells_labels_and_order(table: ArchitectureTable) -> None:
    assert table == ArchitectureTable.from_architectures(map(Architecture.parse, TEXTS))
    assert table[:3] != table
    assert table[::-1] != table
    # The same cells in columns made for larger ones.
    assert table[:1] == ArchitectureTable.from_architectures([Architecture.parse(TEXTS[0])])
    relabelled = Architecture([[0, 1], [0, 0]], ["input", "output"], LABELS)
    assert table[:1] != ArchitectureTable.from_architectures([relabelled])
    assert table != TEXTS


def test_arrays_cannot_be_written(table: ArchitectureTable) -> None:
    restored = pickle.loads(pickle.dumps(table))
    assert restored == table
    for one in (table, table[1:], restored):
        for column in (one.vertices, one.edge_words, one.operations, one.graph_digests, one.graph_hashes):
            assert not column.flags.writeable


def test_groups_have_all_cells(table: ArchitectureTable) -> None:
    seen = {}
    for group in table.by_vertices():
        for row, adjacency, operations in zip(group.rows, group.adjacency, group.operations, strict=True):
            names = ["input", *(table.labels[place] for place in operations), "output"]
            seen[int(row)] = str(Architecture(adjacency, names))
    assert [seen[row] for row in range(len(table))] == [str(cell) for cell in table]


def test_hashes_are_the_architectures_and_travel(table: ArchitectureTable) -> None:
    size = table.nbytes
    expected = [Architecture.parse(text).graph_hash for text in TEXTS]
    assert table.graph_hashes.dtype == np.dtype("<U32")
    assert table.graph_hashes.tolist() == expected
    assert [digest.tobytes().hex() for digest in table.graph_digests] == expected
    assert table.nbytes == size + 16 * len(table)
    # A cell and a selection know what the table knows.
    assert [vars(cell)["graph_hash"] for cell in table[1:]] == expected[1:]


def test_find(table: ArchitectureTable) -> None:
    for row in range(4):
        assert table.find(table[row].graph_hash) == row
    assert table[1:].find(table[4].graph_hash) == 0
    with pytest.raises(NotFoundError, match="no cell of this table"):
        table.find("0" * 32)
    with pytest.raises(NotFoundError):
        table[:0].find("0" * 32)
    with pytest.raises(InvalidInputError, match="32 digits"):
        table.find("6F")


def test_cells_of_other_labels_are_refused() -> None:
    other = Architecture([[0, 1], [0, 0]], ["input", "output"], LABELS)
    with pytest.raises(InvalidInputError, match="make a table of each"):
        ArchitectureTable.from_architectures([Architecture.parse("0-1:"), other])


COLUMNS = {
    "vertices": np.array([3], dtype=np.uint8),
    "edge_words": np.array([[0b101]], dtype=np.uint32),
    "operations": np.array([[1]], dtype=np.uint8),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": [3]}, "vertices must be an array of uint8"),
        ({"edge_words": np.array([5], dtype=np.uint32)}, "edge_words must be an array of uint32 with 2 dimensions"),
        ({"operations": np.zeros((2, 1), dtype=np.uint8)}, "operations has 2 rows"),
        ({"operations": np.zeros((1, 9), dtype=np.uint8)}, "11 vertices need 2 words"),
        ({"vertices": np.array([9], dtype=np.uint8)}, "row 0 has 9 vertices"),
        ({"vertices": np.array([1], dtype=np.uint8)}, "row 0 has 1 vertices"),
        ({"edge_words": np.array([[0b001]], dtype=np.uint32)}, "on no path"),
        ({"edge_words": np.array([[0b1101]], dtype=np.uint32)}, "edges beyond its 3 vertices"),
        ({"edge_words": np.array([[0b101, 1]], dtype=np.uint32)}, "edges beyond its 3 vertices"),
        ({"operations": np.array([[3]], dtype=np.uint8)}, "no position in the 3 labels"),
        ({"operations": np.array([[1, 0]], dtype=np.uint8)}, "an operation beyond its 3 vertices"),
        ({"labels": ("a", "a")}, "repeat a name"),
        ({"labels": tuple(f"op{number}" for number in range(256))}, "a table holds up to 255"),
    ],
)
def test_columns_that_are_no_cells_are_refused(changes: dict[str, object], message: str) -> None:
    ArchitectureTable(**COLUMNS)
    with pytest.raises(InvalidInputError, match=message):
        ArchitectureTable(**{**COLUMNS, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=15, deadline=None)
@given(drawn=st.lists(cells(labels=LABELS, max_vertices=10), max_size=6))
def test_files_bring_back_the_table(
    suffix: str, drawn: list[Architecture], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = ArchitectureTable.from_architectures(drawn, LABELS)
    path = tmp_path_factory.mktemp("tables") / f"table{suffix}"
    table.save(path)
    loaded = ArchitectureTable.load(path)
    assert loaded == table
    assert loaded.graph_hashes.tolist() == [cell.graph_hash for cell in drawn]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_carries_known_hashes(table: ArchitectureTable, suffix: str, tmp_path: Path) -> None:
    known = table.graph_digests
    table.save(tmp_path / f"table{suffix}")
    loaded = ArchitectureTable.load(tmp_path / f"table{suffix}")
    assert np.array_equal(vars(loaded)["graph_digests"], known)


def test_npz_without_hashes_computes_none(table: ArchitectureTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.npz")
    assert "graph_digests" not in vars(ArchitectureTable.load(tmp_path / "table.npz"))


def test_parquet_is_readable_by_other_tools(table: ArchitectureTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.parquet")
    frame = pd.read_parquet(tmp_path / "table.parquet")
    assert list(frame.columns) == ["graph_hash", "vertices", "edges", "operations"]
    texts = [f"{row.edges}:{row.operations}" for row in frame.astype(str).itertuples()]
    assert [Architecture.parse(text) for text in texts] == list(table)
    assert frame.graph_hash.tolist() == table.graph_hashes.tolist()
    assert frame.vertices.tolist() == table.vertices.tolist()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_changed_byte_is_noticed(table: ArchitectureTable, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"table{suffix}"
    table.save(path)
    whole = path.read_bytes()
    random = np.random.RandomState(0)
    noticed = 0
    for place in random.randint(len(whole), size=60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            assert ArchitectureTable.load(path) == table  # a byte that carries nothing
        except TableFileError:
            noticed += 1
    assert noticed > 10


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(
    table: ArchitectureTable, suffix: str, kept: float, tmp_path: Path
) -> None:
    path = tmp_path / f"table{suffix}"
    table.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(TableFileError, match="save the table again"):
        ArchitectureTable.load(path)


def test_a_changed_value_is_noticed(table: ArchitectureTable, tmp_path: Path) -> None:
    table.save(tmp_path / "table.npz")
    with np.load(tmp_path / "table.npz") as file:
        arrays = dict(file)
    arrays["operations"] = arrays["operations"].copy()
    arrays["operations"][1, 0] ^= 1
    np.savez(tmp_path / "table.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(TableFileError, match="was changed since"):
        ArchitectureTable.load(tmp_path / "table.npz")


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "foreign.npz", vertices=np.arange(3))
    pd.DataFrame({"vertices": [1]}).to_parquet(tmp_path / "foreign.parquet")
    for suffix in SUFFIXES:
        with pytest.raises(TableFileError, match="not a table of cells that leti_opt saved"):
            ArchitectureTable.load(tmp_path / f"foreign{suffix}")
        with pytest.raises(TableFileError, match="there is no file"):
            ArchitectureTable.load(tmp_path / f"missing{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_a_newer_format_are_refused(
    table: ArchitectureTable, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"table{suffix}"
    table.save(path)
    monkeypatch.setattr(table_files, "FORMAT_VERSION", 0)
    with pytest.raises(TableFileError, match="update leti_opt"):
        ArchitectureTable.load(path)


def test_another_suffix_is_refused(table: ArchitectureTable, tmp_path: Path) -> None:
    for call in (table.save, ArchitectureTable.load):
        with pytest.raises(InvalidInputError, match=r"\.npz or \.parquet"):
            call(tmp_path / "table.csv")


def test_a_folder_that_is_not_there_is_said(table: ArchitectureTable, tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match="cannot write"):
        table.save(tmp_path / "nowhere" / "table.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_process_killed_while_it_saves_leaves_the_old_file(
    table: ArchitectureTable, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"table{suffix}"
    table.save(path)
    code = f"""
        import os, signal
        from pathlib import Path
        from leti_opt import Architecture, ArchitectureTable, table_files

        def die(descriptor):
            Path({str(tmp_path / "reached")!r}).write_text("written, not yet in place")
            os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = die
        ArchitectureTable.from_architectures([Architecture.parse("0-1:")]).save({str(path)!r})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "reached").exists()
    assert ArchitectureTable.load(path) == table
