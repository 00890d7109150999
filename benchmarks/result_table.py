"""Writes a benchmark's result as a Markdown table, with commit, machine and the command that made it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from leti_opt.report.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def write_result(
    name: str, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Path:
    """Write ``results/NAME.md`` and print it."""
    lines = [f"# {title}", ""]
    lines += ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", *(f"{note}  " for note in notes)] + ([""] if notes else [])
    lines += [f"{line}  " for line in describe_machine().lines()]
    lines += [f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `python -m benchmarks.{' '.join(_command())}`", ""]
    path = RESULTS / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))
    print("\n".join(lines))
    return path


def _command() -> list[str]:
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).resolve().parent)
    return [".".join(script.with_suffix("").parts), *sys.argv[1:]]
