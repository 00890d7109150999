"""``leti-opt compare``: the table, the verdict, the picture, JSON, exit codes, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from leti_opt.device.device import DeviceIdentity
from leti_opt.store import LatencyStore
from tests.cli.commands import SIMULATED, TINY, leti_opt, printed_json, refusal
from tests.report.test_comparison_source import OTHER, filled, sample
from tests.store.samples import DEVICE

SLOWER = f"{SIMULATED}&overhead_us=60"


@pytest.fixture
def sides(folder: Path) -> tuple[str, str]:
    """Two stores of the same 12 networks, the second 1.3 times slower but for one network."""
    filled(folder / "before.db", [sample(number) for number in range(12)])
    filled(folder / "after.db", [sample(number, 1.3 if number != 4 else 2.1, identity=OTHER) for number in range(12)])
    return "before.db", "after.db"


def both_in_one(folder: Path, second: float = 1.0, networks: int = 12, other: DeviceIdentity = OTHER) -> list[str]:
    figures = [sample(number) for number in range(networks)]
    figures += [sample(number, second, identity=other) for number in range(networks)]
    filled(folder / "latency.db", figures)
    return [f"latency.db?device={identity.digest[:12]}" for identity in (DEVICE, other)]


def test_two_stores_are_compared_in_a_table_that_ends_with_the_verdict(sides: tuple[str, str]) -> None:
    lines = leti_opt("compare", *sides).stdout.splitlines()
    assert lines[0] == f"A  {DEVICE.name} (before.db), measured"
    assert lines[1] == f"B  {OTHER.name} (after.db), measured"
    assert "12 in both, 0 only in A, 0 only in B" in lines[2]
    assert "1.3000 (1.3000 to 1.3000)" in lines[3]
    assert "Spearman" in lines[4]
    assert "0 % (within 2 %), 0 % (within 5 %), 0 % (within 10 %)" in lines[5]
    assert "92 % (within 2 %)" in lines[6]
    assert "rank 5 to 8, 5 to 10.5 ms, beyond its intervals  0-1,1-2:maxpool4" in "\n".join(lines)
    assert lines[-1].startswith(
        "B is 1.30 times slower than A (1.30 to 1.30) and ranks the networks nearly the same, 0.9"
    )


def test_the_number_of_listed_networks_is_chosen(sides: tuple[str, str]) -> None:
    listed = {count: leti_opt("compare", *sides, "--moved", count).stdout.count(" ms, ") for count in (0, 1, 3)}
    assert listed == {0: 0, 1: 1, 3: 3}


def test_json_holds_everything(sides: tuple[str, str]) -> None:
    found = printed_json("compare", *sides)
    assert found["verdict"].startswith(f"{OTHER.name} (after.db) is 1.30 times slower than {DEVICE.name} (before.db)")
    assert found["agrees"] is False
    assert (found["networks"], len(found["rows"]), found["matched_by"]) == (12, 12, "model_key")
    assert found["ratio"] == pytest.approx(1.3)
    assert set(found["within"]) == set(found["within_scaled"]) == {"0.02", "0.05", "0.1"}
    assert found["moved"][0]["label"] == "0-1,1-2:maxpool4"
    assert found["moved"][0]["intervals_overlap"] is False
    assert found["rows"][0]["first_error_ms"] > 0


def test_undefined_figures_are_null_in_json(folder: Path) -> None:
    flat = [sample(number, 1 / (number + 1)) for number in range(12)]
    filled(folder / "flat.db", flat)
    assert printed_json("compare", "flat.db", "flat.db")["spearman"] is None


def test_one_store_compares_with_itself_by_device(folder: Path) -> None:
    text = leti_opt("compare", *both_in_one(folder, 1.01)).stdout
    assert text.splitlines()[-1].startswith("A and B agree: median ratio 1.010 (1.010 to 1.010), Spearman 1.000, on 12")


def test_a_store_and_its_exports_agree(sides: tuple[str, str], folder: Path) -> None:
    with LatencyStore("before.db") as store:
        store.export("before.parquet")
        store.export("before.csv")
    for path in ("before.parquet", "before.csv"):
        assert printed_json("compare", "before.db", path, "--require-agreement")["agrees"] is True


@pytest.mark.parametrize(("second", "networks", "code"), [(1.0, 12, 0), (1.3, 12, 1), (1.0, 5, 1)])
def test_agreement_is_an_exit_code_where_it_is_required(folder: Path, second: float, networks: int, code: int) -> None:
    arguments = both_in_one(folder, second, networks)
    assert leti_opt("compare", *arguments).exit_code == 0
    result = leti_opt("compare", *arguments, "--require-agreement", code=code)
    assert result.stdout == leti_opt("compare", *arguments).stdout


def test_another_statistic_is_compared_on_both_sides(sides: tuple[str, str]) -> None:
    found = printed_json("compare", *sides, "--statistic", "p95")
    assert found["first"].endswith(", p95)")
    assert found["second"].endswith(", p95)")
    assert found["rows"][0]["first_error_ms"] is None


def test_the_picture_is_drawn_only_if_all_goes_well(sides: tuple[str, str], folder: Path) -> None:
    assert "the picture is in compared.png" in leti_opt("compare", *sides, "--figure", "compared.png").stdout
    assert (folder / "compared.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "must end with .png" in refusal("compare", *sides, "--figure", "compared.svg")
    assert "cannot write" in refusal("compare", *sides, "--figure", "no/folder.png")
    before = set(folder.iterdir())
    refusal("compare", "before.db", "not.db", "--figure", "other.png")
    assert set(folder.iterdir()) == before


def test_cells_measured_by_the_command_are_compared_with_their_origin(folder: Path) -> None:
    cells = [f"0-1,1-2:{operation}" for operation in ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")]
    for uri in (SIMULATED, SLOWER):
        leti_opt("measure", *cells, "--device", uri, *TINY)
    chosen = [f"latency.db?device={uri.replace('&', '%26')}" for uri in (SIMULATED, SLOWER)]
    found = printed_json("compare", *chosen)
    assert (found["networks"], found["first_origin"], found["second_origin"]) == (3, "simulated", "simulated")
    assert "only 3 networks are in both" in found["verdict"]
    assert found["verdict"].startswith("whether the simulated figures of ")
    assert found["ratio"] > 1
    assert {row["label"] for row in found["rows"]} == set(cells)


# -- what is refused ---------------------------------------------------------------------------------------------


def test_several_devices_are_listed_in_one_line(folder: Path) -> None:
    both_in_one(folder)
    text = refusal("compare", "latency.db", "latency.db")
    assert "holds 2 devices; choose one, for instance 'latency.db?device=" in text
    assert DEVICE.digest[:12] in text
    assert OTHER.digest[:12] in text


def test_too_few_common_networks_are_wrong_input(folder: Path) -> None:
    filled(folder / "one.db", [sample(number) for number in range(5)])
    filled(folder / "other.db", [sample(number) for number in range(3, 8)])
    text = refusal("compare", "one.db", "other.db")
    assert "2 networks are in both sides" in text
    assert "measure more of the same networks" in text


def test_a_missing_store_is_refused_and_not_made(folder: Path) -> None:
    assert "there is no store missing.db" in refusal("compare", "missing.db", "missing.db")
    assert list(folder.iterdir()) == []


def test_one_side_alone_is_refused() -> None:
    for arguments in ((), ("before.db",)):
        assert "name the two sides" in refusal("compare", *arguments)


@pytest.mark.parametrize("option", [("--device", "host-cpu"), ("--store", "a.db"), ("-n", "small"), ("--set", "a=1")])
def test_options_of_a_panel_are_refused_without_one(option: tuple[str, str]) -> None:
    text = refusal("compare", "a.db", "b.db", *option)
    assert "goes with --panel; choose from a side with 'latency.db?device=NAME" in text


# -- the panel ---------------------------------------------------------------------------------------------------


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the panel's own command was asked for."""
    asked: list[Any] = []
    stand_in = ModuleType("leti_opt.cli.compare_panel")
    stand_in.run_panel = lambda *arguments: asked.append(arguments)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "leti_opt.cli.compare_panel", stand_in)
    return asked


def test_a_panel_is_handed_on_with_its_options(panels: list[Any]) -> None:
    leti_opt("compare", "--panel")
    leti_opt("compare", "--panel", "-d", SIMULATED, "--store", "a.db", *TINY, "--json")
    assert panels == [
        ("host-cpu", "latency.db", "nasbench101", None, False),
        (SIMULATED, "a.db", "small", ["filters=8", "input_shape=[8,8,3]"], True),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("a.db",),
        ("a.db", "b.db"),
        ("--statistic", "median"),
        ("--moved", "0"),
        ("--figure", "a.png"),
        ("--seed", "0"),
        ("--require-agreement",),
    ],
)
def test_a_panel_takes_no_sides_and_none_of_their_options(panels: list[Any], arguments: tuple[str, ...]) -> None:
    assert "--panel measures a panel and takes no" in refusal("compare", "--panel", *arguments)
    assert panels == []
