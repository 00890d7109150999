"""``leti-opt predictor adapt``: from an unknown device to a predictor that says how far it is off."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from leti_opt import CampaignDefinition, DatasetCampaign, DeviceLatencyObjective, NetworkConfig
from leti_opt.cli import predictor_adapt
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.simulated import SimulatedDevice
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.predictor import load_predictor
from leti_opt.predictor.transfer import TransferPredictor
from leti_opt.report.dataset_card import write_dataset
from tests.cli.commands import TINY, leti_opt, printed_json, refusal
from tests.cli.test_predictor import dataset

NEW = "replay:formula?seed=7&gflops_per_s=11&residual=0.03"
QUICK = "replay:formula?seed=1&residual=0.03"
SLOW = "replay:formula?seed=2&gflops_per_s=5&gb_per_s=3&residual=0.03"
ADAPT = ("predictor", "adapt", "--device", NEW, "--out", "new.predictor")
SMALL_FLOPS = (*ADAPT, "--network", "small", "--kind", "flops")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 cells of NAS-Bench-101 on two simulated devices."""
    devices = [{"uri": QUICK, "name": "quick"}, {"uri": SLOW, "name": "slow"}]
    return dataset(tmp_path_factory.mktemp("sources"), "small", devices, {"sample": 60})


@pytest.fixture(scope="module")
def other_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 cells of NAS-Bench-201 on the same devices."""
    devices = [{"uri": QUICK, "name": "quick"}, {"uri": SLOW, "name": "slow"}]
    cells = {"space": "nasbench201", "sample": 20}
    return dataset(tmp_path_factory.mktemp("others"), "nasbench201", devices, cells)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What simulated devices are asked for."""
    asked: list[str] = []
    load = SimulatedDevice.load

    def noted(self: SimulatedDevice, model: Any) -> Any:
        asked.append(model.key)
        return load(self, model)

    monkeypatch.setattr(SimulatedDevice, "load", noted)
    return asked


def test_two_sources_and_a_panel_make_a_predictor_with_a_stated_error(
    data: Path, folder: Path, loads: list[str]
) -> None:
    result = leti_opt(*ADAPT, "--panel", "--source", data, "--budget", "40")
    text = result.stdout
    assert "new.predictor: TransferPredictor" in text
    assert "40 simulated figures of formula" in text
    assert text.count("60 simulated figures of formula") == 2
    assert "asked for 40 networks (20 of the standard panel first): 40 gave a latency, 0 unstable, 0 infeasible" in text
    assert "40 asked of the device now, 0 known to the store" in text
    assert "ended since the budget is used" in text
    assert "with 95 % confidence" in text
    assert "within ±10 %" in text
    assert "90 % intervals hold" in text
    assert "by 20 networks that were drawn at random and held out in turn" in text
    assert "SIMULATED: a formula gave these figures; nothing was measured" in text
    assert "step 1: 40 asked for, 40 learned" in result.stderr
    assert len(loads) == len(set(loads)) == 40
    loaded = load_predictor(folder / "new.predictor")
    assert isinstance(loaded, TransferPredictor)
    assert loaded.training_size_ == 40
    told = leti_opt("predictor", "predict", "new.predictor", "0-1,1-2:maxpool3x3").stdout
    assert "which learned 40 simulated figures" in told
    assert "so it is for what it learned of formula" in told
    assert (
        "judged by 60 of 60"
        in leti_opt("predictor", "evaluate", data, "--device", "quick", "--predictor", "new.predictor").stdout
    )


def test_the_same_for_scripts_and_a_second_run_asks_nothing(data: Path, loads: list[str]) -> None:
    options = (*ADAPT, "--panel", "--source", f"{data}:quick", "--source", f"{data}:slow", "--budget", "41")
    found = printed_json(*options)
    assert (found["file"], found["predictor"], found["reason"]) == ("new.predictor", "TransferPredictor", "budget")
    assert (found["asked"], found["panel"], found["device_asked"], found["learned"]) == (41, 20, 41, 41)
    assert [other["cells"] for other in found["training"]["others"]] == [60, 60]
    assert found["training"]["origin"] == "simulated"
    error = found["error"]
    assert error["stated"] is True
    assert error["held_out"] >= 20
    assert 0 < error["mean"] < error["upper"]
    assert error["confidence"] == 0.95
    assert error["interval"] == 0.9
    assert 0 <= error["coverage"] <= 1
    assert found["seconds"] >= found["fitting_seconds"] >= 0
    again = printed_json(*options)
    assert len(loads) == 41
    assert again["device_asked"] == 0
    assert again["training_digest"] == found["training_digest"]
    assert again["error"] == error


def test_without_sources_our_usual_predictor_learns(folder: Path) -> None:
    found = printed_json(*ADAPT, "--network", "small", "--budget", "12", "--seed", "4")
    assert found["predictor"] == "KernelPredictor"
    assert isinstance(load_predictor(folder / "new.predictor"), KernelPredictor)
    assert found["training"]["others"] == []
    assert (found["panel"], found["target_error"]) == (0, None)


