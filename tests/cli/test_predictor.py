"""``leti-opt predictor``: what it learns, how it judges, what it predicts; simulated figures stay simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from leti_opt import Architecture, CampaignDefinition, DatasetCampaign, NetworkConfig
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.predictor.boosted_trees import BoostedTreesPredictor
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.predictor import load_predictor
from leti_opt.report.dataset_card import write_dataset
from tests.cli.commands import leti_opt, printed_json, refusal

CONV, POOL = "0-1,1-2:conv3x3-bn-relu", "0-1,1-2:maxpool3x3"
SLICING = "0-1,1-2,1-3,2-4,3-4:conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu"
URI, POOR_URI = "replay:formula?seed=1", "replay:formula?seed=2&infeasible=0.2&unstable=0.2"
SMALL = ("--network", "small")
NAMED = (*SMALL, "--device", "good")
WARNING = "SIMULATED: a formula gave these figures; nothing was measured"


def dataset(folder: Path, network: str, devices: list[dict[str, str]], cells: dict[str, Any]) -> Path:
    """A campaign that has run, exported."""
    definition = CampaignDefinition(
        name="tests", store=str(folder / "latency.db"), networks=[network], devices=devices, cells=cells
    )
    campaign = DatasetCampaign(definition)
    campaign.run()
    write_dataset(campaign, folder)
    return folder / "latencies.parquet"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 cells on two simulated devices; the poor one refuses some networks and scatters on others."""
    devices = [{"uri": URI, "name": "good"}, {"uri": POOR_URI, "name": "poor"}]
    return dataset(tmp_path_factory.mktemp("dataset"), "small", devices, {"sample": 80})


@pytest.fixture(scope="module")
def saved(data: Path) -> Path:
    path = data.parent / "saved.predictor"
    leti_opt("predictor", "fit", data, *NAMED, "--kind", "flops", "--out", path)
    return path


def parts(data: Path, folder: Path) -> tuple[Path, Path]:
    """Two files of one campaign that have 10 cells in common."""
    table = parquet.read_table(data)
    paths = folder / "first.parquet", folder / "second.parquet"
    for path, part in zip(paths, (table[:50], table[40:]), strict=True):
        parquet.write_table(part, path)
    return paths


class TestFit:
    def test_a_campaigns_file_makes_a_predictor_that_says_what_it_learned(self, data: Path, folder: Path) -> None:
        text = leti_opt("predictor", "fit", data, *NAMED, "--kind", "kernel", "--out", "k.predictor").stdout
        assert "k.predictor: KernelPredictor" in text
        assert "learned 80 simulated figures of formula" in text
        assert WARNING in text
        loaded = load_predictor(folder / "k.predictor")
        assert loaded.network == NetworkConfig.small()
        assert loaded.training_size_ == 80
        assert loaded.training_digest_[:12] in text

    def test_the_store_makes_the_same_predictor_as_the_file(self, data: Path) -> None:
        kind = ("--kind", "flops", *SMALL, "--out", "one.predictor")
        filed = printed_json("predictor", "fit", data, *kind, "--device", "good")
        stored = printed_json("predictor", "fit", "--store", data.parent / "latency.db", "--device", URI, *kind)
        assert filed["training_digest"] == stored["training_digest"]
        assert filed["training"]["origin"] == stored["training"]["origin"] == "simulated"
        assert filed["left_out"] == stored["left_out"] == {}

    def test_networks_without_a_latency_are_left_out_and_counted(self, data: Path) -> None:
        poor = ("--kind", "flops", *SMALL, "--out", "poor.predictor")
        found = printed_json("predictor", "fit", data, *poor, "--device", "poor")
        assert found["left_out"]["infeasible"] > 0
        assert found["left_out"]["unstable"] > 0
        assert found["training"]["cells"] + sum(found["left_out"].values()) == 80
        stored = printed_json("predictor", "fit", "--store", data.parent / "latency.db", "--device", POOR_URI, *poor)
        assert stored["left_out"] == found["left_out"]
        assert "left out, since they have no latency" in leti_opt("predictor", "fit", data, *poor, "-d", "poor").stdout

    @pytest.mark.parametrize("kind", ["flops", "better-flops", "xgboost"])
    def test_every_kind_comes_back_from_its_file(self, data: Path, kind: str) -> None:
        found = printed_json("predictor", "fit", data, *NAMED, "--kind", kind, "--out", "any.predictor")
        assert found["kind"] == kind
        assert type(load_predictor("any.predictor")).__name__ == found["predictor"]


