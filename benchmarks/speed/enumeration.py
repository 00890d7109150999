"""Every cell of NAS-Bench-101: enumerated, hashed, loaded from the cache; beside the definition done plainly."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.timing import load, resident_bytes
from leti_opt import NAS_BENCH_101, enumerate_architectures, estimate_size
from leti_opt.edge_bits import unpack_edges
from leti_opt.search_space.structures import pruned_masks
from tests.reference.graph_hash import INPUT_LABEL, OUTPUT_LABEL, graph_hash

COMMAND = (
    "from leti_opt import enumerate_architectures, NAS_BENCH_101; t = enumerate_architectures(NAS_BENCH_101); "
    "print(len(t), t.graph_hashes[:3])"
)
Cell = tuple[list[list[int]], list[int]]


@dataclass(frozen=True)
class Runs:
    """One step in several fresh processes: seconds of each, and the largest resident memory, workers' included."""

    seconds: list[float]
    peak_mib: float = 0.0

    @property
    def median_s(self) -> float:
        """Of the repeats."""
        return statistics.median(self.seconds)

    def row(self, what: str, whole_s: float) -> list[str]:
        """One line of the table."""
        return [
            what,
            f"{self.median_s:.2f} s",
            f"{min(self.seconds):.2f} to {max(self.seconds):.2f}",
            f"{self.peak_mib:.0f} MiB" if self.peak_mib else "",
            f"{whole_s / self.median_s:.0f}x",
        ]


def main() -> None:
    """Time each way in processes of their own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain-seconds", type=float, default=15.0, help="how long the plain way is timed at least")
    parser.add_argument("--step", choices=list(STEPS), help="do one step, print its figures as JSON, nothing else")
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(measured(STEPS[arguments.step])))
        return
    before = load()
    labelled = estimate_size(NAS_BENCH_101).labelled_cells
    count, plain_s = plainly(arguments.plain_seconds)
    whole_s = plain_s / count * labelled
    runs = {step: in_processes(step, arguments.repeats) for step in STEPS}
    command = Runs([whole_command() for _ in range(arguments.repeats)])
    rows = [
        [*runs["cells"].row("enumeration alone", whole_s)[:-1], ""],
        runs["hashes"].row("with all hashes", whole_s),
        runs["one-worker"].row("with all hashes, one worker", whole_s),
        command.row("the whole command, cold cache", whole_s),
        runs["cached"].row("from the cache, hashes included", whole_s),
        ["plainly, extrapolated", f"{whole_s:.0f} s", "", "", "1x"],
    ]
    write_result(
        "enumeration",
        "All cells of NAS-Bench-101",
        ["what", "median", "fastest to slowest", "peak resident memory", "against plainly"],
        rows,
        [
            f"{arguments.repeats} repeats, each in a fresh process. The time begins after the imports; that of the "
            "whole command (`python -c`, as in the issue) is taken from outside.",
            "Plainly: every labelled graph is hashed with plain Python on one core, and the hashes are kept in a set. "
            f"Timed on {count:,} of {labelled:,} labelled graphs, drawn with a seed, in {plain_s:.1f} s; extrapolated "
            "to all. Finding the graphs is not counted.",
            "Memory is that of the process and its workers together.",
            f"Load average when it began: {before} on {len(os.sched_getaffinity(0))} cores.",
        ],
        figures(runs, whole_s),
    )


def figures(runs: dict[str, Runs], whole_s: float) -> list[Figure]:
    """Beside what they should be."""
    hashes = runs["hashes"]
    name = "enumeration with all hashes of NAS-Bench-101"
    return [
        Figure(f"{name}, against the definition done plainly", whole_s / hashes.median_s, "x", 20, 60),
        Figure(name, hashes.median_s, "s", 20, 8, smaller_is_better=True),
        Figure(f"{name}, peak resident memory", hashes.peak_mib, "MiB", 1e9 / 2**20, smaller_is_better=True),
        Figure("enumeration alone", runs["cells"].median_s, "s", 5, 2, smaller_is_better=True),
    ]


def cells() -> None:
    """Exact canonical forms, no hashes."""
    enumerate_architectures(NAS_BENCH_101, cache=False)


def hashes() -> None:
    """On all cores."""
    _ = enumerate_architectures(NAS_BENCH_101, cache=False).graph_hashes


def one_worker() -> None:
    """On one core."""
    enumerate_architectures(NAS_BENCH_101, cache=False).hashed(workers=1)


def from_cache() -> None:
    """The parent has filled the cache."""
    _ = enumerate_architectures(NAS_BENCH_101).graph_hashes


STEPS: dict[str, Callable[[], None]] = {
    "cells": cells,
    "hashes": hashes,
    "one-worker": one_worker,
    "cached": from_cache,
}


def measured(step: Callable[[], None]) -> dict[str, float]:
    """Seconds and peak memory of this process."""
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def in_processes(step: str, repeats: int) -> Runs:
    """Each repeat in a fresh process; all share a cache that the first call fills."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LETI_CACHE_DIR": folder}
        if step == "cached":
            subprocess.run([sys.executable, "-c", COMMAND], check=True, env=environment, stdout=subprocess.DEVNULL)
        command = [sys.executable, "-m", "benchmarks.speed.enumeration", "--step", step]
        found = [watched(command, environment) for _ in range(repeats)]
    return Runs([run["seconds"] for run in found], max(run["peak_mib"] for run in found))


def watched(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """What the process prints; its peak memory with that of its workers, looked at five times a second."""
    peak_mib = 0.0
    with psutil.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak_mib = max(peak_mib, resident_bytes(process) / 2**20)
            time.sleep(0.2)
        output = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit status {process.returncode}")
    found: dict[str, float] = json.loads(output)
    return {**found, "peak_mib": max(peak_mib, found["peak_mib"])}


def whole_command() -> float:
    """Seconds that the command of the issue takes with an empty cache, the interpreter's start included."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LETI_CACHE_DIR": folder}
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COMMAND], check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def plainly(at_least_s: float) -> tuple[int, float]:
    """Hash a sample of the labelled graphs: how many, and in how many seconds."""
    random = np.random.RandomState(0)
    masks = [pruned_masks(vertices, NAS_BENCH_101.edge_limit) for vertices in range(2, 8)]
    shares = np.array([len(one) * 3.0 ** (size - 2) for size, one in enumerate(masks, start=2)])
    seen: set[str] = set()
    count, spent_s = 0, 0.0
    while spent_s < at_least_s:
        sizes = random.choice(np.arange(2, 8), size=500, p=shares / shares.sum())
        sample = [labelled_graph(int(size), random.choice(masks[size - 2]), random) for size in sizes]
        start = time.perf_counter()
        seen.update(graph_hash(matrix, labels) for matrix, labels in sample)
        spent_s += time.perf_counter() - start
        count += len(sample)
    return count, spent_s


def labelled_graph(vertices: int, mask: np.uint64, random: np.random.RandomState) -> Cell:
    """A structure with random operations, as plain lists."""
    adjacency = unpack_edges(np.array([[mask]], dtype=np.uint32), vertices)[0]
    return adjacency.tolist(), [INPUT_LABEL, *random.randint(3, size=vertices - 2).tolist(), OUTPUT_LABEL]


if __name__ == "__main__":
    main()
