"""One side of a comparison, read from a store or a file: which figures are taken, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from leti_opt.device.device import DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.report.column_source import ColumnSource
from leti_opt.report.comparison import compare
from leti_opt.report.comparison_source import read_column
from leti_opt.store import EpochLink, LatencyStore
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, NOON, alias, device, measurement, model

OTHER = replace(DEVICE, hardware="Ryzen")
NEWER_RUNTIME = replace(DEVICE, runtime="litert 2.4")


def sample(number: int, by: float = 1.0, **settings: Any) -> Measurement:
    """A measurement of a network whose mean is ``(number + 1) * by`` ms."""
    plain = measurement(number, **settings)
    runs = [(number + 1) * by * (1 + 0.001 * (place % 7 - 3)) for place in range(70)]
    return replace(plain, attempts=(RunBatch.from_runs(runs),), min_runs=70)


def filled(path: Path, measurements: Iterable[Measurement], network: str = "net") -> str:
    with LatencyStore(path) as store:
        for one in measurements:
            number = int(one.model_key.removeprefix("key-"))
            store.add(model(number), one, alias=alias(number, network))
    return str(path)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """One device, one epoch, five networks."""
    return filled(tmp_path / "latency.db", [sample(number, minutes=number) for number in range(5)])


@pytest.fixture
def two_devices(tmp_path: Path) -> str:
    first = [sample(number) for number in range(5)]
    second = [sample(number, 2.0, identity=OTHER, epoch=LATER_EPOCH) for number in range(4)]
    return filled(tmp_path / "two.db", first + second)


@pytest.fixture
def two_epochs(tmp_path: Path) -> str:
    first = [sample(number) for number in range(5)]
    second = [sample(number, 1.01, epoch=LATER_EPOCH, minutes=60 * 24 * 40) for number in range(3, 8)]
    return filled(tmp_path / "epochs.db", first + second)


def link(path: str, agrees: bool, days: int = 41, other: DeviceIdentity | None = None) -> None:
    second = EPOCH if other is not None else LATER_EPOCH
    moment = NOON + timedelta(days=days)
    with LatencyStore(path) as opened:
        opened.add_link(DEVICE, EpochLink(EPOCH, second, agrees, 1.01, 0.999, 20, moment, None, other))


# -- what is taken -----------------------------------------------------------------------------------------------


def test_a_store_with_one_device_needs_no_more_than_its_path(store: str) -> None:
    found = read_column(store)
    assert found.origin == "measured"
    assert found.name == f"{DEVICE.name} ({store})"
    assert found.latency_ms == pytest.approx({f"key-{number}": number + 1.0 for number in range(5)})
    assert found.labels["key-1"] == alias(1).cell
    assert found.cells["key-1"] == alias(1)
    assert found.notes == ()
    with LatencyStore(store) as opened:
        (kept,) = opened.find("key-2", DEVICE)
    assert found.error_ms["key-2"] == kept.batch.mean_error_ms


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".CSV"])
def test_an_export_reads_as_its_store_does(store: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"export{suffix}"
    with LatencyStore(store) as opened:
        opened.export(path)
    exported, plain = read_column(str(path)), read_column(store)
    assert exported.latency_ms == pytest.approx(plain.latency_ms)
    assert exported.error_ms == pytest.approx(plain.error_ms)
    assert (exported.labels, exported.cells, exported.origin) == (plain.labels, plain.cells, plain.origin)
    assert compare(exported, plain).ratio == pytest.approx(1)


def test_a_device_is_chosen_by_name_by_digest_and_by_the_uri_that_led_to_it(two_devices: str) -> None:
    with LatencyStore(two_devices) as opened:
        opened.remember_uri("replay:formula?noise=0.03&gflops_per_s=14.0", OTHER, LATER_EPOCH)
    uri = quote("replay:formula?gflops_per_s=14&noise=0.03", safe="")
    for name in (quote(OTHER.name, safe=""), OTHER.name, OTHER.digest, OTHER.digest[:8], OTHER.digest[:8].upper(), uri):
        found = read_column(f"{two_devices}?device={name}")
        assert found.latency_ms == pytest.approx({f"key-{number}": 2.0 * (number + 1) for number in range(4)})
        assert found.name.startswith("Ryzen")


def test_the_newest_measurement_that_holds_counts(tmp_path: Path) -> None:
    times = [sample(0, 2.0, minutes=5), sample(0, 1.0), sample(0, 3.0, minutes=9, stable=False), sample(1), sample(2)]
    found = read_column(filled(tmp_path / "again.db", times))
    assert found.latency_ms["key-0"] == pytest.approx(2.0)
    assert found.notes == (
        "1 unstable measurement left out",
        "1 older measurement of the same networks left out: the newest counts",
    )


def test_withdrawn_measurements_and_canaries_are_left_out(store: str) -> None:
    with LatencyStore(store) as opened:
        opened.suspect(DEVICE, EPOCH, since=NOON + timedelta(minutes=3), reason="canary left its band")
        opened.add(model(9), sample(9), role="canary")
    assert list(read_column(store).latency_ms) == ["key-0", "key-1", "key-2"]


def test_times_limit_what_is_taken_and_are_utc(store: str) -> None:
    keys = lambda query: [key[-1] for key in read_column(f"{store}?{query}").latency_ms]  # noqa: E731
    assert keys("since=2026-03-01") == keys("until=2026-03-01") == ["0", "1", "2", "3", "4"]
    assert keys("since=2026-03-01T12:02") == ["2", "3", "4"]
    assert keys("until=2026-03-01T12:02") == ["0", "1"]
    assert keys("since=2026-03-01T14:01%2B02:00&until=2026-03-01T12:03:00Z") == ["1", "2"]
    assert "since 2026-03-01 UTC" in read_column(f"{store}?since=2026-03-01").name


def test_a_day_in_until_includes_its_last_moment() -> None:
    until = ColumnSource.parse("a.db?until=2026-03-01").until
    assert until == datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)


def test_a_network_config_is_chosen_by_its_digest(tmp_path: Path) -> None:
    path = filled(tmp_path / "nets.db", [sample(number) for number in range(3)], "aaa111")
    filled(tmp_path / "nets.db", [sample(number) for number in range(3, 7)], "bbb222")
    assert len(read_column(path).latency_ms) == 7
    found = read_column(f"{path}?network=bbb")
    assert list(found.latency_ms) == ["key-3", "key-4", "key-5", "key-6"]
    assert "network bbb" in found.name


@pytest.mark.parametrize("statistic", ["median", "p95", "p5", "min", "max"])
def test_another_statistic_is_said_and_has_no_interval_of_the_mean(store: str, statistic: str) -> None:
    with LatencyStore(store) as opened:
        (kept,) = opened.find("key-2", DEVICE)
    for found in (read_column(f"{store}?statistic={statistic}"), read_column(store, statistic)):
        assert found.latency_ms["key-2"] == kept.batch.statistic(statistic)
        assert found.error_ms == {}
        assert found.name.endswith(f", {statistic})")


def test_networks_without_the_statistic_are_left_out_and_counted(tmp_path: Path) -> None:
    bare = replace(sample(4), attempts=(RunBatch(count=70, mean_ms=5.0, std_ms=0.1),))
    path = filled(tmp_path / "bare.db", [*(sample(number) for number in range(4)), bare])
    found = read_column(path, "median")
    assert len(found.latency_ms) == 4
    assert found.notes == ("1 measurement without median left out",)
    assert "key-4" in read_column(path).latency_ms
    assert "key-4" not in read_column(path).error_ms
    only = filled(tmp_path / "only.db", [bare])
    with pytest.raises(NotFoundError, match="no median of these runs, which the device does not reveal"):
        read_column(only, "median")


def test_samples_of_several_runs_are_said_where_it_matters(tmp_path: Path) -> None:
    short = replace(sample(0), attempts=(RunBatch.from_runs([0.01] * 70, 20),))
    path = filled(tmp_path / "short.db", [short, sample(1), sample(2)])
    assert read_column(path).notes == ()
    assert read_column(path, "p95").notes == ("1 figure whose p95 is one of samples of several runs",)


# -- devices and epochs ------------------------------------------------------------------------------------------


def test_several_devices_are_listed_with_what_to_write(two_devices: str) -> None:
    with pytest.raises(InvalidInputError, match="holds 2 devices; choose one") as refusal:
        read_column(two_devices)
    text = str(refusal.value)
    assert f"'{two_devices}?device={DEVICE.digest[:12]}'" in text
    assert f"{OTHER.digest[:12]} ({OTHER.name}, 4 measured figures)" in text


def test_a_device_that_is_not_there_is_refused_with_those_that_are(two_devices: str) -> None:
    with pytest.raises(NotFoundError, match=r"no device 'Pixel'; it has .*Xeon.*Ryzen"):
        read_column(f"{two_devices}?device=Pixel")


def test_devices_of_one_name_are_told_apart_by_digest(tmp_path: Path) -> None:
    path = filled(
        tmp_path / "same.db",
        [sample(number, identity=identity) for identity in (DEVICE, NEWER_RUNTIME) for number in range(3)],
    )
    with pytest.raises(InvalidInputError, match="2 devices of that name"):
        read_column(f"{path}?device={DEVICE.name}")
    names = [read_column(f"{path}?device={one.digest[:10]}").name for one in (DEVICE, NEWER_RUNTIME)]
    assert names[0] != names[1]
    assert DEVICE.digest[:12] in names[0]


def test_runtimes_that_a_panel_found_equal_go_together(tmp_path: Path) -> None:
    times = [sample(number) for number in range(3)] + [sample(number, identity=NEWER_RUNTIME) for number in (3, 4)]
    path = filled(tmp_path / "runtimes.db", times)
    link(path, agrees=True, other=NEWER_RUNTIME)
    found = read_column(path)
    assert len(found.latency_ms) == 5
    assert "2 runtimes of the device go together, because a panel showed that they agree" in found.notes


def test_several_epochs_are_listed_with_what_to_write(two_epochs: str) -> None:
    with pytest.raises(InvalidInputError, match="2 epochs of the device, and no panel has shown that they agree") as no:
        read_column(two_epochs)
    text = str(no.value)
    assert f"'{two_epochs}?epoch={EPOCH.digest[:12]}'" in text
    assert "epoch=any" in text
    assert f"{LATER_EPOCH.digest[:12]} (linux 6.2 unit-a, 5 figures, 2026-04-10 to 2026-04-10)" in text


def test_a_suggested_epoch_keeps_the_chosen_device(two_epochs: str) -> None:
    with pytest.raises(InvalidInputError, match=f"device={DEVICE.digest[:8]}&epoch="):
        read_column(f"{two_epochs}?device={DEVICE.digest[:8]}")


def test_an_epoch_is_chosen_or_all_are_mixed_on_purpose(two_epochs: str) -> None:
    first, second = (read_column(f"{two_epochs}?epoch={one.digest[:9]}") for one in (EPOCH, LATER_EPOCH))
    assert (len(first.latency_ms), len(second.latency_ms)) == (5, 5)
    assert f"epoch {EPOCH.digest[:12]}" in first.name
    assert second.latency_ms["key-3"] == pytest.approx(4.04)
    mixed = read_column(f"{two_epochs}?epoch=any")
    assert len(mixed.latency_ms) == 8
    assert "2 epochs mixed" in mixed.name
    assert mixed.notes[0] == "2 epochs are mixed, as asked for"


def test_time_alone_may_leave_one_epoch(two_epochs: str) -> None:
    assert len(read_column(f"{two_epochs}?since=2026-04-01").latency_ms) == 5


def test_epochs_that_a_panel_linked_go_together_and_those_that_it_refuted_do_not(two_epochs: str) -> None:
    link(two_epochs, agrees=True)
    found = read_column(two_epochs)
    assert len(found.latency_ms) == 8
    assert "2 linked epochs" in found.name
    assert found.notes[0] == "2 epochs go together, because a panel showed that they agree"
    link(two_epochs, agrees=False, days=42)
    with pytest.raises(InvalidInputError, match="no panel has shown"):
        read_column(two_epochs)


def test_an_unknown_epoch_is_refused_with_those_that_are_there(two_epochs: str) -> None:
    with pytest.raises(NotFoundError, match=rf"no epoch 'fff'; it has .*{EPOCH.digest[:12]}"):
        read_column(f"{two_epochs}?epoch=fff")


def test_a_device_is_chosen_by_its_name_without_the_origin_too(tmp_path: Path) -> None:
    path = str(tmp_path / "latency.db")
    replayed = replace(DEVICE, origin="replayed")
    with LatencyStore(path) as store:
        store.add(model(0), measurement(0))
        store.add(model(1), measurement(1, identity=replayed))
    assert replayed.name == f"{DEVICE.name} [REPLAYED]"
    assert list(read_column(f"{path}?device={replayed.name}").latency_ms) == ["key-1"]
    assert list(read_column(f"{path}?device={DEVICE.name}").latency_ms) == ["key-0"]
    with pytest.raises(InvalidInputError, match=r"1 replayed figure\)"):
        read_column(path)


def test_figures_keep_their_origin(tmp_path: Path) -> None:
    times = [sample(number, identity=device("simulated")) for number in range(3)]
    found = read_column(filled(tmp_path / "simulated.db", times))
    assert found.origin == "simulated"
    assert "SIMULATED" not in found.name


def test_two_origins_within_one_side_are_refused(store: str, tmp_path: Path) -> None:
    with LatencyStore(store) as opened:
        table = opened.to_frame()
    table.loc[2, "origin"] = "replayed"
    table.to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"holds 2 devices|are measured and replayed"):
        read_column(str(tmp_path / "mixed.csv"))


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("devise=x", "did you mean 'device'"),
        ("device", "write name=value"),
        ("device=", "write name=value"),
        ("device=a&device=b", "occurs twice"),
        ("since=yesterday", "since=yesterday is no date or time; write since=2026-01-31"),
        ("until=2026-02-30", "is no date or time"),
        ("since=2026-03-02&until=2026-03-01", "is after until"),
        ("statistic=std", "'std' cannot be compared"),
        ("statistic=avg", "'avg' cannot be compared"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(query: str, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        read_column(f"not-there.db?{query}")
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("since=2027-01-01", "holds no figures since 2027-01-01 UTC"),
        ("until=2020-01-01", "holds no figures until 2020-01-01 23:59:59 UTC"),
        ("network=fff", "holds no network fff"),
    ],
)
def test_a_choice_that_leaves_nothing_is_named(store: str, query: str, reason: str) -> None:
    with pytest.raises(NotFoundError, match=reason):
        read_column(f"{store}?{query}")


def test_an_empty_store_and_one_with_unstable_figures_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no figures"):
        read_column(filled(tmp_path / "empty.db", []))
    with pytest.raises(NotFoundError, match="only unstable ones"):
        read_column(filled(tmp_path / "unstable.db", [sample(number, stable=False) for number in range(3)]))


@pytest.mark.parametrize("name", ["no.db", "no.parquet", "no.csv", ":memory:"])
def test_what_is_not_there_is_refused_and_not_made(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="there is no"):
        read_column(name)
    assert list(tmp_path.iterdir()) == []


def test_no_path_is_refused() -> None:
    for text in ("", "  ", "?device=x"):
        with pytest.raises(InvalidInputError, match="names no file"):
            read_column(text)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    for name in ("noise.parquet", "noise.csv"):
        (tmp_path / name).write_bytes(b"\x00\xff\xfenoise")
        with pytest.raises(InvalidInputError, match=r"cannot be read|is no export"):
            read_column(str(tmp_path / name))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_column(str(tmp_path / "empty.csv"))
    (tmp_path / "noise.db").write_text("noise")
    with pytest.raises(StoreError):
        read_column(str(tmp_path / "noise.db"))


def test_a_table_of_somebody_else_is_to_be_imported_first(tmp_path: Path) -> None:
    pd.DataFrame({"network": ["a", "b", "c"], "latency": [1, 2, 3]}).to_csv(tmp_path / "theirs.csv", index=False)
    with pytest.raises(InvalidInputError, match="leti-opt store import") as refusal:
        read_column(str(tmp_path / "theirs.csv"))
    assert "lacks the columns model_key, mean_ms" in str(refusal.value)


def test_a_damaged_figure_in_a_csv_file_is_refused(store: str, tmp_path: Path) -> None:
    with LatencyStore(store) as opened:
        table = opened.to_frame().astype({"mean_ms": object})
    table.loc[1, "mean_ms"] = "fast"
    table.to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"odd.csv cannot be read"):
        read_column(str(tmp_path / "odd.csv"))


def test_an_export_from_before_intervals_were_kept_still_reads(store: str, tmp_path: Path) -> None:
    with LatencyStore(store) as opened:
        table = opened.to_frame().drop(columns=["mean_error_ms", "runs_per_sample", "epoch_group", "source"])
    table.to_parquet(tmp_path / "old.parquet")
    found = read_column(str(tmp_path / "old.parquet"))
    assert len(found.latency_ms) == 5
    assert found.error_ms == {}