class TestEvaluate:
    FIGURES = ("within ±1 %", "within ±5 %", "within ±10 %", "MAPE", "Spearman", "90 % intervals hold")

    def test_splits_are_judged_in_words(self, data: Path) -> None:
        text = leti_opt("predictor", "evaluate", data, *NAMED, "--kind", "flops", "--splits", "3").stdout
        for words in self.FIGURES:
            assert words in text
        assert "80 simulated figures" in text
        assert "3 splits, 64 cells to learn from and 16 to be judged by" in text
        assert WARNING in text

    def test_the_same_in_json_with_how_sure_it_is(self, data: Path) -> None:
        options = (*NAMED, "--kind", "flops", "--splits", "3", "--size", "40")
        found = printed_json("predictor", "evaluate", data, *options)
        (row,) = found["predictors"]
        assert (found["splits"], found["train_cells"], found["test_cells"]) == (3, 40, 40)
        assert row["within"]["0.01"]["mean"] <= row["within"]["0.05"]["mean"] <= row["within"]["0.1"]["mean"]
        assert row["spearman"]["mean"] > 0.8
        assert row["coverage_90"]["mean"] > 0.6
        assert row["mean_absolute_percentage_error"]["half_width"] > 0
        assert found["learned"]["origin"] == "simulated"
        assert row["fit_seconds"] > 0

    def test_a_learning_curve_has_a_line_for_each_size(self, data: Path) -> None:
        arguments = ("predictor", "evaluate", data, *NAMED, "--kind", "flops", "--splits", "2", "--curve")
        curve = printed_json(*arguments)["curve"]
        assert [each["train_cells"] for each in curve] == [10, 30, 64]
        assert [each["test_cells"] for each in curve] == [70, 50, 16]
        printed = leti_opt(*arguments).output
        assert "2 split(s) for each number of cells" in printed
        assert WARNING in printed

    def test_a_curve_goes_through_sizes_by_itself(self, data: Path) -> None:
        assert "leave out --size" in refusal("predictor", "evaluate", data, *NAMED, "--curve", "--size", "20")

    def test_one_split_is_not_sure_of_anything(self, data: Path) -> None:
        options = (*NAMED, "--kind", "flops", "--splits", "1")
        assert "one split says nothing of how sure" in leti_opt("predictor", "evaluate", data, *options).stdout
        (row,) = printed_json("predictor", "evaluate", data, *options)["predictors"]
        assert row["spearman"]["half_width"] is None

    def test_cells_of_another_file_judge_and_learned_ones_are_left_out(self, data: Path, folder: Path) -> None:
        first, second = parts(data, folder)
        options = (*NAMED, "--kind", "flops", "--held-out", second)
        found = printed_json("predictor", "evaluate", first, *options)
        assert (found["train_cells"], found["test_cells"], found["splits"]) == (50, 30, None)
        assert found["left_out"] == {"learned": 10}
        assert found["judged_by"]["source"] == "second.parquet"
        text = leti_opt("predictor", "evaluate", first, *options).stdout
        assert "judged by 30 of 40 simulated figures" in text
        assert "left out: 10 that it learned from" in text
        assert "all cells of first.parquet are among the learned ones" in refusal(
            "predictor", "evaluate", first, *NAMED, "--kind", "flops", "--held-out", first
        )

    def test_a_kept_predictor_is_judged_by_other_figures_alone(self, data: Path, folder: Path, saved: Path) -> None:
        _, second = parts(data, folder)
        found = printed_json("predictor", "evaluate", second, "--device", "good", "--predictor", saved)
        assert (found["test_cells"], found["predictors"][0]["kind"]) == (40, "flops")
        assert found["learned"]["cells"] == 80
        reason = refusal("predictor", "evaluate", data, "--device", "good", "--predictor", saved)
        assert "was fitted to just these figures of latencies.parquet" in reason

    def test_a_predictor_of_which_nobody_knows_what_it_learned_says_so(self, data: Path, folder: Path) -> None:
        cells = [Architecture.parse(text) for text in (POOL, CONV)]
        FlopsPredictor(NetworkConfig.small()).fit(cells, [1.0, 2.0]).save("untold.predictor")
        arguments = (data, "--device", "good", "--predictor", folder / "untold.predictor")
        text = leti_opt("predictor", "evaluate", *arguments).stdout
        assert "learned from figures of an unknown origin" in text
        assert "they may be simulated" in text
        assert printed_json("predictor", "evaluate", *arguments)["learned"] is None


