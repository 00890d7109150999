from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from leti_opt.errors import InvalidInputError
from leti_opt.store import LatencyStore, schema
from leti_opt.store.exchange import COLUMNS
from tests.store.samples import DEVICE, NOON, alias, device, measurement, model


@pytest.fixture
def store() -> LatencyStore:
    opened = LatencyStore(":memory:")
    for number in range(3):
        opened.add(model(number), measurement(number), alias=alias(number), flops=10**12 + number)
    opened.add(model(3), measurement(3, stable=False))
    opened.add_failure('refused: "SLICE", op 7', stage="load", model=model(4), device=DEVICE, failed_at=NOON)
    return opened


def test_parquet_holds_exactly_the_frame(store: LatencyStore, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert store.export(path, include_failures=True) == 4
    read = pd.read_parquet(path)
    pd.testing.assert_frame_equal(read, store.exported(include_failures=True))
    hidden = ["unit", "epoch_digest"]
    pd.testing.assert_frame_equal(read.drop(columns=hidden), store.to_frame(include_failures=True).drop(columns=hidden))
    assert list(read.columns) == list(COLUMNS)
    assert parquet.read_schema(path).metadata[b"leti_opt_schema"] == schema.HEAD.encode()


def test_csv_holds_the_figures_to_the_last_digit(store: LatencyStore, tmp_path: Path) -> None:
    path = tmp_path / "table.CSV"
    assert store.export(path, include_failures=True) == 4
    read = pd.read_csv(path)
    frame = store.to_frame(include_failures=True)
    assert list(read["mean_ms"].dropna()) == list(frame["mean_ms"].dropna())
    assert list(read["flops"].dropna().astype(int)) == [10**12, 10**12 + 1, 10**12 + 2]
    assert read["failure_reason"].iloc[-1] == 'refused: "SLICE", op 7'


def test_unstable_rows_are_exported_only_when_asked_for(store: LatencyStore, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert store.export(path) == 3
    assert set(pd.read_parquet(path)["status"]) == {"stable"}
    assert store.export(path, include_unstable=True) == 4
    assert set(pd.read_parquet(path)["status"]) == {"stable", "unstable"}


def test_a_mixture_of_origins_is_not_written_unasked_and_the_old_file_stays(
    store: LatencyStore, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    store.export(path)
    before = path.read_bytes()
    store.add(model(9), measurement(9, identity=device("replayed")))
    with pytest.raises(InvalidInputError, match="measured and replayed"):
        store.export(path)
    assert path.read_bytes() == before
    assert store.export(path, origin="any") == 4
    assert store.export(path, origin="replayed") == 1
    assert os.listdir(tmp_path) == ["table.csv"]


def test_an_empty_store_exports_a_table_with_the_same_types(store: LatencyStore, tmp_path: Path) -> None:
    with LatencyStore(":memory:") as empty:
        assert empty.export(tmp_path / "empty.parquet") == 0
    store.export(tmp_path / "full.parquet")
    types = [parquet.read_schema(tmp_path / name).types for name in ("empty.parquet", "full.parquet")]
    assert types[0] == types[1]
