"""README and docs say what is there: links lead somewhere, commands and their options exist, examples import."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from leti_opt.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def names_of(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def code_of(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """What follows ``leti-opt`` on lines that show a command, comments left out."""
    for line in page.read_text().replace("\\\n", "").splitlines():
        shown = re.match(r"(?:    |\$ )(?:\.venv/bin/)?leti-opt (.*)", line)
        if shown:
            yield shlex.split(shown[1], comments=True)


def command_and_rest(words: list[str]) -> tuple[Any, list[str]]:
    """The command that is meant, and what it is given; a group where there is no such command in it."""
    command, rest = typer.main.get_command(app), list(words)
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    if command.name == "lut" and rest:
        command = command.commands["cells" if {"--space", "--cells"} & {*rest} else "study"]
    return command, rest


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^()#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target.removesuffix("/")).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_commands_that_are_shown_exist_with_their_options(page: Path) -> None:
    for words in commands_of(page):
        command, rest = command_and_rest(words)
        assert not hasattr(command, "commands") or rest == ["--help"], f"no such command: {' '.join(words)}"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= {*known, "--help"}, f"leti-opt {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_python_that_is_shown_parses_and_what_it_imports_of_ours_exists(page: Path) -> None:
    for code in code_of(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leti_opt"):
                module = import_module(str(node.module))
                missing = [name.name for name in node.names if not hasattr(module, name.name)]
                assert not missing, f"{node.module} has no {', '.join(missing)}"


def test_the_pages_show_commands_links_and_python() -> None:
    assert sum(1 for page in PAGES for _ in commands_of(page)) > 50
    assert sum(len(code_of(page, "python")) for page in PAGES) > 10
