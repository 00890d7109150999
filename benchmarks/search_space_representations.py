"""Which representation of a cell do nevergrad's optimizers search best with?

Runs optimizers on deterministic landscapes over NAS-Bench-101 cells, with several representations of the same cells,
and writes the best loss found and the share of asks that repeat a cell. Needs no TensorFlow and no device.

    python -m benchmarks.search_space_representations --budgets 100 --seeds 3 --optimizers DE CMA
    python -m benchmarks.search_space_representations --minutes 20      # goes on where the last call stopped
    python -m benchmarks.search_space_representations --table-only

Each run is a line in the raw file (``--raw``), marked with a fingerprint of the code's behaviour; runs that are
there already are not repeated, and the table holds runs of code that behaves as the present one does.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nevergrad as ng
import numpy as np
from scipy.stats import rankdata

from benchmarks.cell_landscapes import LANDSCAPES, canonical_text, loss_of
from benchmarks.cell_representations import PENALTY, REPRESENTATIONS, Representation
from benchmarks.result_table import RESULTS
from leti_opt.report.machine import describe_machine

OPTIMIZERS = {
    name: ng.optimizers.registry[name]
    for name in (
        "DiscreteOnePlusOne",
        "PortfolioDiscreteOnePlusOne",
        "DoubleFastGADiscreteOnePlusOne",
        "DE",
        "NGOpt",
        "CMA",
        "OnePlusOne",
        "RandomSearch",
    )
}
OPTIMIZERS["EvolutionStrategy 5+10"] = ng.families.EvolutionStrategy(popsize=5, offsprings=10, only_offsprings=False)


# Running


class Task(NamedTuple):
    """One search."""

    budget: int
    seed: int
    landscape: str
    optimizer: str
    representation: str


def search(task: Task) -> dict[str, Any]:
    """Run one search and say how it went."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses, texts = _asks(task, _optimizer(task), REPRESENTATIONS[task.representation])
    valid = [text for text in texts if text is not None]
    return {
        **task._asdict(),
        "best": min(losses),
        "duplicates": 1 - len(set(valid)) / len(valid) if valid else 1.0,
        "invalid": 1 - len(valid) / task.budget,
        "ask_ms": 1e3 * (time.perf_counter() - started) / task.budget,
    }


def _optimizer(task: Task) -> Any:
    parameter = REPRESENTATIONS[task.representation].build()
    parameter.random_state.seed(task.seed)
    np.random.seed(task.seed)  # some optimizers draw from numpy's own state
    return OPTIMIZERS[task.optimizer](parameter, budget=task.budget)


def _asks(task: Task, optimizer: Any, representation: Representation) -> tuple[list[float], list[str | None]]:
    losses: list[float] = []
    texts: list[str | None] = []
    for _ in range(task.budget):
        candidate = optimizer.ask()
        cell = representation.decode(candidate)
        text = None if cell is None else canonical_text(cell.adjacency.tobytes(), cell.operations)
        losses.append(PENALTY if text is None else loss_of(task.landscape, text))
        texts.append(text)
        optimizer.tell(candidate, losses[-1])
    return losses, texts


def run(tasks: list[Task], raw: Path, jobs: int, minutes: float) -> None:
    """Run what is not in the raw file yet, seed by seed, until the time is over."""
    known = {Task(*(row[field] for field in Task._fields)) for row in read(raw)}
    missing = [task for task in tasks if task not in known]
    deadline = time.monotonic() + 60 * minutes
    raw.parent.mkdir(parents=True, exist_ok=True)
    with raw.open("a") as file:
        for done, row in enumerate(_searched(missing, jobs, deadline), start=1):
            file.write(json.dumps({"fingerprint": fingerprint(), **row}) + "\n")
            file.flush()
            if done % 50 == 0:
                print(f"{done} of {len(missing)}", file=sys.stderr)


def _searched(tasks: list[Task], jobs: int, deadline: float) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        for task in tasks:
            if time.monotonic() > deadline:
                return
            yield search(task)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for start in range(0, len(tasks), 8 * jobs):
            if time.monotonic() > deadline:
                return
            yield from pool.map(search, tasks[start : start + 8 * jobs])


@cache
def fingerprint() -> str:
    """Tells runs of one code from those of another: a digest of what short searches ask for, and of their losses.

    CMA's eigenvectors, and so what it asks for, depend on the CPU that OpenBLAS finds. It is told one that is at hand
    everywhere, for which it must be started anew.
    """
    command = [sys.executable, "-m", "benchmarks.search_space_representations", "--print-fingerprint"]
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def fingerprint_here() -> str:
    """The same by this process's linear algebra."""
    seen = [
        (task, *_asks(task, _optimizer(task), REPRESENTATIONS[task.representation]))
        for optimizer in ("DiscreteOnePlusOne", "CMA", "EvolutionStrategy 5+10")
        for representation in REPRESENTATIONS
        for landscape in LANDSCAPES
        for task in [Task(60, 0, landscape, optimizer, representation)]
    ]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:12]


def read(raw: Path) -> list[dict[str, Any]]:
    """The runs of code that behaves as the present one does."""
    if not raw.exists():
        return []
    rows = [json.loads(line) for line in raw.read_text().splitlines()]
    return [row for row in rows if row["fingerprint"] == fingerprint()]