def test_an_error_by_few_networks_is_not_stated(folder: Path) -> None:
    text = leti_opt(*SMALL_FLOPS, "--budget", "12").stdout
    assert "the error cannot be stated: 12 networks were drawn at random and held out, and it takes 20" in text
    assert "the same command goes on" in text
    found = printed_json(*SMALL_FLOPS, "--budget", "12")
    assert found["error"]["stated"] is False
    assert found["error"]["upper"] is None
    assert found["error"]["held_out"] == 12
    assert (folder / "new.predictor").exists()


def test_networks_without_a_latency_are_counted() -> None:
    poor = ("--device", "replay:formula?seed=5&infeasible=0.2&unstable=0.2")
    found = printed_json("predictor", "adapt", *poor, "-o", "x", "-n", "small", "--kind", "flops", "--budget", "30")
    assert found["infeasible"] > 0
    assert found["unstable"] > 0
    assert found["learned"] + found["infeasible"] + found["unstable"] == found["asked"] == 30


def test_what_the_store_holds_as_unstable_is_tried_again_where_asked_for(loads: list[str]) -> None:
    poor = ("--device", "replay:formula?seed=5&unstable=0.3", "-n", "small", "--kind", "flops", "--budget", "20")
    first = printed_json("predictor", "adapt", *poor, "-o", "x")
    before = len(loads)
    assert printed_json("predictor", "adapt", *poor, "-o", "x")["device_asked"] == 0
    assert len(loads) == before
    again = printed_json("predictor", "adapt", *poor, "-o", "x", "--panel", "--retry-unstable", "--budget", "40")
    assert again["device_asked"] >= first["unstable"] > 0


def test_one_source_is_not_used_and_that_is_said(data: Path) -> None:
    result = leti_opt(*ADAPT, "--source", f"{data}:slow", "--budget", "12", "--json")
    assert "is not used: a transfer learns from 2 devices or more" in result.stderr
    assert "KernelPredictor" in result.stdout


def test_a_store_is_a_source_too(data: Path) -> None:
    stored = f"{data.parent / 'latency.db'}:{SLOW}"
    found = printed_json(*ADAPT, "--source", f"{data}:quick", "--source", stored, "--budget", "12")
    assert found["predictor"] == "TransferPredictor"
    assert found["training"]["others"][0]["source"] == "latencies.parquet"
    assert [other["cells"] for other in found["training"]["others"]] == [60, 60]


def test_a_source_that_may_be_the_device_itself_is_warned_of(data: Path) -> None:
    told = (*ADAPT[:3], QUICK, *ADAPT[4:], "--source", data, "--budget", "12")
    assert "a source is called like the device" in leti_opt(*told).stderr
    assert "a source is called like the device" not in leti_opt(*ADAPT, "--source", data, "--budget", "12").stderr


def test_the_network_of_the_sources_is_known_from_their_file(folder: Path, loads: list[str]) -> None:
    definition = CampaignDefinition(
        name="wider",
        store="wider.db",
        networks=[{"preset": "small", "filters": 12}],
        devices=[{"uri": QUICK, "name": "quick"}, {"uri": SLOW, "name": "slow"}],
        cells={"sample": 12},
    )
    campaign = DatasetCampaign(definition)
    campaign.run()
    write_dataset(campaign, folder)
    found = printed_json(*ADAPT, "--source", "latencies.parquet", "--budget", "9")
    assert found["network"] == NetworkConfig.small(filters=12).digest
    before = len(loads)
    parquet.write_table(parquet.read_table("latencies.parquet").replace_schema_metadata({}), "silent.parquet")
    assert "does not tell how its network" in refusal(*ADAPT, "--source", "silent.parquet", "--store", "other.db")
    named = ("--source", "silent.parquet", "-n", "small", "--set", "filters=12", "--budget", "9")
    assert printed_json(*ADAPT, *named)["training_digest"] == found["training_digest"]
    assert len(loads) == before


def test_a_target_that_is_reached_ends_it() -> None:
    found = printed_json(*SMALL_FLOPS, "--target-error", "90%", "--budget", "60")
    assert (found["reason"], found["asked"]) == ("target", 20)
    assert found["error"]["upper"] < 0.9
    assert found["target_error"] == 0.9


def test_a_target_that_is_not_reached_has_an_exit_code_and_a_predictor(folder: Path) -> None:
    result = leti_opt(*SMALL_FLOPS, "--target-error", "0.1%", "--budget", "25", code=9)
    assert "the target of 0.1 % was not reached; with a larger --budget the same command goes on" in result.stdout
    assert (folder / "new.predictor").exists()


def test_it_ends_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch, loads: list[str]) -> None:
    monkeypatch.setattr(predictor_adapt, "clock", lambda: 60.0 * len(loads))
    result = leti_opt(*SMALL_FLOPS, "--time", "30m")
    assert len(loads) == 30
    assert "took 30 min" in result.stdout
    assert "ended since the time is over" in result.stdout
    assert "1 networks asked for, 29 min of the time left" in result.stderr


