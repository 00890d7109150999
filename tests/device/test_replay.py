from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.replay import COLUMNS, Replay
from leti_opt.errors import InfeasibleError, InvalidDeviceUriError, StatisticUnavailableError
from tests.device.recordings import GALAXY, failed, recorded, write_recording


def network(key: str) -> MeasurableModel:
    return MeasurableModel(key=key, name=f"network {key}", renderer="none")


def test_it_answers_with_the_recorded_figures_and_invents_none(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r.parquet", [recorded("a", mean_ms=4.0, median_ms=3.9), recorded("b")])
    measurement = measure(open_device(f"replay:{path}"), network("a"))
    assert measurement.stable
    assert measurement.latency_ms() == 4.0
    assert measurement.latency_ms("median") == 3.9
    assert measurement.batch.count == 300
    assert measurement.batch.runs_ms is None
    assert measurement.first_run_ms is None
    assert measurement.initialization_ms is None
    with pytest.raises(StatisticUnavailableError):
        measurement.latency_ms("p95")


def test_it_says_that_it_replays(tmp_path: Path) -> None:
    identity = Replay(write_recording(tmp_path / "r.parquet", [recorded("a")])).identity
    assert identity.origin == "replayed"
    assert identity.name.endswith("[REPLAYED]")
    assert "Pixel 3+" in identity.name


def test_the_content_is_the_identity_and_not_the_path(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r.parquet", [recorded("a")])
    copy = Path(shutil.copy(path, tmp_path / "copy.parquet"))
    other = write_recording(tmp_path / "other.parquet", [recorded("a", mean_ms=2.1)])
    assert Replay(path).identity == Replay(copy).identity
    assert Replay(path).identity != Replay(other).identity


def test_a_path_that_no_uri_can_hold_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "what?.parquet", [recorded("a")])
    with pytest.raises(InvalidDeviceUriError, match="question mark"):
        Replay(path)


def test_its_uri_serves_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recording(tmp_path / "r.parquet", [recorded("a")])
    monkeypatch.chdir(tmp_path)
    device = open_device("replay:r.parquet")
    monkeypatch.chdir("/")
    assert open_device(device.uri).identity == device.identity


def test_a_recorded_unstable_network_is_unstable_again(tmp_path: Path) -> None:
    rows = [recorded("a", relative_std=0.5, status="unstable"), recorded("b")]
    measurement = measure(Replay(write_recording(tmp_path / "r.parquet", rows)), network("a"))
    assert not measurement.stable
    assert measurement.latency_ms() == 2.0


def test_a_recorded_failure_is_infeasible_with_its_reason(tmp_path: Path) -> None:
    device = Replay(write_recording(tmp_path / "r.parquet", [failed("a"), failed("b", reason=None), recorded("c")]))
    with pytest.raises(InfeasibleError, match=r"^out of memory$"):
        measure(device, network("a"))
    with pytest.raises(InfeasibleError, match="without a reason"):
        measure(device, network("b"))


def test_what_was_not_recorded_is_infeasible(tmp_path: Path) -> None:
    device = Replay(write_recording(tmp_path / "r.parquet", [recorded("a")]))
    with pytest.raises(InfeasibleError, match=r"network z is not in the recording r\.parquet"):
        measure(device, network("z"))


def test_of_several_rows_a_stable_one_counts_and_of_these_the_last(tmp_path: Path) -> None:
    rows = [
        failed("a"),
        recorded("a", mean_ms=1.0),
        recorded("a", mean_ms=2.0),
        recorded("a", mean_ms=9.0, relative_std=0.5, status="unstable"),
        failed("a"),
    ]
    device = Replay(write_recording(tmp_path / "r.parquet", rows))
    assert measure(device, network("a")).latency_ms() == 2.0


def test_it_needs_no_more_runs_than_were_recorded(tmp_path: Path) -> None:
    rows = [recorded("a", count=100), recorded("b", count=12, status="unstable")]
    device = Replay(write_recording(tmp_path / "r.parquet", rows))
    assert device.default_min_runs == 100
    assert measure(device, network("a")).stable
    assert not measure(device, network("b")).stable
    assert not measure(device, network("a"), MeasurementProtocol(min_runs=300)).stable


def test_one_of_several_devices_is_chosen_by_name(tmp_path: Path) -> None:
    rows = [recorded("a", mean_ms=1.0), recorded("a", mean_ms=5.0, **GALAXY)]
    path = write_recording(tmp_path / "r.parquet", rows)
    device = open_device(f"replay:{path}?device=Galaxy %26 co")
    assert measure(device, network("a")).latency_ms() == 5.0
    assert open_device(device.uri).identity == device.identity
    plain = open_device(f"replay:{path}?device=Pixel 3+")
    assert measure(plain, network("a")).latency_ms() == 1.0
    assert plain.identity != device.identity
    with pytest.raises(InvalidDeviceUriError, match=r"holds 2 devices; .*: Galaxy & co, Pixel 3\+"):
        Replay(path)
    with pytest.raises(InvalidDeviceUriError, match=r"'Pixel 4'; did you mean 'Pixel 3\+'"):
        Replay(path, "Pixel 4")


def test_identities_of_one_name_are_told_apart_by_their_digest(tmp_path: Path) -> None:
    rows = [recorded("a", mean_ms=1.0), recorded("a", mean_ms=5.0, device_digest="d3")]
    path = write_recording(tmp_path / "r.parquet", rows)
    for uri in (f"replay:{path}", f"replay:{path}?device=Pixel 3+"):
        with pytest.raises(InvalidDeviceUriError, match=r"holds 2 devices called Pixel 3\+; .*: d1, d3"):
            open_device(uri)
    device = open_device(f"replay:{path}?device=d3")
    assert measure(device, network("a")).latency_ms() == 5.0
    assert open_device(device.uri).identity == device.identity != open_device(f"replay:{path}?device=d1").identity


def test_names_suffice_in_a_file_without_digests(tmp_path: Path) -> None:
    rows = [recorded("a", mean_ms=1.0), recorded("a", mean_ms=5.0, **GALAXY)]
    path = write_recording(tmp_path / "r.parquet", rows, without=["device_digest"])
    assert measure(Replay(path, "Galaxy & co"), network("a")).latency_ms() == 5.0


def test_a_failure_without_a_device_goes_for_all(tmp_path: Path) -> None:
    rows = [recorded("a"), recorded("a", **GALAXY), failed("z", "cannot be built", device=None, device_digest=None)]
    device = Replay(write_recording(tmp_path / "r.parquet", rows), "Galaxy & co")
    with pytest.raises(InfeasibleError, match="cannot be built"):
        measure(device, network("z"))


def test_a_file_without_a_device_column_has_one_device(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r.parquet", [recorded("a")], without=["device", "device_digest"])
    assert measure(Replay(path), network("a")).stable
    with pytest.raises(InvalidDeviceUriError, match=r"leave out \?device="):
        Replay(path, "Pixel 3+")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_recording(tmp_path / "r.parquet", [recorded("a")], without=[column])
    with pytest.raises(InvalidDeviceUriError, match=f"lacks the columns {column};"):
        Replay(path)


def test_an_unknown_status_is_named(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r.parquet", [recorded("a", status="fine")])
    with pytest.raises(
        InvalidDeviceUriError, match="unknown status fine; known: stable, unchecked, unstable, infeasible"
    ):
        Replay(path)


def test_a_row_without_its_figure_is_refused(tmp_path: Path) -> None:
    device = Replay(write_recording(tmp_path / "r.parquet", [{**recorded("a"), "mean_ms": None}, recorded("b")]))
    with pytest.raises(InvalidDeviceUriError, match="lacks mean_ms"):
        measure(device, network("a"))


@pytest.mark.parametrize("absent", [None, float("nan")])
@pytest.mark.parametrize("names", [["count"], ["std_ms"], ["count", "std_ms"]])
@pytest.mark.parametrize("status", ["stable", "unchecked"])
def test_without_the_number_or_the_spread_of_runs_the_rule_is_not_checked(
    tmp_path: Path, names: list[str], status: str, absent: float | None
) -> None:
    row = {**recorded("a", mean_ms=4.0, status=status), **dict.fromkeys(names, absent)}
    path = write_recording(tmp_path / "r.parquet", [row, recorded("b")], count_type=pa.float64())
    measurement = measure(Replay(path), network("a"))
    assert measurement.status == "unchecked"
    assert len(measurement.attempts) == 1
    assert measurement.latency_ms() == 4.0
    assert measurement.batch.count == (None if "count" in names else 300)
    assert measurement.batch.std_ms == (None if "std_ms" in names else 0.04)


def test_a_recording_without_any_number_of_runs_can_be_opened(tmp_path: Path) -> None:
    device = Replay(write_recording(tmp_path / "r.parquet", [recorded("a", count=None)]))
    assert device.default_min_runs == 1
    assert measure(device, network("a")).status == "unchecked"


def test_what_was_recorded_as_unstable_is_not_served_because_its_spread_is_missing(tmp_path: Path) -> None:
    row = recorded("a", status="unstable", std_ms=None)
    device = Replay(write_recording(tmp_path / "r.parquet", [row, recorded("b")]))
    with pytest.raises(InfeasibleError, match="recorded as unstable, without the runs and the spread"):
        measure(device, network("a"))


def test_an_unchecked_row_counts_after_a_stable_and_before_an_unstable_one(tmp_path: Path) -> None:
    unchecked = {"status": "unchecked", "count": None, "std_ms": None}
    rows = [
        recorded("a", mean_ms=1.0),
        recorded("a", mean_ms=2.0, **unchecked),
        recorded("b", mean_ms=3.0, **unchecked),
        recorded("b", mean_ms=4.0, relative_std=0.5, status="unstable"),
    ]
    device = Replay(write_recording(tmp_path / "r.parquet", rows))
    assert measure(device, network("a")).latency_ms() == 1.0
    assert measure(device, network("b")).latency_ms() == 3.0


def test_a_file_that_is_no_parquet_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no parquet at all")
    for name, fault in [("text.parquet", "Parquet"), ("nothing.parquet", "there is no such file"), (".", "")]:
        with pytest.raises(InvalidDeviceUriError, match=f"cannot replay .*{fault}"):
            Replay(tmp_path / name)
