"""``leti-opt space``: counts, lists, files and single cells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from leti_opt import Architecture, NetworkConfig, build_layer_graph, gpu_support, network_cost
from leti_opt.errors import InvalidInputError
from leti_opt.network.limits import quantity
from tests.cli.commands import leti_opt, printed_json, refusal

FIVE = ("--max-vertices", 5, "--network", "small", "--set", "filters=7")
CONFIG = NetworkConfig.small(filters=7)


def listed(*arguments: object) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = printed_json("space", "list", *FIVE, "--limit", 0, *arguments)
    return rows


def test_counts_the_published_numbers_of_cells() -> None:
    counted = printed_json("space", "count", *FIVE)
    assert counted == {
        "space": "nasbench101",
        "cells": 2532,
        "by_vertices": {"2": 1, "3": 6, "4": 84, "5": 2441},
    }
    assert "2,532 unique cells" in leti_opt("space", "count", *FIVE).stdout


def test_lists_each_cell_with_its_hash_and_the_costs_of_its_network() -> None:
    rows = listed("--vertices", 4)
    assert len(rows) == 84
    for row in rows[::9]:
        cell = Architecture.parse(str(row["cell"]))
        cost = network_cost(cell, CONFIG)
        assert (row["graph_hash"], row["vertices"], row["edges"]) == (cell.graph_hash, 4, len(cell.edges))
        assert (row["flops"], row["parameters"]) == (cost.flops, cost.parameters)
        assert row["peak_memory_bytes"] == cost.peak_memory_bytes


def test_limits_keep_what_meets_them_and_nothing_else() -> None:
    everything = listed()
    middle = sorted(int(str(row["flops"])) for row in everything)[1000]
    kept = listed("--max-flops", middle)
    assert kept == [row for row in everything if int(str(row["flops"])) <= middle]
    assert 0 < len(kept) < len(everything)
    counted = printed_json("space", "count", *FIVE, "--max-flops", middle)
    assert counted["cells"] == len(kept)
    shown = leti_opt("space", "count", *FIVE, "--min-flops", middle + 1).stdout
    assert f"{len(everything) - len(kept):,} of 2,532 unique cells" in shown


def test_memory_and_parameters_are_limits_too() -> None:
    rows = listed("--max-memory", "100KiB", "--max-parameters", "1.5k")
    assert 0 < len(rows) < 2532
    assert all(int(str(row["peak_memory_bytes"])) <= 100 * 1024 for row in rows)
    assert all(int(str(row["parameters"])) <= 1500 for row in rows)
    assert len(rows) < len(listed("--max-memory", "100KiB"))
    assert len(rows) < len(listed("--max-parameters", "1.5k"))


def test_a_forecast_chooses_the_cells_that_it_passes() -> None:
    chosen = {str(row["cell"]) for row in listed("--vertices", 4, "--gpu", "paper-2020")}
    every = [str(row["cell"]) for row in listed("--vertices", 4)]
    expected = {
        cell
        for cell in every
        if gpu_support(build_layer_graph(Architecture.parse(cell), CONFIG), "paper-2020").supported
    }
    assert chosen == expected
    assert 0 < len(chosen) < len(every)


@pytest.mark.parametrize(("key", "column"), [("flops", "flops"), ("memory", "peak_memory_bytes")])
def test_lists_are_sorted_as_told(key: str, column: str) -> None:
    values = [row[column] for row in listed("--vertices", 4, "--sort", key)]
    assert values == sorted(values, key=lambda value: int(str(value)))
    backwards = [row[column] for row in listed("--vertices", 4, "--sort", key, "--reverse")]
    assert backwards == values[::-1]


def test_a_short_list_says_how_long_the_whole_is() -> None:
    text = leti_opt("space", "list", *FIVE, "--limit", 3).stdout
    assert "3 of 2,532 cells" in text
    assert len(re.findall(r"^[0-9a-f]{32}\s", text, re.MULTILINE)) == 3


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_file_holds_every_cell_that_was_chosen(suffix: str, folder: Path) -> None:
    name = f"cells.{suffix}"
    assert leti_opt("space", "list", *FIVE, "--vertices", 4, "-o", name).stdout == f"{name}: 84 cells\n"
    frame = pd.read_parquet(folder / name) if suffix == "parquet" else pd.read_csv(folder / name)
    assert frame.to_dict("records") == listed("--vertices", 4)


def test_the_other_space_is_enumerated_too() -> None:
    counted = printed_json("space", "count", "--space", "nasbench201")
    assert counted["cells"] == 8764
    (first, *_) = printed_json("space", "list", "--space", "nasbench201", "--limit", 1)
    assert printed_json("space", "show", first["graph_hash"], "--space", "nasbench201")["flops"] == first["flops"]


def test_a_cell_is_shown_by_its_hash_with_layers_costs_and_forecasts(folder: Path) -> None:
    native = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    by_text = printed_json("space", "show", native, "--space", "nasbench201")
    shown = printed_json("space", "show", by_text["graph_hash"], "--space", "nasbench201", "--drawing", "cell.png")
    assert shown == by_text
    assert sum(layer["flops"] for layer in shown["layers"]) == shown["flops"]
    assert sum(layer["parameters"] for layer in shown["layers"]) == shown["parameters"]
    assert shown["gpu_forecast"] == {"paper-2020": True, "tflite-current": True}
    assert (folder / "cell.png").read_bytes()[:4] == b"\x89PNG"


def test_a_refused_network_says_why() -> None:
    cell = "0-1,1-2,1-3,2-4,3-4:conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu"
    text = leti_opt("space", "show", cell, "--network", "small", "--set", "filters=7").stdout
    assert "GPU by paper-2020" in text
    assert "refused" in text
    assert "conv_" in text
    whole = leti_opt("space", "show", cell, "--network", "small", "--set", "filters=7", "--layers").stdout
    assert "global_pool" in whole
    assert "global_pool" not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("count", "--max-flops", "many"), "'many' is no quantity"),
        (("count", "--max-flops", "2T"), "'2T' is no quantity"),
        (("count", *FIVE, "--gpu", "paper-2021"), "did you mean 'paper-2020'"),
        (("list", "--sort", "flop"), "did you mean 'flops'"),
        (("list", "-o", "cells.xlsx"), "name a .parquet or .csv file"),
        (("list", *FIVE, "-o", "nowhere/cells.csv"), "name a file in another folder"),
        (("count", "--max-vertices", 1), "max_vertices"),
        (("count", "--operations", "conv3x3-bn-relu,nothing", *FIVE, "--max-flops", "1G"), "'nothing'"),
        (("count", "--max-vertices", 40, "--max-edges", 200), "max_"),
        (("show", "0" * 32, "--space", "nasbench201"), "0" * 32),
        (("show", "0-1:", "--drawing", "cell.txt"), "name a .png, .svg or .pdf file"),
    ],
)
def test_wrong_input_is_refused_with_what_to_do(arguments: tuple[object, ...], words: str) -> None:
    assert words in refusal("space", *arguments)


def test_json_of_a_list_is_plain_numbers() -> None:
    text = leti_opt("space", "list", *FIVE, "--limit", 1, "--json").stdout
    assert json.loads(text)[0]["vertices"] == 2


@pytest.mark.parametrize("text", ["", "-1", "1 G G", "nan", "1e", "0x10"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no quantity"):
        quantity(text)