# The table


def report(rows: list[dict[str, Any]]) -> str:
    """All tables as Markdown."""
    lines = [
        "# Representations of a cell, by what optimizers find with them",
        "",
        "Written by `python -m benchmarks.search_space_representations`, "
        f"fingerprint {fingerprint()}, nevergrad {ng.__version__}, on:  ",
        *(f"{line}  " for line in describe_machine().lines()),
        "",
        "Best loss after the budget (mean over seeds ± standard error; lower is better), then the share of valid asks"
        " that repeat a cell, in percent. The last rows: the mean over optimizers, the mean rank among the"
        " representations (1 is best), the share of asks that were no cell, and the time of one ask and tell. Only"
        " seeds that all representations ran are counted: where a table says fewer than the 20 that are planned, or"
        " leaves an optimizer or a representation out, the rest has not been run. Times are of a shared machine.",
        "",
        *(f"* **{name}**: {value.about}." for name, value in REPRESENTATIONS.items()),
        "",
        *(f"* Landscape *{name}*: {inspect.getdoc(function)}" for name, function in LANDSCAPES.items()),
    ]
    for budget in sorted({row["budget"] for row in rows}):
        for landscape in LANDSCAPES:
            chosen = [row for row in rows if row["budget"] == budget and row["landscape"] == landscape]
            lines += ["", f"## {landscape}, budget {budget}", "", *table(chosen)]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """One table: optimizers in rows, representations in columns."""
    names = _mostly_run(rows)
    lines = [f"| optimizer | seeds | {' | '.join(names)} |", "| --- | ---: |" + " ---: |" * len(names)]
    means = []
    for optimizer in OPTIMIZERS:
        columns = _common_seeds([row for row in rows if row["optimizer"] == optimizer], names)
        if not columns:
            continue
        best = [np.array([row["best"] for row in columns[name]]) for name in names]
        repeats = [100 * np.mean([row["duplicates"] for row in columns[name]]) for name in names]
        means.append([float(values.mean()) for values in best])
        cells = [
            f"{values.mean():.2f} ± {values.std(ddof=1) / math.sqrt(len(values)):.2f}, {share:.0f}"
            if len(values) > 1
            else f"{values.mean():.2f}, {share:.0f}"
            for values, share in zip(best, repeats, strict=True)
        ]
        lines.append(f"| {optimizer} | {len(best[0])} | {' | '.join(cells)} |")
    if not means:
        return ["No seed has been run with several representations."]
    ranks = rankdata(means, axis=1)  # equal ones share their rank
    lines.append(f"| **mean** | | {' | '.join(f'**{value:.3f}**' for value in np.mean(means, axis=0))} |")
    lines.append(f"| mean rank | | {' | '.join(f'{value:.1f}' for value in ranks.mean(axis=0))} |")
    for field, unit, scale in (("invalid", "%", 100.0), ("ask_ms", "ms", 1.0)):
        values = [scale * np.mean([row[field] for row in rows if row["representation"] == name]) for name in names]
        title = {"invalid": "asks that were no cell", "ask_ms": "one ask and tell"}[field]
        lines.append(f"| {title} | | {' | '.join(f'{value:.1f} {unit}' for value in values)} |")
    return lines


def _mostly_run(rows: list[dict[str, Any]]) -> list[str]:
    """Representations with at least half as many runs as the one with most."""
    counts = Counter(row["representation"] for row in rows)
    return [name for name in REPRESENTATIONS if 2 * counts[name] >= max(counts.values(), default=0) > 0]


def _common_seeds(rows: list[dict[str, Any]], names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows by representation, of those seeds that every representation ran."""
    columns = {name: {row["seed"]: row for row in rows if row["representation"] == name} for name in names}
    if not names:
        return {}
    common = sorted(set.intersection(*(set(column) for column in columns.values())))
    return {name: [column[seed] for seed in common] for name, column in columns.items()} if common else {}


def main() -> None:
    """Read the command line, run, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS), metavar="NAME")
    parser.add_argument("--budgets", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, from 0 on")
    parser.add_argument("--representations", nargs="+", choices=REPRESENTATIONS, default=list(REPRESENTATIONS))
    parser.add_argument("--landscapes", nargs="+", choices=LANDSCAPES, default=list(LANDSCAPES))
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no further run after so long")
    parser.add_argument("--table-only", action="store_true", help="run nothing, write the table of what is there")
    parser.add_argument("--raw", type=Path, default=RESULTS / "search_space_representations.jsonl")
    parser.add_argument("--out", type=Path, default=RESULTS / "search_space_representations.md")
    parser.add_argument("--print-fingerprint", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.print_fingerprint:
        print(fingerprint_here())
        return
    tasks = [
        Task(budget, seed, landscape, optimizer, representation)
        for budget in options.budgets
        for seed in range(options.seeds)
        for landscape in options.landscapes
        for optimizer in options.optimizers
        for representation in options.representations
    ]
    if not options.table_only:
        run(tasks, options.raw, options.jobs, options.minutes)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report(read(options.raw)))
    print(options.out)


if __name__ == "__main__":
    main()
