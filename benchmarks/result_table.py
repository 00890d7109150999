"""Writes a benchmark's result as a Markdown table, with commit, machine and the command that made it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from leti_opt.report.lut_table import markdown_table
from leti_opt.report.machine import describe_machine

RESULTS = Path(__file__).parent / "results"
FIGURES_SUFFIX = ".figures.json"


@dataclass(frozen=True)
class Figure:
    """A measured figure beside what it should be; ``benchmarks.summary`` puts them into one table.

    Args:
        what: what was measured.
        measured: the value.
        unit: of all three.
        at_least: what it must be.
        aim: what it should be.
        smaller_is_better: whether these are upper limits.
    """

    what: str
    measured: float
    unit: str
    at_least: float
    aim: float | None = None
    smaller_is_better: bool = False

    def meets(self, limit: float | None) -> bool:
        """Whether the figure is on the right side of a limit."""
        return limit is None or (self.measured <= limit if self.smaller_is_better else self.measured >= limit)


def write_result(
    name: str,
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    figures: Sequence[Figure] = (),
) -> Path:
    """Write ``results/NAME.md`` and print it; figures go beside it."""
    origin = _origin()
    lines = [f"# {title}", ""]
    lines += markdown_table(headings, rows)
    lines += ["", *(f"{note}  " for note in notes)] + ([""] if notes else [])
    lines += [*(f"{line}  " for line in origin[:-1]), origin[-1], ""]
    path = RESULTS / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines))
    if figures:
        data = {"origin": origin, "figures": [asdict(figure) for figure in figures]}
        path.with_suffix(FIGURES_SUFFIX).write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(lines))
    return path


def _origin() -> list[str]:
    """Machine, versions and commit; then when, and by which command."""
    return [
        *describe_machine().lines(),
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `python -m benchmarks.{' '.join(_command())}`",
    ]


def _command() -> list[str]:
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).resolve().parent)
    return [".".join(script.with_suffix("").parts), *sys.argv[1:]]
