"""The same 100 cells measured twice on this host, the second time with other work in the middle of it.

    python -m benchmarks.certainty.repeatability first  --folder DIR
    (an hour later)
    python -m benchmarks.certainty.repeatability second --folder DIR
    python -m benchmarks.certainty.repeatability report --folder DIR

``second`` measures the cells twice, each time with the same load for the same time: once without the canary, once with
it. ``report`` compares both with ``first`` and writes the table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.result_table import Figure, write_result
from leti_opt import NAS_BENCH_101, DeviceLatencyObjective, LatencyStore, NetworkConfig, enumerate_architectures
from leti_opt.architecture import Architecture
from leti_opt.objective.canary import CanarySettings

CELLS = 100
SEED = 5
LOAD_BEGINS_AT = 30
LOAD_S = 30.0
PROCESSES_PER_CORE = 2
WATCHED = CanarySettings()


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("first", "second", "report"))
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    if arguments.step == "first":
        measure_cells(arguments.folder / "first.db", WATCHED, load=False)
    elif arguments.step == "second":
        measure_cells(arguments.folder / "without.db", CanarySettings(pace="off"), load=True)
        measure_cells(arguments.folder / "with.db", WATCHED, load=True)
    else:
        report(arguments.folder)


def cells() -> list[Architecture]:
    """A fixed sample of NAS-Bench-101."""
    table = enumerate_architectures(NAS_BENCH_101)
    rows = np.random.default_rng(SEED).choice(len(table), CELLS, replace=False)
    return [table[int(row)] for row in rows]


def measure_cells(path: Path, canary: CanarySettings, load: bool) -> None:
    """Measure every cell by the default protocol into a new store."""
    if path.exists():
        sys.exit(f"{path} exists; name another folder")
    objective = DeviceLatencyObjective("host-cpu", NetworkConfig.small(), store=path, canary=canary)
    objective.service.notify = print
    start = time.monotonic()
    for place, cell in enumerate(cells()):
        if load and place == LOAD_BEGINS_AT:
            print(f"load begins after {time.monotonic() - start:.0f} s", flush=True)
            threading.Thread(target=_burden_host, args=(start,), daemon=True).start()
        objective.evaluate(cell)
    objective.close()
    print(f"{path.name}: {time.monotonic() - start:.0f} s, {dict(objective.service.counts)}", flush=True)


def _burden_host(start: float) -> None:
    workers = [
        multiprocessing.Process(target=_burn, daemon=True) for _ in range(PROCESSES_PER_CORE * (os.cpu_count() or 1))
    ]
    for worker in workers:
        worker.start()
    time.sleep(LOAD_S)
    for worker in workers:
        worker.terminate()
        worker.join()
    print(f"load ended after {time.monotonic() - start:.0f} s", flush=True)


def _burn() -> None:
    block = np.random.default_rng(0).random(200_000)
    with suppress(KeyboardInterrupt):
        while True:
            np.sort(block)


def report(folder: Path) -> None:
    """Compare each second pass with the first."""
    from leti_opt.report.comparison import compare
    from leti_opt.report.comparison_source import read_column

    first = read_column(str(folder / "first.db"))
    rows, notes, figures = [], [], []
    for name in ("without", "with"):
        second = read_column(str(folder / f"{name}.db"))
        found = compare(first, second)
        withdrawn, unstable = _withdrawn(folder / f"{name}.db")
        rows.append(
            [
                f"{name} the canary",
                str(found.networks),
                f"{found.ratio:.3f} ({found.ratio_low:.3f} to {found.ratio_high:.3f})",
                f"{found.spearman:.4f}",
                *(f"{100 * share:.0f} %" for share in found.within.values()),
                str(withdrawn),
                str(unstable),
            ]
        )
        notes.append(f"{name} the canary: {found.verdict()}")
        if name == "with":
            figures = _figures(found.ratio, found.spearman)
    headings = ["second pass", "cells", "ratio of medians", "Spearman"]
    headings += ["within 2 %", "within 5 %", "within 10 %", "withdrawn", "provisional, left out"]
    notes += [
        f"{CELLS} cells of NAS-Bench-101, NetworkConfig.small(), default protocol; {PROCESSES_PER_CORE} busy processes "
        f"a core for {LOAD_S:.0f} s, from the {LOAD_BEGINS_AT}th cell of each second pass.",
        *(_when(folder / f"{name}.db") for name in ("first", "without", "with")),
    ]
    write_result(
        "repeatability", "The same cells measured twice, under load the second time", headings, rows, notes, figures
    )


def _figures(ratio: float, spearman: float | None) -> list[Figure]:
    what = "the same cells an hour apart, under load the second time"
    off = 100 * (max(ratio, 1 / ratio) - 1)
    return [
        Figure(f"{what}: how far the ratio of medians is from 1", off, "%", 2.0, smaller_is_better=True),
        Figure(f"{what}: Spearman", spearman or 0.0, "", 0.99),
    ]


def _withdrawn(path: Path) -> tuple[int, int]:
    """Measurements of cells that the canary withdrew; networks whose newest measurement is unstable."""
    with LatencyStore(path) as store:
        standing = store.to_frame(include_unstable=True)
        total = store.info().measurements
        return total - len(standing), int((standing.groupby("model_key").tail(1)["status"] == "unstable").sum())


def _when(path: Path) -> str:
    with LatencyStore(path) as store:
        moments = store.to_frame(include_unstable=True)["started_at"]
    return f"{path.name}: measured {moments.min():%H:%M:%S} to {moments.max():%H:%M:%S} UTC"


if __name__ == "__main__":
    main()
