"""Do we time what others time? ``litert-benchmark``, a plain loop over the interpreter and ours, on the same files.

Each way starts a process of its own for every round, and the ways take turns, so that a change of the machine meets all
of them. Ours comes twice in each round: how far its two figures are apart says what this machine can tell at all.
Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.result_table import Figure, write_result
from leti_opt import (
    Architecture,
    MeasurableModel,
    MeasurementProtocol,
    NetworkConfig,
    build_layer_graph,
    measure,
    open_device,
    write_tflite,
)
from leti_opt.report.comparison import median_interval

CELL = "0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,conv1x1-bn-relu"
NETWORKS = {"small": 48, "medium": 144}
OURS, AGAIN, LOOP, TOOL = "leti_opt", "leti_opt again", "plain loop over the interpreter", "litert-benchmark"
Medians = Mapping[str, Sequence[float]]


def main() -> None:
    """Measure each network by each way in turn, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=26)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--warmup", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        medians = {
            name: in_turn(write_network(Path(folder) / f"{name}.tflite", filters), arguments)
            for name, filters in NETWORKS.items()
        }
    write_result(
        "agreement",
        "The same file, timed by three tools",
        ["network", "tool", "median, ms", "fastest round", "slowest", "ours to it", "95 % interval"],
        [row for name, found in medians.items() for row in rows(name, found)],
        [
            f"{arguments.rounds} rounds in which the tools take turns, each in a process of its own: {arguments.runs} "
            f"runs after {arguments.warmup} for warm-up, one thread, XNNPACK, not pinned. A round's figure is the "
            "median of its runs. 'Ours to it' is the median of the rounds' ratios, with the interval that resampled "
            "rounds give.",
            f"'{AGAIN}' is the control: its ratio differs from 1 by the machine's noise alone.",
            "litert-benchmark prints hundredths of a millisecond, and goes through the compiled-model interface; the "
            "others go through the interpreter.",
        ],
        [figure for name, found in medians.items() for figure in figures(name, found)],
    )


def write_network(path: Path, filters: int) -> Path:
    """A cell in the small stacked network, written by our writer; wider for a longer latency."""
    graph = build_layer_graph(Architecture.parse(CELL), NetworkConfig.small(filters=filters))
    path.write_bytes(write_tflite(graph))
    return path


def in_turn(path: Path, arguments: argparse.Namespace) -> Medians:
    """Each way's median of every round, in milliseconds. The order turns by one each round."""
    ways: list[tuple[str, Callable[[Path, int, int], float]]] = [
        (TOOL, by_tool),
        (OURS, by_us),
        (LOOP, by_loop),
        (AGAIN, by_us),
    ]
    medians: dict[str, list[float]] = {name: [] for name, _ in ways}
    for round_number in range(arguments.rounds):
        first = round_number % len(ways)
        for name, way in ways[first:] + ways[:first]:
            medians[name].append(way(path, arguments.runs, arguments.warmup))
    return medians


def by_tool(path: Path, runs: int, warmup: int) -> float:
    """``litert-benchmark`` of the ai-edge-litert wheel."""
    tool = Path(sys.executable).parent / "litert-benchmark"
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = [f"--num_runs={runs}", f"--warmup_runs={warmup}", "--num_threads=1", f"--result_json={result}"]
        subprocess.run([str(tool), f"--model={path}", *options], check=True, capture_output=True)
        latency = json.loads(result.read_text())["latency"]
    if latency["num_runs"] != runs:
        raise RuntimeError(f"litert-benchmark made {latency['num_runs']} runs, not {runs}")
    return float(latency["median_ms"])


def by_loop(path: Path, runs: int, warmup: int) -> float:
    """The plain loop, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), str(path), str(runs), str(warmup)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def by_us(path: Path, runs: int, warmup: int) -> float:
    """``measure`` on host-cpu; one attempt, since the others have one."""
    protocol = MeasurementProtocol(min_runs=runs, warmup_runs=warmup, max_attempts=1)
    with open_device("host-cpu") as device:
        return measure(device, MeasurableModel.of_file(path), protocol).batch.statistic("median")


def ratios(medians: Medians, other: str) -> list[float]:
    """Ours against another tool in each round."""
    return [ours / theirs for ours, theirs in zip(medians[OURS], medians[other], strict=True)]


def rows(name: str, medians: Medians) -> list[tuple[str, ...]]:
    """A line for each tool."""
    lines = []
    for tool, found in medians.items():
        shown = [f"{value:.3f}" for value in (statistics.median(found), min(found), max(found))]
        compared = ["", ""]
        if tool != OURS:
            values = ratios(medians, tool)
            low, high = median_interval(np.asarray(values), np.random.default_rng(0))
            compared = [f"{statistics.median(values):.4f}", f"{low:.4f} to {high:.4f}"]
        lines.append((name, tool, *shown, *compared))
    return lines


def figures(name: str, medians: Medians) -> list[Figure]:
    """How far ours is from each of the others, in percent."""
    return [
        Figure(
            f"{name} network, how far our latency is from that of {tool}",
            100 * abs(statistics.median(ratios(medians, tool)) - 1),
            "%",
            2.0,
            smaller_is_better=True,
        )
        for tool in (TOOL, LOOP)
    ]


if __name__ == "__main__":
    main()
