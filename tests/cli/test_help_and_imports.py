"""Help with examples, exit codes, and which heavy packages are not loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from leti_opt.cli.common import PRESET_NAMES
from leti_opt.cli.main import app
from leti_opt.network.config import PRESETS
from leti_opt.network.tflite_writer import write_tflite
from tests.cli.commands import ROOT, in_process, leti_opt, refusal
from tests.device.tiny_graphs import tiny_graph

HEAVY = ("tensorflow", "keras", "nevergrad", "sqlalchemy", "xgboost", "matplotlib", "sklearn", "pandas", "scipy")


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, command in group.commands.items():
        inner = (*path, name)
        found += commands(command, inner) if hasattr(command, "commands") else [(inner, command)]
    return found


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_the_promised_commands_are_there() -> None:
    assert {" ".join(path) for path in COMMANDS} >= {
        *("measure", "compare", "reproduce", "search", "build", "convert", "devices list", "devices setup"),
        *(f"campaign {name}" for name in ("new", "plan", "run", "status", "watch", "export")),
        *(f"lut {name}" for name in ("study", "cells", "predict")),
        *(f"predictor {name}" for name in ("fit", "evaluate", "predict", "compare", "adapt", "card")),
        *(f"space {name}" for name in ("count", "list", "show")),
        *(f"store {name}" for name in ("info", "import", "merge", "export")),
        *("accuracy import", "accuracy show"),
    }


def test_the_help_names_every_preset_of_a_network() -> None:
    assert PRESET_NAMES.split(", ") == list(PRESETS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    text = " ".join(leti_opt(*path, "--help").stdout.split())
    assert f"Example: leti-opt {' '.join(path)}" in text
    for option in COMMANDS[path].params:
        assert option.help, f"{option.name} has no help"


def test_the_main_help_lists_exit_codes_and_commands() -> None:
    text = " ".join(leti_opt("--help").stdout.split())
    for words in ("0 done", "2 wrong input", "3 the device's fault", "4 the store's fault", "130 interrupted"):
        assert words in text
    for path in COMMANDS:
        assert path[0] in text


def test_an_unknown_command_and_option_are_wrong_input() -> None:
    for arguments in (["mesure"], ["measure"], ["search", "--bugdet", "3"], ["store", "information"]):
        result = leti_opt(*arguments, code=2)
        assert result.stdout == ""
        assert "Usage:" in result.stderr


LOADED = """
import sys
sys.argv = ["leti-opt", *sys.argv[1:]]
try:
    {statement}
except SystemExit as end:
    print("ended with", end.code)
print("loaded", sorted(set({heavy!r}) & set(sys.modules)))
"""


def last_lines(statement: str, *arguments: str) -> list[str]:
    code = LOADED.format(statement=statement, heavy=HEAVY)
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.cwd())},
    )
    return result.stdout.splitlines()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert last_lines("import leti_opt") == ["loaded []"]


def test_help_loads_nothing_heavy() -> None:
    lines = last_lines("from leti_opt.cli.main import main; main()", "--help")
    assert lines[-2:] == ["ended with 0", "loaded []"]
    assert any("measure" in line for line in lines)


def test_measuring_a_tflite_file_loads_no_tensorflow(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(write_tflite(tiny_graph()))
    lines = last_lines(
        "from leti_opt.cli.main import main; main()", "measure", "net.tflite", "--min-runs", "20", "--json"
    )
    assert lines[-2] in ("ended with 0", "ended with 6")
    loaded = lines[-1]
    assert "sqlalchemy" in loaded
    assert not any(name in loaded for name in ("tensorflow", "keras", "nevergrad", "xgboost", "sklearn"))


def test_a_search_on_cells_loads_no_tensorflow() -> None:
    lines = last_lines(
        "from leti_opt.cli.main import main; main()",
        *("search", "-d", "replay:formula", "-n", "small", "--budget", "3", "--optimizer", "RandomSearch"),
    )
    assert lines[-2] == "ended with 0"
    assert "nevergrad" in lines[-1]
    assert "tensorflow" not in lines[-1]


def test_the_module_runs_as_a_command(folder: Path) -> None:
    result = in_process("space", "show", "0-1,1-2:maxpool3x3", cwd=folder)
    assert result.returncode == 0
    assert "graph_hash" in result.stdout
    assert result.stderr == ""
    assert in_process("space", "show", "nonsense", cwd=folder).returncode == 2


def test_a_refusal_is_one_line() -> None:
    assert "is not a cell" in refusal("space", "show", "nonsense")
