"""The data set that a campaign is exported to, read with pandas alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from leti_opt.architecture import Architecture
from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.export import FIGURES
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.report.dataset_card import write_dataset
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import QUICK, quick_campaign, use_devices
from tests.contracts.scripted_device import ScriptedDevice, steady

QUICK_PROTOCOL = MeasurementProtocol(**QUICK["protocol"])

FORMULA = {"uri": "replay:formula?seed=1&infeasible=0.2&unstable=0.2", "name": "paper"}


def finished(tmp_path: Path, **settings: object) -> DatasetCampaign:
    campaign = quick_campaign(
        tmp_path, **{"devices": [FORMULA, "replay:formula?seed=2"], "protocol": {}, "cells": {"sample": 40}, **settings}
    )
    campaign.run()
    return campaign


def test_every_network_is_a_row_with_its_cell_costs_and_figures(tmp_path: Path) -> None:
    campaign = finished(tmp_path)
    written = write_dataset(campaign, tmp_path / "set")
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert written.rows == len(rows) == 40
    config = NetworkConfig.small(filters=8)
    with LatencyStore(tmp_path / "latency.db") as store:
        for row, cell in zip(rows.to_dict("records"), campaign.cells, strict=True):
            assert Architecture.parse(row["cell"]) == cell
            assert row["graph_hash"] == cell.graph_hash
            assert [list(line) for line in row["adjacency"]] == cell.adjacency.tolist()
            assert list(row["operations"]) == list(cell.operations)
            cost = network_cost(cell, config)
            assert (row["flops"], row["parameters"]) == (cost.flops, cost.parameters)
            assert row["peak_activation_bytes"] == cost.peak_memory_bytes
            if row["formula_status"] == "simulated":
                identity, epoch = store.devices_by_uri()["replay:formula?seed=2"]
                [alias] = store.aliases(graph_hash=cell.graph_hash)
                [measurement] = store.find(str(store.resolve(alias)), identity, epoch)
                assert row["formula_latency_ms"] == measurement.latency_ms()
                assert row["formula_runs"] == 300
                assert row["formula_measured_at"].to_pydatetime() == measurement.started_at


def test_unstable_networks_have_no_latency_and_infeasible_ones_their_reason(tmp_path: Path) -> None:
    write_dataset(finished(tmp_path), tmp_path / "set")
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    by_status = rows.groupby("paper_status")
    assert set(by_status.groups) == {"simulated", "unstable", "infeasible"}
    assert by_status.get_group("unstable")["paper_latency_ms"].isna().all()
    assert by_status.get_group("unstable")["paper_attempts"].eq(5).all()
    assert by_status.get_group("infeasible")["paper_failure"].str.contains("simulated refusal").all()
    assert by_status.get_group("simulated")["paper_latency_ms"].gt(0).all()


def test_csv_has_the_same_rows_with_lists_as_json(tmp_path: Path) -> None:
    write_dataset(finished(tmp_path), tmp_path / "set", csv=True)
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    plain = pd.read_csv(tmp_path / "set" / "latencies.csv")
    assert list(plain.columns) == list(rows.columns)
    assert [json.loads(text) for text in plain["operations"]] == [list(names) for names in rows["operations"]]
    assert plain["paper_latency_ms"].fillna(0).tolist() == pytest.approx(rows["paper_latency_ms"].fillna(0).tolist())


def test_a_campaign_that_is_not_complete_is_exported_as_far_as_it_is(tmp_path: Path) -> None:
    finished(tmp_path, cells={"sample": 10})
    larger = quick_campaign(tmp_path, devices=[FORMULA], protocol={}, cells={"sample": 25})
    [counts] = write_dataset(larger, tmp_path / "set").counts
    assert counts.lacking == 15
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert rows["paper_status"].isna().sum() == 15


def test_two_networks_of_each_cell_are_two_rows(tmp_path: Path) -> None:
    networks = ["small", {"preset": "small", "filters": 8}]
    write_dataset(finished(tmp_path, networks=networks), tmp_path / "set")
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert len(rows) == 80
    assert rows.groupby("network").size().tolist() == [40, 40]
    assert rows["formula_status"].notna().all()


def test_the_card_says_what_every_column_is_and_that_nothing_was_measured(tmp_path: Path) -> None:
    written = write_dataset(finished(tmp_path, licence="cc-by-4.0", remark="In a fridge."), tmp_path / "set")
    text = (tmp_path / "set" / "README.md").read_text()
    front = text.split("---")[1]
    assert 'license: "cc-by-4.0"' in front
    assert "data_files: latencies.parquet" in front
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    for column in rows.columns:
        own = column.removeprefix("paper_").removeprefix("formula_")
        assert f"`{column}`" in text or f"`…_{own}`" in text
    assert "SIMULATED: a formula gave these figures; nothing was measured" in text
    assert "SIMULATED" in written.statement
    assert "Remark: In a fridge." in text
    assert {f"…_{name}" for name in FIGURES} <= set(text.replace("`", " ").replace(":", " ").split())


@pytest.mark.needs("litert")
def test_a_measured_set_brings_networks_to_check_it_by_and_hides_the_host(tmp_path: Path) -> None:
    campaign = quick_campaign(tmp_path, devices=[{"uri": "host-cpu?cores=0", "name": "mine"}])
    campaign.run()
    written = write_dataset(campaign, tmp_path / "set")
    assert "panel_mine.zip" in written.files
    with zipfile.ZipFile(tmp_path / "set" / "panel_mine.zip") as panel:
        card = json.loads(panel.read("card.json"))
    assert len(card["panel"]) == card["networks"] == 20, "the other networks stand in the data set beside it"
    with LatencyStore(tmp_path / "latency.db") as store:
        _, epoch = store.devices_by_uri()["host-cpu?cores=0"]
    texts = (tmp_path / "set" / "README.md").read_text()
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert rows["mine_status"].eq("measured").all()
    assert epoch.unit not in texts
    assert not rows["mine_epoch"].str.startswith(epoch.digest[:16]).any()
    [digest] = set(rows["mine_epoch"])
    assert f"`{digest}`" in texts


@pytest.mark.needs("litert")
def test_nothing_but_the_campaigns_own_networks_is_published(tmp_path: Path) -> None:
    settings = {"devices": [{"uri": "host-cpu?cores=0", "name": "mine"}]}
    with LatencyStore(tmp_path / "latency.db") as store, open_device("host-cpu?cores=0") as device:
        for number in range(4):
            path = tmp_path / f"customer_model_{number}.tflite"
            graph = build_layer_graph(Architecture.parse("0-1:"), NetworkConfig.small(filters=4 + number))
            path.write_bytes(write_tflite(graph))
            model = MeasurableModel.of_file(path)
            store.add(model, measure(device, model, QUICK_PROTOCOL))
    quick_campaign(tmp_path, name="other", networks=[{"preset": "small", "filters": 4}], **settings).run()
    quick_campaign(tmp_path, **settings, cells={"sample": 6}).run()
    written = write_dataset(quick_campaign(tmp_path, **settings, cells={"sample": 6}), tmp_path / "set")
    assert "panel_mine.zip" in written.files
    with zipfile.ZipFile(tmp_path / "set" / "panel_mine.zip") as panel:
        assert not [name for name in panel.namelist() if name.endswith(".tflite")]
        (tmp_path / "rows.parquet").write_bytes(panel.read("measurements.parquet"))
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert len(rows) == 6
    assert set(rows["network_digest"]) == {NetworkConfig.small(filters=8).digest}


def test_the_panel_of_an_epoch_holds_its_own_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = quick_campaign(tmp_path, devices=[{"uri": "scripted:one", "name": "mine"}])
    for build, latency_ms in (("first build", 2.0), ("second build", 5.0)):
        answers = [steady(latency_ms, 5)] * 3
        epoch = DeviceEpoch(build, unit="unit")
        device = ScriptedDevice(lambda _model, answers=answers: answers, default_min_runs=5, epoch=epoch)  # type: ignore[misc]
        use_devices(monkeypatch, device)
        assert campaign.run().is_complete
    written = write_dataset(campaign, tmp_path / "set")
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert {"panel_mine.zip", "panel_mine_2.zip"} < set(written.files)
    for name, build, latency_ms in (("mine", "second build", 5.0), ("mine_2", "first build", 2.0)):
        assert set(rows[f"{name}_latency_ms"]) == {latency_ms}
        with zipfile.ZipFile(tmp_path / "set" / f"panel_{name}.zip") as panel:
            (tmp_path / "rows.parquet").write_bytes(panel.read("measurements.parquet"))
        of_panel = pd.read_parquet(tmp_path / "rows.parquet")
        assert set(of_panel["system_build"]) == {build}
        assert set(of_panel["mean_ms"]) == {latency_ms}


def test_a_name_that_the_user_gave_is_never_another_devices(tmp_path: Path) -> None:
    mine = {"uri": "replay:formula?seed=2", "name": "formula"}
    campaign = finished(tmp_path, devices=["replay:formula?seed=1", mine])
    assert [count.name for count in write_dataset(campaign, tmp_path / "set").counts] == ["formula_2", "formula"]
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    write_dataset(quick_campaign(tmp_path, devices=[mine], protocol={}, cells={"sample": 40}), tmp_path / "alone")
    alone = pd.read_parquet(tmp_path / "alone" / "latencies.parquet")
    assert (rows["formula_latency_ms"] == alone["formula_latency_ms"]).all()


def test_devices_without_figures_are_named(tmp_path: Path) -> None:
    finished(tmp_path, devices=["replay:formula"])
    devices = ["replay:formula", {"uri": "android:SERIAL9/cpu", "name": "late"}, "android:SERIAL8/cpu"]
    campaign = quick_campaign(tmp_path, devices=devices, protocol={}, cells={"sample": 40})
    written = write_dataset(campaign, tmp_path / "set")
    assert written.without_figures == ("late", "android:SERIAL8/cpu")
    text = (tmp_path / "set" / "README.md").read_text()
    assert "* late: no figures yet" in text
    assert "* a further device: no figures yet" in text
    assert "SERIAL" not in text


def test_what_an_earlier_export_left_there_is_named(tmp_path: Path) -> None:
    campaign = finished(tmp_path)
    assert write_dataset(campaign, tmp_path / "set", csv=True).left_over == ()
    (tmp_path / "set" / "panel_old_name.zip").touch()
    assert write_dataset(campaign, tmp_path / "set").left_over == ("latencies.csv", "panel_old_name.zip")


def test_a_card_that_cannot_be_written_is_the_stores_fault(tmp_path: Path) -> None:
    (tmp_path / "set" / "README.md").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"README\.md cannot be written"):
        write_dataset(finished(tmp_path), tmp_path / "set")


def test_a_readme_that_is_no_card_is_left_as_it_is(tmp_path: Path) -> None:
    campaign = finished(tmp_path)
    (tmp_path / "README.md").write_text("# My project\n")
    with pytest.raises(InvalidInputError, match=r"README\.md is no data set's card"):
        write_dataset(campaign, tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My project\n"
    assert not (tmp_path / "latencies.parquet").exists()
    write_dataset(campaign, tmp_path / "set")
    assert write_dataset(campaign, tmp_path / "set").rows == 40, "a card is replaced by a newer one"


def test_the_card_holds_any_text(tmp_path: Path) -> None:
    remark = "On a plate.\n# no heading\n---\n"
    write_dataset(finished(tmp_path, licence='mine: "all" 😀', remark=remark), tmp_path / "set")
    text = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    assert 'license: "mine: \\"all\\" 😀"' in text.split("---")[1]
    assert "* Remark: On a plate.\n  # no heading\n  ---\n* Made with" in text


def test_a_campaign_without_any_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="start it with: leti-opt campaign run"):
        write_dataset(quick_campaign(tmp_path, devices=["replay:formula"]), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_pandas_alone_reads_the_parquet_file_with_plain_types(tmp_path: Path) -> None:
    write_dataset(finished(tmp_path), tmp_path / "set")
    rows = pd.read_parquet(tmp_path / "set" / "latencies.parquet")
    assert rows["paper_latency_ms"].dtype == "float64"
    assert str(rows["paper_measured_at"].dtype) == "datetime64[us, UTC]"
    assert rows.isna().sum()["graph_hash"] == 0