def test_an_interrupted_command_goes_on(folder: Path, loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    load = SimulatedDevice.load
    with monkeypatch.context() as broken:

        def interrupted(self: SimulatedDevice, model: Any) -> Any:
            if len(loads) == 25:
                raise KeyboardInterrupt
            return load(self, model)

        broken.setattr(SimulatedDevice, "load", interrupted)
        result = leti_opt(*SMALL_FLOPS, "--panel", "--budget", "40", code=130)
    assert "stopped after 25 networks; everything is kept, the same command goes on" in result.stderr
    assert not (folder / "new.predictor").exists()
    before = list(loads)
    found = printed_json(*SMALL_FLOPS, "--panel", "--budget", "40")
    assert len(before) == 25
    assert len(loads) == len(set(loads)) == 40
    assert (found["asked"], found["device_asked"]) == (40, 15)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-d", "hots-cpu", "-n", "small"], "did you mean 'host-cpu'"),
        (["--source", "typo.parquet"], "there is no file typo.parquet"),
        (["--source", "DAMAGED"], "is no Parquet file"),
        (["--source", "CUT"], "is no Parquet file"),
        (["--source", "DATA:slwo"], "did you mean 'slow'"),
        (["--source", "DATA", "-n", "nasbench101"], "has no rows of this network"),
        (["--source", "DATA", "--set", "filters=32"], "it has: --network small"),
        (["--source", "OTHER_SPACE"], "are of cells of another space"),
        (["--source", "OTHER_SPACE:quick"], "are of cells of another space"),
        (["--source", "DATA", "--source", "OTHER_SPACE"], "has no rows of this network"),
        (["--source", "DATA", "--source", "DATA:quick"], "is among the others already"),
        (["--source", "FEW"], "has 4 cell(s) with a latency, and 10 are needed"),
        (["--source", "STORE"], "is a store; name a device of it"),
        (["--source", "STORE:host-cpu", "-n", "small"], "it knows the devices: replay:"),
        (["--source", f"STORE:{QUICK}"], "choose one with --network"),
        (["--source", "DATA:quick", "--kind", "transfer"], "learns from 2 devices or more, and the sources are 1"),
        (["--kind", "transfer", "-n", "small"], "learns from 2 devices or more, and the sources are 0"),
        (["--source", "DATA", "--kind", "flops"], "--kind flops learns from the device alone"),
        (["--kind", "kernal", "-n", "small"], "did you mean 'kernel'"),
        (["--space", "nasbench102"], "unknown space 'nasbench102'"),
        (["-n", "small", "--time", "soon"], "is no time"),
        (["-n", "small", "--time", "0"], "time_s is a positive number"),
        (["-n", "small", "--target-error", "little"], "is no share"),
        (["-n", "small", "--target-error", "0%"], "target_error is a share"),
        (["-n", "small", "--target-error", "5"], "'5' is 500 %, more than all; write for instance 5%"),
        (["-n", "small", "--panel", "--budget", "10"], "the panel alone is 20 networks, and the budget is 10; give 40"),
        (["-n", "small", "-o", "nowhere/x"], "cannot write nowhere/x"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(
    arguments: list[str], reason: str, data: Path, other_space: Path, folder: Path, loads: list[str]
) -> None:
    parquet.write_table(parquet.read_table(data)[:4], folder / "few.parquet")
    (folder / "damaged.parquet").write_bytes(b"PAR1 nothing PAR1")
    (folder / "cut.parquet").write_bytes(data.read_bytes()[:-20])
    named = {
        "DATA": data,
        "STORE": data.parent / "latency.db",
        "OTHER_SPACE": other_space,
        "FEW": folder / "few.parquet",
        "DAMAGED": folder / "damaged.parquet",
        "CUT": folder / "cut.parquet",
    }
    found = [
        str(named.get(head, head)) + colon + rest
        for argument in arguments
        for head, colon, rest in [argument.partition(":")]
    ]
    assert reason in refusal(*ADAPT, *found)
    assert loads == []
    assert not (folder / "new.predictor").exists()


@pytest.mark.needs("litert")
@pytest.mark.slow
def test_this_machine_is_adapted_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real measurements, by a rule that a busy machine does not break."""
    lax = MeasurementProtocol(min_runs=30, max_relative_std=1000.0)
    made = partialmethod(DeviceLatencyObjective.__init__, protocol=lax)
    monkeypatch.setattr(DeviceLatencyObjective, "__init__", made)
    command = ("predictor", "adapt", "--device", "host-cpu", "--out", "host.predictor", *TINY, "--pace", "off")
    options = ("--kind", "flops", "--panel", "--budget", "24")
    found = printed_json(*command, *options)
    assert found["training"]["origin"] == "measured"
    assert found["asked"] == found["device_asked"] == found["learned"] == 24
    assert found["panel"] == 20
    assert (found["error"]["stated"], found["error"]["held_out"]) == (False, 4)
    again = printed_json(*command, *options)
    assert again["device_asked"] == 0
    assert load_predictor(folder / "host.predictor").training_digest_ == again["training_digest"]
    assert "SIMULATED" not in leti_opt(*command, *options).stdout
