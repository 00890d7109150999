"""Importing tables: our exports and those of others, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.network.config import NetworkConfig
from leti_opt.store import LatencyStore, pseudonyms
from leti_opt.store.cells import cell_alias
from tests.store.samples import DEVICE, EPOCH, NOON, alias, device, measurement, model

SMALL = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
CELLS = ("0-1,1-2:maxpool3x3", "0-1,1-2:conv1x1-bn-relu", "0-1,1-2:conv3x3-bn-relu")


@pytest.fixture(autouse=True)
def key_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "leti_opt"


@pytest.fixture
def store() -> LatencyStore:
    return LatencyStore(":memory:")


def csv(tmp_path: Path, **columns: object) -> Path:
    path = tmp_path / "theirs.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_export_comes_back_with_its_figures_its_origin_and_its_source(
    store: LatencyStore, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out.{suffix}"
    with LatencyStore(":memory:") as other:
        for number in range(3):
            other.add(model(number), measurement(number), alias=alias(number), flops=7)
        other.add_failure("refused", stage="load", model=model(4), device=DEVICE, epoch=EPOCH, failed_at=NOON)
        other.export(path, include_failures=True)
    counts = store.import_data(path)
    assert (counts.measurements, counts.failures, counts.known) == (3, 1, 0)
    (found,) = store.find("key-1", DEVICE)
    assert found.source is not None
    assert found.source.startswith(f"out.{suffix} sha256:")
    assert found.batch.mean_ms == measurement(1).batch.mean_ms
    assert (found.device, found.status, found.metrics) == (DEVICE, "stable", measurement(1).metrics)
    assert store.resolve(alias(1)) == "key-1"
    assert [failure.reason for failure in store.failures("key-4")] == ["refused"]


def test_importing_again_under_another_name_or_where_it_came_from_adds_nothing(
    store: LatencyStore, tmp_path: Path
) -> None:
    store.add(model(0), measurement(0))
    store.export(tmp_path / "out.parquet")
    shutil.copy(tmp_path / "out.parquet", tmp_path / "copy.parquet")
    assert store.import_data(tmp_path / "out.parquet").known == 1
    with LatencyStore(":memory:") as other:
        assert other.import_data(tmp_path / "out.parquet").measurements == 1
        assert other.import_data(tmp_path / "copy.parquet").known == 1


def test_origins_are_not_mixed_unasked(store: LatencyStore, tmp_path: Path) -> None:
    with LatencyStore(":memory:") as other:
        other.add(model(0), measurement(0))
        other.add(model(0), measurement(0, identity=device("simulated")))
        other.export(tmp_path / "out.csv", origin="any")
    with pytest.raises(InvalidInputError, match="measured and simulated"):
        store.import_data(tmp_path / "out.csv")
    assert store.import_data(tmp_path / "out.csv", origin="simulated").measurements == 1
    assert [summary.origin for summary in store.info().devices] == ["simulated"]


def test_a_changed_device_in_an_export_is_refused(store: LatencyStore, tmp_path: Path) -> None:
    with LatencyStore(":memory:") as other:
        other.add(model(0), measurement(0, identity=device("simulated")))
        other.export(tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    (tmp_path / "out.csv").write_text(text.replace(",simulated,", ",measured,"))
    with pytest.raises(InvalidInputError, match="row 1: its device does not have the digest"):
        store.import_data(tmp_path / "out.csv")
    assert store.info().models == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.drop(columns="warmup_runs"), "row 1: it lacks the column 'warmup_runs'"),
        (lambda rows: rows.assign(mean_ms=1000 * rows["mean_ms"]), "is one in another unit"),
        (lambda rows: rows.assign(metrics="{cut"), "row 1: '{cut' is no JSON"),
    ],
)
def test_an_export_that_somebody_edited_is_refused_with_the_fault(
    store: LatencyStore, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], words: str
) -> None:
    with LatencyStore(":memory:") as other:
        other.add(model(0), measurement(0))
        other.export(tmp_path / "out.parquet")
    change(pd.read_parquet(tmp_path / "out.parquet")).to_parquet(tmp_path / "out.parquet")
    with pytest.raises(InvalidInputError, match=words):
        store.import_data(tmp_path / "out.parquet")
    assert store.info().models == 0


def test_a_table_of_cells_by_others(store: LatencyStore, tmp_path: Path) -> None:
    path = csv(tmp_path, cell=CELLS, latency_us=[1500.0, 2500.0, 3500.0])
    counts = store.import_data(path, device="Pixel 3", network=SMALL)
    assert (counts.measurements, counts.networks) == (3, 3)
    assert store.import_data(path, device="Pixel 3", network=SMALL).known == 3
    key = store.resolve(cell_alias(Architecture.parse(CELLS[1]), SMALL))
    row = store.to_frame().set_index("model_key").loc[key]
    assert (row["mean_ms"], row["origin"], row["status"]) == (2.5, "imported", "unchecked")
    assert row["hardware"] == "Pixel 3"
    assert pd.isna(row["count"])
    assert store.network(SMALL.digest) == SMALL.settings


def test_runs_and_spread_make_a_row_checkable(store: LatencyStore, tmp_path: Path) -> None:
    path = csv(tmp_path, model_key=["a", "b"], mean_ms=[5.0, 6.0], std_ms=[0.1, 3.0], runs=[50, 50])
    store.import_data(path, device="phone")
    status = store.to_frame(include_unstable=True).set_index("model_key")["status"]
    assert dict(status) == {"a": "stable", "b": "unstable"}


def test_native_strings_and_matrices_and_known_hashes_name_the_same_networks(
    store: LatencyStore, tmp_path: Path
) -> None:
    native = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    config = NetworkConfig.nasbench201(cells_per_stack=1, input_shape=(8, 8, 3))
    store.import_data(csv(tmp_path, architecture=[native], latency_ms=[3.0]), device="a", network=config)
    cell = Architecture.parse(CELLS[2])
    matrix = csv(
        tmp_path, adjacency=[str(cell.adjacency.tolist())], operations=['["input","conv3x3-bn-relu","output"]'], t=[4]
    )
    store.import_data(matrix, device="b", network=SMALL, latency="t", unit="ms")
    store.import_data(csv(tmp_path, graph_hash=[cell.graph_hash], latency_ms=[5.0]), device="c")
    assert store.info().models == 2
    assert len(store.to_frame()) == 3


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"cell": CELLS[:1], "latency": [3.0]}, {"device": "p", "network": SMALL}, "unit of the column 'latency'"),
        ({"cell": CELLS[:1], "latency_ms": [3.0]}, {"network": SMALL}, "--device"),
        ({"cell": CELLS[:1], "latency_ms": [3.0]}, {"device": "p"}, "row 1: a cell needs to be laid out"),
        (
            {"cell": CELLS[:1], "latency_ms": [3.0]},
            {"device": "p", "network": SMALL, "unit": "us"},
            "in ms by its name",
        ),
        ({"cell": CELLS[:1], "latency_ms": [3.0], "mean_ms": [3.0]}, {"device": "p", "network": SMALL}, "several"),
        ({"cell": CELLS[:1], "median_ms": [3.0]}, {"device": "p", "network": SMALL}, "which column"),
        ({"speed": [1], "latency_ms": [3.0]}, {"device": "p"}, "which network"),
        ({"model_key": ["a"], "latency_ms": [5e-5]}, {"device": "p"}, "they look like s"),
        ({"model_key": ["a"], "latency_s": [3800.0]}, {"device": "p"}, "they look like ms"),
        ({"model_key": ["a"], "latency": [3.0]}, {"device": "p", "unit": "minutes"}, "unknown unit"),
        ({"model_key": ["a", "b"], "latency_ms": [1.0, "n/a"]}, {"device": "p"}, r"row 2: latency_ms is 'n/a'"),
        ({"model_key": ["a", "b"], "latency_ms": [-1.0, 2.0]}, {"device": "p"}, "row 1: latency_ms is -1"),
        ({"model_key": ["a"], "latency_ms": ["nan"]}, {"device": "p"}, "no finite number"),
        ({"model_key": list("abcde"), "latency_ms": [0] * 5}, {"device": "p"}, r"rows 1, 2, 3 and 2 more: .* is 0$"),
        (
            {"model_key": ["a"], "latency_ms": [3.0], "max_us": [3.5]},
            {"device": "p"},
            "its mean, 3 ms, is above its max, 0.0035 ms; is one in another unit",
        ),
    ],
)
def test_what_does_not_say_enough_or_cannot_be_true_is_refused_whole(
    store: LatencyStore, tmp_path: Path, columns: dict[str, object], options: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        store.import_data(csv(tmp_path, **columns), **options)  # type: ignore[arg-type]
    assert store.info().models == 0


def test_files_that_are_no_tables_are_refused(store: LatencyStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        store.import_data(tmp_path / "absent.csv")
    (tmp_path / "broken.parquet").write_text("no table")
    (tmp_path / "empty.csv").write_text("")
    for name in ("broken.parquet", "empty.csv"):
        with pytest.raises(InvalidInputError, match=name):
            store.import_data(tmp_path / name)


def test_no_serial_host_or_folder_is_in_an_exported_file(
    store: LatencyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leti_opt.device.device import DeviceEpoch

    monkeypatch.setattr("platform.node", lambda: "adas-laptop")
    epoch = DeviceEpoch("build on adas-laptop", "", "R58M123XYZ")
    store.add(model(0), measurement(0, epoch=epoch))
    store.remember_uri("android:192.168.7.5:5555/gpu", DEVICE, epoch)
    reason = "R58M123XYZ at android:192.168.7.5:5555: cannot read /home/ada/secret/net.tflite"
    store.add_failure(reason, stage="run", model=model(1), device=DEVICE, epoch=epoch, failed_at=NOON)
    for name in ("out.csv", "out.parquet"):
        store.export(tmp_path / name, include_failures=True)
        text = (tmp_path / name).read_bytes()
        for secret in (b"R58M123XYZ", b"adas-laptop", b"192.168.7.5", b"/home/ada", b"secret", epoch.digest.encode()):
            assert secret not in text
        assert b"net.tflite" in text
    rows = pd.read_csv(tmp_path / "out.csv")
    assert rows["unit"].nunique() == 1
    assert rows["unit"].iloc[0].startswith("unit-")


def test_the_key_is_made_once_is_the_users_alone_and_decides_the_pseudonym(key_folder: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonyms.load_key(key_folder), range(8)))
    assert len(keys) == 1
    assert (key_folder / "pseudonym.key").stat().st_mode & 0o777 == 0o600
    other = pseudonyms.load_key(tmp_path / "other")
    names = [pseudonyms.Pseudonyms(key).unit("R58") for key in (*keys, *keys, other)]
    assert names[0] == names[1] != names[2]


def test_measured_is_refused_where_nothing_was_measured(store: LatencyStore, tmp_path: Path) -> None:
    store.add(model(0), measurement(0, identity=device("replayed")))
    with pytest.raises(InvalidInputError, match=r"no measured figures.*1 replayed"):
        store.export(tmp_path / "out.csv", origin="measured")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("cannot read /home/ada lovelace/nets/big.tflite", "cannot read big.tflite"),
        ("cannot read /home/ada lovelace/big.tflite", "cannot read ~/big.tflite"),
        ("models/client/big.tflite is damaged", "big.tflite is damaged"),
        ("read from /proc/self/status", "read from /proc/self/status"),
        ("3/4 of the operators; 0.5 ms/run", "3/4 of the operators; 0.5 ms/run"),
    ],
)
def test_folders_do_not_leave_this_machine(said: str, safe: str) -> None:
    assert pseudonyms.Pseudonyms(b"key", folders=[Path("/home/ada lovelace")]).text(said) == safe
