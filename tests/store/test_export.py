from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from leti_opt.device.measurement import Metric
from leti_opt.errors import EpochWarning, InvalidInputError, StoreError
from leti_opt.store import LatencyStore, paging, schema
from leti_opt.store.exchange import COLUMNS
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, NOON, alias, device, measurement, model


@pytest.fixture
def store() -> LatencyStore:
    opened = LatencyStore(":memory:")
    fill(opened)
    return opened


def fill(store: LatencyStore) -> None:
    for number in range(3):
        store.add(model(number), measurement(number), alias=alias(number), flops=10**12 + number)
    store.add(model(3), measurement(3, stable=False))
    store.add_failure('refused: "SLICE", op 7', stage="load", model=model(4), device=DEVICE, failed_at=NOON)


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


def test_a_table_of_many_pages_is_that_of_one(
    store: LatencyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4, 9):
        store.add_failure("no such layer", stage="build", alias=alias(number), failed_at=NOON)
    asked = {"include_unstable": True, "include_failures": True}
    for suffix in ("parquet", "csv"):
        store.export(tmp_path / f"whole.{suffix}", **asked)  # type: ignore[arg-type]
    whole = store.to_frame(**asked)  # type: ignore[arg-type]
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    assert store.export(tmp_path / "pages.parquet", **asked) == len(whole) == 10  # type: ignore[arg-type]
    assert parquet.ParquetFile(tmp_path / "pages.parquet").num_row_groups == 5
    store.export(tmp_path / "pages.csv", **asked)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(store.to_frame(**asked), whole)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(*(pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("pages", "whole")))
    assert (tmp_path / "pages.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_export_that_breaks_in_its_midst_leaves_the_old_file(
    store: LatencyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    store.export(path)
    before = path.read_bytes()
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    written = []

    def broken(writer: parquet.ParquetWriter, batch: object) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(batch)

    monkeypatch.setattr(parquet.ParquetWriter, "write_batch", broken)
    with pytest.raises(StoreError, match="No space left"):
        store.export(path)
    assert len(written) == 1
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["table.parquet"]


def test_figures_of_a_measurement_are_told_as_json_without_names(store: LatencyStore) -> None:
    told = "R58M123 says so in /home/ada/notes.txt"
    figures = (Metric("peak_memory", 1.5e6, "bytes", told), Metric("limit", math.inf, "°C", "/proc/self/status"))
    store.remember_uri("android:R58M123/gpu", DEVICE, EPOCH)
    store.add(model(9), replace(measurement(9), metrics=figures))
    plain = json.loads(store.to_frame()["metrics"].iloc[-1])
    assert plain == [vars(figure) for figure in figures]
    hidden = json.loads(store.exported()["metrics"].iloc[-1])
    assert hidden[0]["source"] == f"{store.pseudonyms().unit('R58M123')} says so in notes.txt"
    assert hidden[1] == plain[1]


def test_a_warning_names_the_line_that_asked(store: LatencyStore, tmp_path: Path) -> None:
    store.add(model(9), measurement(9, epoch=LATER_EPOCH))
    for ask in (store.to_frame, store.exported, lambda: store.export(tmp_path / "table.csv")):
        with pytest.warns(EpochWarning) as warned:
            ask()
        assert [one.filename for one in warned] == [__file__]


@pytest.mark.needs("postgresql")
def test_a_server_exports_the_same_as_a_file(store: LatencyStore, postgresql_url: str, tmp_path: Path) -> None:
    with LatencyStore(postgresql_url) as server:
        fill(server)
        asked = {"include_unstable": True, "include_failures": True}
        pd.testing.assert_frame_equal(server.to_frame(**asked), store.to_frame(**asked))  # type: ignore[arg-type]
        for suffix in ("parquet", "csv"):
            paths = [tmp_path / f"{name}.{suffix}" for name in ("server", "file")]
            assert [one.export(path, **asked) for one, path in zip((server, store), paths, strict=True)] == [5, 5]  # type: ignore[arg-type]
            assert paths[0].read_bytes() == paths[1].read_bytes()
