"""A whole space from a table of its kernels: cells drawn at random measured whole, and predicted as sums.

The kernels of all cells of NAS-Bench-101 in the small network are measured once each, then some cells whole. The store
keeps what was measured. The table goes to ``results/lut_space.md`` and into ``docs/lut.md``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.page import DOCS, put_into_page
from benchmarks.result_table import write_result
from leti_opt import NAS_BENCH_101, DeviceLatencyObjective, NetworkConfig, enumerate_architectures
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.block_study import BlockStudy
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.lut import LatencyTable
from leti_opt.predictor.lut_predictor import LutPredictor
from leti_opt.predictor.metrics import coverage
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.report.lut_table import markdown_table
from leti_opt.report.machine import describe_machine

Floats = NDArray[np.float64]

FILTERS, CELLS, SEED, FOLDS = 16, 30, 7, 10
HEADINGS = ["predicted by", "median error", "mean", "largest", "Spearman"]


def main() -> None:
    """Read the command line, measure what is missing, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lut.space", description=__doc__)
    parser.add_argument("--device", default="host-cpu", help="what measures")
    parser.add_argument("--store", default="lut_space.db", help="keeps what was measured")
    parser.add_argument("--remark", help="what a reader should know of this run, printed with the table")
    options = parser.parse_args()
    network, space = NetworkConfig.small(filters=FILTERS), enumerate_architectures(NAS_BENCH_101)
    with BlockStudy(space, network, options.device, options.store) as study:
        table = study.run()
    drawn = space[np.random.default_rng(SEED).choice(len(space), CELLS, replace=False)]
    cells, latency_ms = _measured(drawn, network, options.device, options.store)
    sums = LutPredictor.of_table(network, table)
    rows = [
        _row("the sum of kernels", sums.predict(cells), latency_ms),
        _row(
            f"the sum and two constants, {FOLDS} folds",
            _held_out(lambda: LutPredictor(network, table), cells, latency_ms),
            latency_ms,
        ),
        _row(
            f"a line over FLOPs, {FOLDS} folds",
            _held_out(lambda: FlopsPredictor(network), cells, latency_ms),
            latency_ms,
        ),
    ]
    started = time.perf_counter()
    sums.predict(space)
    seconds = time.perf_counter() - started
    notes = [*_notes(table, sums, cells, latency_ms), f"All {len(space):,} cells are predicted in {seconds:.0f} s."]
    notes += [options.remark] if options.remark else []
    write_result("lut_space", f"A space as sums of its kernels, {table.origin.device}", HEADINGS, rows, notes)
    machine = describe_machine()
    command = shlex.join(["python", "-m", "benchmarks.lut.space", *sys.argv[1:]])
    origin = f"{machine.processor}, {machine.system}, {machine.runtime}, {table.origin.device}; `{command}`"
    lines = [*markdown_table(HEADINGS, rows), "", " ".join(notes), "", origin]
    put_into_page(DOCS / "lut.md", "space", lines, "benchmarks.lut.space")


def _measured(
    cells: ArchitectureTable, network: NetworkConfig, device: str, store: str
) -> tuple[ArchitectureTable, Floats]:
    """Those that kept the rule, with their latencies."""
    objective = DeviceLatencyObjective(device, network, store=store)
    for cell in cells:
        objective(cell)
    objective.settle()
    found = [objective.evaluate(cell) for cell in cells]
    objective.close()
    kept = [row for row, each in enumerate(found) if each.answer.status == "measured"]
    return cells[np.array(kept)], np.array([found[row].latency_ms for row in kept])


def _held_out(make: Callable[[], LatencyPredictor], cells: ArchitectureTable, latency_ms: Floats) -> Floats:
    """Predictions of each fold by a predictor that learned the others."""
    predicted = np.empty(len(cells))
    for fold in range(FOLDS):
        test = np.arange(fold, len(cells), FOLDS)
        train = np.setdiff1d(np.arange(len(cells)), test)
        predicted[test] = make().fit(cells[train], latency_ms[train]).predict(cells[test])
    return predicted


def _row(name: str, predicted_ms: Floats, latency_ms: Floats) -> list[str]:
    errors = np.abs(predicted_ms / latency_ms - 1)
    figures = [f"{100 * value:.1f} %" for value in (np.median(errors), errors.mean(), errors.max())]
    return [name, *figures, f"{spearmanr(predicted_ms, latency_ms).statistic:.3f}"]


def _notes(table: LatencyTable, sums: LutPredictor, cells: ArchitectureTable, latency_ms: Floats) -> list[str]:
    entries = list(table.entries.values())
    samples = [entry.runs_per_sample for entry in entries]
    bias = float(np.median(sums.predict(cells) / latency_ms - 1))
    constants = 1000 * LutPredictor(sums.network, table).fit(cells, latency_ms).regressor_.constants_
    held = coverage(*sums.predict_interval(cells), latency_ms)
    return [
        f"{len(entries)} kernels, {sum(not entry.stable for entry in entries)} unstable, {min(samples)} to "
        f"{max(samples)} runs timed as one.",
        f"{len(cells)} of {CELLS} cells drawn at random kept the rule when they were measured whole, "
        f"{latency_ms.min():.3f} to {latency_ms.max():.3f} ms.",
        f"The sums are off by {100 * bias:+.1f} % in the median; the constants are {constants[0]:+.2f} µs a kernel and "
        f"{constants[1]:+.2f} µs a transfer.",
        f"90 % intervals from the entries' errors alone hold {100 * held:.0f} % of the latencies.",
    ]


if __name__ == "__main__":
    main()