class TestCompare:
    def test_kinds_are_compared_on_the_same_splits(self, data: Path) -> None:
        options = (*NAMED, "--splits", "2", "--kind", "better-flops,flops")
        text = leti_opt("predictor", "compare", data, *options).stdout
        lines = text.splitlines()
        assert "2 splits, 64 cells to learn from" in lines[0]
        assert [line.split()[0] for line in lines[1:4]] == ["kind", "better-flops", "flops"]
        assert WARNING in text
        found = printed_json("predictor", "compare", data, *options)
        alone = printed_json("predictor", "evaluate", data, *NAMED, "--splits", "2", "--kind", "flops")
        assert found["predictors"][1]["within"] == alone["predictors"][0]["within"]

    @pytest.mark.slow
    def test_all_quick_kinds_are_compared_where_none_is_named(self, data: Path) -> None:
        found = printed_json("predictor", "compare", data, *NAMED, "--splits", "2")
        assert [row["kind"] for row in found["predictors"]] == ["flops", "better-flops", "xgboost", "kernel"]


class TestPredict:
    def test_cells_by_text_and_hash_with_intervals(self, saved: Path) -> None:
        hashed = Architecture.parse(POOL).graph_hash
        text = leti_opt("predictor", "predict", saved, CONV, hashed).stdout
        lines = text.splitlines()
        assert lines[0].startswith("predicted by FlopsPredictor ")
        assert "which learned 80 simulated figures" in lines[0]
        assert lines[1].split("\t") == ["predicted ms", "90 % from", "to", "status", "cell"]
        assert [line.split("\t")[-2:] for line in lines[2:4]] == [["predicted", CONV], ["predicted", POOL]]
        assert lines[-1] == WARNING
        found = printed_json("predictor", "predict", saved, CONV, hashed)
        expected = load_predictor(saved).predict([Architecture.parse(CONV), Architecture.parse(POOL)])
        np.testing.assert_allclose([row["predicted_ms"] for row in found["cells"]], expected)
        for row in found["cells"]:
            assert row["lower_ms"] < row["predicted_ms"] < row["upper_ms"]
        assert found["training"]["origin"] == "simulated"

    def test_a_wider_coverage_has_wider_intervals(self, saved: Path) -> None:
        (narrow,), (wide,) = (
            printed_json("predictor", "predict", saved, CONV, "--coverage", share)["cells"] for share in ("50%", "0.95")
        )
        assert wide["upper_ms"] > narrow["upper_ms"]

    @pytest.mark.parametrize("suffix", [".npz", ".parquet", ".csv", ".list.parquet"])
    def test_cells_of_a_file(self, saved: Path, folder: Path, suffix: str) -> None:
        table = ArchitectureTable.from_architectures([Architecture.parse(CONV), Architecture.parse(POOL)])
        path = folder / f"cells{suffix}"
        if suffix == ".csv":
            pd.DataFrame({"cell": [CONV, POOL]}).to_csv(path)
        elif suffix == ".list.parquet":
            pd.DataFrame({"cell": [CONV, POOL], "edges": [2, 2]}).to_parquet(path)
        else:
            table.save(path)
        named = printed_json("predictor", "predict", saved, CONV, POOL)["cells"]
        assert printed_json("predictor", "predict", saved, "--table", path)["cells"] == named
        both = printed_json("predictor", "predict", saved, POOL, "--table", path)["cells"]
        assert [row["cell"] for row in both] == [POOL, CONV, POOL]

    def test_a_predictor_of_which_nobody_knows_what_it_learned_says_so(self) -> None:
        cells = [Architecture.parse(text) for text in (POOL, CONV)]
        FlopsPredictor(NetworkConfig.small()).fit(cells, [1.0, 2.0]).save("untold.predictor")
        text = leti_opt("predictor", "predict", "untold.predictor", CONV).stdout
        assert "figures of an unknown origin" in text
        assert "they may be simulated" in text

    def test_a_cell_that_cannot_run_has_no_figure_and_an_exit_code(self) -> None:
        network = NetworkConfig.small(filters=7)
        cells = [Architecture.parse(text) for text in (POOL, CONV)]
        FlopsPredictor(network).fit(cells, [1.0, 2.0]).save("odd.predictor")
        arguments = ("predictor", "predict", "odd.predictor", CONV, SLICING)
        assert "skipped" in leti_opt(*arguments, "--gpu", "paper-2020", code=5).stdout
        found = printed_json(*arguments, "--gpu", "paper-2020", code=5)
        assert [row["status"] for row in found["cells"]] == ["predicted", "skipped"]
        assert found["cells"][1]["predicted_ms"] is None
        assert [row["status"] for row in printed_json(*arguments)["cells"]] == ["predicted", "predicted"]

    def test_a_whole_space_is_written_with_what_it_rests_on(self, folder: Path) -> None:
        device = [{"uri": URI, "name": "good"}]
        data = dataset(folder, "nasbench201", device, {"space": "nasbench201", "sample": 60})
        leti_opt("predictor", "fit", data, "-n", "nasbench201", "--kind", "xgboost", "--out", "x.predictor")
        loaded = load_predictor("x.predictor")
        assert isinstance(loaded, BoostedTreesPredictor)
        assert loaded.vertices == 8
        told = leti_opt("predictor", "predict", "x.predictor", "--space", "nasbench201", "-o", "all.parquet").stdout
        frame = pd.read_parquet("all.parquet")
        assert f"all.parquet: {len(frame):,} predicted" in told
        assert WARNING in told
        assert len(frame) > 6000
        assert set(frame["learned_from"]) == {"simulated"}
        assert set(frame["training_digest"]) == {loaded.training_digest_}
        assert (frame["lower_ms"] <= frame["predicted_ms"]).all()
        cells = [Architecture.parse(text) for text in frame["cell"][:5]]
        np.testing.assert_allclose(loaded.predict(cells), frame["predicted_ms"][:5], rtol=1e-5)
        printed = leti_opt("predictor", "predict", "x.predictor", "--space", "nasbench201", "--limit", "3").stdout
        assert f"the fastest 3 of {len(frame):,}" in printed
        first = float(printed.splitlines()[2].split("\t")[0])
        assert first == pytest.approx(frame["predicted_ms"].min(), abs=1e-3)

    def test_a_limit_leaves_the_fastest_of_a_file_too(self, saved: Path, folder: Path) -> None:
        (folder / "three.csv").write_text(f'cell\n"{SLICING}"\n"{CONV}"\n"{POOL}"\n')
        everything = leti_opt("predictor", "predict", saved, "--table", "three.csv").stdout
        assert [line.split("\t")[-1] for line in everything.splitlines()[2:5]] == [SLICING, CONV, POOL]
        limited = leti_opt("predictor", "predict", saved, "--table", "three.csv", "--limit", "1").stdout
        assert limited.splitlines()[2].endswith(POOL)
        assert "the fastest 1 of 3;" in limited

    def test_csv_says_the_same(self, saved: Path, folder: Path) -> None:
        told = printed_json("predictor", "predict", saved, CONV, POOL, "-o", "two.csv")
        assert "cells" not in told
        frame = pd.read_csv(folder / "two.csv")
        assert frame["cell"].tolist() == [CONV, POOL]
        assert frame["learned_from"].tolist() == ["simulated", "simulated"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["fit", "DATA", "-n", "small", "-o", "x"], "has 2 devices; choose one with --device: good, poor"),
        (["fit", "DATA", "-n", "small", "-d", "god", "-o", "x"], "did you mean 'good'"),
        (["fit", "DATA", "-d", "good", "-o", "x"], "has no rows of this network"),
        (["fit", "DATA", "-d", "good", "-o", "x"], "it has: --network small"),
        (["fit", "DATA", "-n", "small", "-d", "good", "-o", "nowhere/x"], "cannot write nowhere/x"),
        (["fit", "DATA", "-n", "small", "-d", "good", "-o", "x", "--kind", "kernal"], "did you mean 'kernel'"),
        (["fit", "-n", "small", "-o", "x"], "one of the two"),
        (["fit", "DATA", "--store", "STORE", "-n", "small", "-d", "good", "-o", "x"], "one of the two"),
        (["fit", "--store", "STORE", "-n", "small", "-o", "x"], "name one with --device"),
        (["fit", "--store", "STORE", "-n", "small", "-d", "host-cpu", "-o", "x"], "it knows the devices: replay:"),
        (["fit", "--store", "STORE", "-d", URI, "-o", "x"], "has no latency of replay:formula?seed=1 in this network"),
        (["fit", "--store", "typo.db", "-d", URI, "-o", "x"], "there is no store typo.db"),
        (["fit", "typo.parquet", "-o", "x"], "there is no file typo.parquet"),
        (["fit", "STORE", "-o", "x"], "is no Parquet file"),
        (["fit", "OTHER", "-o", "x"], "is no campaign's table: it lacks cell, network"),
        (["fit", "FEW", "-n", "small", "-d", "good", "-o", "x"], "has 4 cell(s) with a latency, and 10 are needed"),
        (["evaluate", "DATA", "-n", "small", "-d", "good", "--size", "80"], "one class at least must be left to test"),
        (["evaluate", "DATA", "--held-out", "DATA", "--predictor", "SAVED"], "use one"),
        (["evaluate", "DATA", "-n", "nasbench201", "-d", "good", "--predictor", "SAVED"], "is for another network"),
        (["compare", "DATA", "-n", "small", "-d", "good", "--kind", "flops,flops"], "names a kind twice"),
        (["compare", "DATA", "-n", "small", "-d", "good", "--kind", "flops,gnn"], "unknown kind 'gnn'"),
        (["predict", "typo.predictor", CONV], "there is no file typo.predictor"),
        (["predict", "DATA", CONV], "no predictor that leti_opt saved"),
        (["predict", "SAVED"], "name cells, or a --table of cells, or a whole --space"),
        (["predict", "SAVED", "nonsense"], "is not a cell"),
        (["predict", "SAVED", "0" * 32], "no cell of this table has the graph hash"),
        (["predict", "SAVED", "--table", "typo.npz"], "there is no file typo.npz"),
        (["predict", "SAVED", "--table", "OTHER_CSV"], "has no column 'cell'; it has: latency"),
        (["predict", "SAVED", "--space", "nasbench102"], "unknown space 'nasbench102'"),
        (["predict", "SAVED", "--table", "UNQUOTED_CSV"], "put texts with commas, as cells have them, in quotes"),
        (["predict", "SAVED", "--table", "EMPTY_CSV"], "is no CSV file"),
        (["predict", "SAVED", CONV, "--coverage", "100%"], "between 0 and 1"),
        (["predict", "SAVED", CONV, "--coverage", "95"], "'95' is 9500 %, more than all"),
        (["predict", "SAVED", CONV, "--coverage", "most"], "is no share"),
        (["predict", "SAVED", CONV, "--gpu", "paper-202"], "did you mean 'paper-2020'"),
        (["predict", "SAVED", CONV, "-o", "x.xlsx"], "name a .parquet or .csv file"),
        (["predict", "SAVED", "0-1,1-2:mystery:mystery"], "knows no layers for operation 'mystery'"),
    ],
)
def test_wrong_input_is_refused(arguments: list[str], reason: str, data: Path, saved: Path, folder: Path) -> None:
    parquet.write_table(pa.table({"latency": [1.0]}), folder / "other.parquet")
    (folder / "other.csv").write_text("latency\n1.0\n")
    (folder / "unquoted.csv").write_text(f"cell\n{CONV}\n{SLICING}\n")
    (folder / "empty.csv").write_text("")
    parquet.write_table(parquet.read_table(data)[:4], folder / "few.parquet")
    named = {
        "DATA": data,
        "STORE": data.parent / "latency.db",
        "SAVED": saved,
        "OTHER": folder / "other.parquet",
        "OTHER_CSV": folder / "other.csv",
        "UNQUOTED_CSV": folder / "unquoted.csv",
        "EMPTY_CSV": folder / "empty.csv",
        "FEW": folder / "few.parquet",
    }
    assert reason in refusal("predictor", *(named.get(argument, argument) for argument in arguments))
    assert not (folder / "x").exists()


