"""Runs ``leti-opt`` in this process, or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from leti_opt.cli.main import app

ROOT = Path(__file__).parents[2]
CELL = "0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3"
SIMULATED = "replay:formula?seed=1"
TINY = ("--network", "small", "--set", "filters=8", "--set", "input_shape=[8,8,3]")
SEARCH_ON = ("search", *TINY, "--budget", "5", "--optimizer", "RandomSearch", "--device")
SEARCH = (*SEARCH_ON, SIMULATED)
MEASURE = ("measure", CELL, "--device", SIMULATED, *TINY)


def leti_opt(*arguments: object, code: int = 0) -> Result:
    """Run a command that must end with an exit code, and with nothing that Python alone would say."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.exit_code}: {result.output} {result.exception!r}"
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def refusal(*arguments: object, code: int = 2) -> str:
    """The one line that a refused command says; nothing goes to the standard output."""
    result = leti_opt(*arguments, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("leti-opt: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def printed_json(*arguments: object, code: int = 0) -> Any:
    """What a command with ``--json`` prints, strictly read."""

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(leti_opt(*arguments, "--json", code=code).stdout, parse_constant=refuse)


def in_process(*arguments: object, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    command = [sys.executable, "-m", "leti_opt.cli.main", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
