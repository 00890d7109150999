"""Published figures in a store and on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import measure
from leti_opt.errors import InvalidInputError, NotFoundError, StatisticUnavailableError
from leti_opt.objective.answers import Source
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.store.latency_store import LatencyStore
from tests.cli.commands import leti_opt, printed_json
from tests.device.published_cells import CONFIG, FULL, ONE_CONV, model, native


class TestInTheStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LatencyStore]:
        with LatencyStore(tmp_path / "latency.db") as store:
            yield store

    def test_it_is_served_as_replayed_first_by_the_table_and_then_by_the_store(self, store: LatencyStore) -> None:
        answers = []
        for _ in range(2):
            objective = DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store)
            answers.append(objective.evaluate(native(ONE_CONV)).answer)
        assert [answer.source for answer in answers] == [Source.DEVICE, Source.STORE]
        assert {answer.status for answer in answers} == {"replayed"}
        assert not any(answer.provisional for answer in answers)
        first, second = (answer.measurement for answer in answers)
        assert first is not None
        assert second is not None
        assert second.status == "unchecked"
        assert second.batch == first.batch
        assert second.metrics == first.metrics
        assert store.info().measurements == 1

    def test_it_is_the_best_of_a_search_and_asks_for_no_median(self, store: LatencyStore) -> None:
        objective = DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store)
        latencies = [objective(native(text)) for text in (FULL, ONE_CONV)]
        assert objective.best().latency_ms == min(latencies)
        with pytest.raises(StatisticUnavailableError, match="mean"):
            DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store, statistic="median")(native(FULL))

    def test_no_export_calls_it_measured(self, store: LatencyStore, tmp_path: Path) -> None:
        DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store)(native(FULL))
        with pytest.raises(InvalidInputError, match="no measured figures"):
            store.export(tmp_path / "measured.parquet", origin="measured")
        assert not (tmp_path / "measured.parquet").exists()
        assert store.to_frame(origin="measured").empty
        frame = store.to_frame(origin="replayed")
        assert frame["status"].tolist() == ["unchecked"]
        assert frame[["count", "std_ms"]].isna().all(axis=None)

    def test_its_export_replays_as_it_was(self, store: LatencyStore, tmp_path: Path) -> None:
        expected = DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store)(native(FULL))
        store.export(tmp_path / "again.parquet", origin="replayed")
        measurement = measure(open_device(f"replay:{tmp_path / 'again.parquet'}"), model(FULL))
        assert measurement.status == "unchecked"
        assert measurement.latency_ms() == expected

    def test_offline_it_answers_from_the_store_alone(self, store: LatencyStore) -> None:
        expected = DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store)(native(FULL))
        offline = DeviceLatencyObjective("replay:help/pixel3", CONFIG, store=store, offline=True)
        assert offline(native(FULL)) == expected
        with pytest.raises(NotFoundError):
            offline(native(ONE_CONV))


class TestOnTheCommandLine:
    def test_measure_says_replayed_and_how_many_cells_share_the_figure(self, tmp_path: Path) -> None:
        cell = str(native(ONE_CONV).canonical())
        command = (
            "measure",
            cell,
            "--network",
            "nasbench201",
            "-d",
            "replay:help/pixel3",
            "--store",
            tmp_path / "s.db",
        )
        printed = leti_opt(*command).stdout
        assert "pixel3 (HELP) [REPLAYED]" in printed
        assert "runs not known, replayed anew, rule not checkable" in printed
        assert re.search(r"median of the figures of \d+ cells that make this network, [\d.]+ to [\d.]+ ms", printed)
        assert "measured" not in printed
        (row,) = printed_json(*command)
        assert (row["status"], row["rule"], row["runs"], row["std_ms"]) == ("replayed", "not checkable", None, None)

    def test_a_network_outside_of_the_table_is_infeasible(self, tmp_path: Path) -> None:
        printed = leti_opt(
            *("measure", "0-1,1-2:conv3x3-bn-relu", "--network", "small", "-d", "replay:help/pixel3"),
            *("--store", tmp_path / "s.db"),
            code=5,
        ).stdout
        assert "not in the table of help/pixel3" in printed

    def test_a_search_runs_end_to_end_and_calls_nothing_measured(self, tmp_path: Path) -> None:
        command = ("search", "--space", "nasbench201", "--network", "nasbench201", "-d", "replay:help/pixel3")
        more = ("--budget", 12, "--store", tmp_path / "s.db", "--picture", tmp_path / "p.png")
        printed = leti_opt(*command, *more).stdout
        assert "latency in ms (replayed)" in printed
        assert "(runs not known, rule not checkable)" in printed
        assert "measured" not in printed
        again = printed_json(*command, *more)
        assert {step["status"] for step in again["steps"]} == {"replayed"}
        assert {row["origin"] for row in again["front"]} == {"replayed"}
        assert again["counts"]["anew"] == again["counts"]["provisional"] == 0

    def test_the_list_of_devices_names_them(self) -> None:
        (row,) = [row for row in printed_json("devices", "list") if row["uri"] == "replay:help/NAME"]
        assert row["origin"] == "replayed"
        assert "pixel3" in row["note"]