class TestCard:
    def test_it_says_what_was_learned_and_that_nobody_judged_it(self, saved: Path) -> None:
        text = leti_opt("predictor", "card", saved).stdout
        assert text.startswith("---\nlibrary_name: leti_opt\n")
        assert f"# {saved.name}" in text
        assert "80 simulated figures of formula" in text
        assert f"**{WARNING}**" in text
        assert load_predictor(saved).training_digest_ in text
        assert "Nobody looked" in text

    def test_by_what_it_learned_its_kind_is_judged_in_splits(self, data: Path, saved: Path, tmp_path: Path) -> None:
        out = tmp_path / "card.md"
        leti_opt("predictor", "card", saved, "--data", data, "--device", "good", "--splits", 2, "--out", out)
        text = out.read_text()
        assert "fitted anew in each split" in text
        assert "2 splits, 64 cells to learn from and 16 to be judged by" in text
        assert "within ±10 %" in text

    def test_by_other_figures_it_is_judged_as_it_is(self, data: Path, saved: Path) -> None:
        text = leti_opt("predictor", "card", saved, "--data", data, "--device", "poor").stdout
        assert "fitted anew" not in text
        assert "judged by" in text
        assert "networks that it learned may be among those that judge it" in text
        assert "left out:" in text

    def test_wrong_input_is_refused(self, saved: Path, tmp_path: Path) -> None:
        assert "give one of them" in refusal("predictor", "card", saved, "--device", "good")
        assert "name a file in another folder" in refusal("predictor", "card", saved, "--out", tmp_path / "no" / "x.md")
