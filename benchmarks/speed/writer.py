"""The direct TFLite writer: time to a file that can be loaded, speed of its files, memory and scaling."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import psutil

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.evaluation_steps import CELL
from benchmarks.speed.timing import seconds_of
from leti_opt import (
    Architecture,
    ArchitectureSpace,
    NetworkConfig,
    build_keras_model,
    build_layer_graph,
    convert_tflite,
    write_tflite,
)
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.operator_plan import plan_operators
from leti_opt.network.weights_block import WeightsBlock, open_block, private_copy, replace_header
from leti_opt.network.weights_outside import place_weights, write_header

SLICED = (
    "0-1,0-2,0-3,0-4,0-5,1-6,2-6,3-6,4-6,5-6:conv3x3-bn-relu,conv1x1-bn-relu,maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu"
)
CELLS = {"benchmark cell": CELL, "five branches": SLICED}
PRECISIONS = ("float32", "float16", "int8")
PARTS = ("ready", "latency", "memory", "scaling")
KEY = "0" * 64
Row = tuple[str, str, str, str, str]


def main() -> None:
    """Measure the parts that are asked for; all of them write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=list(PRECISIONS))
    parser.add_argument("--repeats", type=int, default=100, help="of the fast ways; the converter runs twice")
    parser.add_argument("--rounds", type=int, default=40, help="of interleaved runs, for latency")
    parser.add_argument("--networks", type=int, default=10_000, help="for memory")
    parser.add_argument("--count-memory", action="store_true", help="print the memory of this process and stop")
    arguments = parser.parse_args()
    if arguments.count_memory:
        print(json.dumps(memory_here(arguments.networks)))
        return
    rows: list[Row] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        if "scaling" in arguments.only:  # Before TensorFlow's threads are there.
            rows += scaling(Path(folder))
        if "memory" in arguments.only:
            rows += memory(arguments.networks, figures)
        if "ready" in arguments.only:
            rows += ready(arguments.repeats, Path(folder), figures)
        if "latency" in arguments.only:
            for precision in arguments.precisions:
                rows += latency(precision, arguments.rounds, Path(folder))
    write_result(
        "writer",
        "The direct TFLite writer",
        ["part", "network", "what", "median", "spread or ratio"],
        rows,
        [
            "Networks are NAS-Bench-101's: three stacks of three cells, 128 filters, 32x32 images.",
            "*ready*: from an Architecture to bytes that can be loaded; random weights; one process, one core.",
            "*latency*: interpreters of the three files take turns, ten runs each; the ratio is that of the medians of"
            " a turn, to the converter's file.",
            "Outside: a header over a block of weights that all networks share. Inside: self-contained.",
        ],
        figures,
    )


def ready(repeats: int, folder: Path, figures: list[Figure]) -> list[Row]:
    """Both layouts against Keras and the TF converter, and each step of ours.

    Ours come first: TensorFlow leaves threads behind, and a million objects that Python's collector goes through.
    """
    config = NetworkConfig.nasbench101()
    fast = {name: ready_fast(text, config, repeats, folder) for name, text in CELLS.items()}
    import keras  # noqa: F401 - so that no step pays for TensorFlow's import

    rows: list[Row] = []
    for name, text in CELLS.items():
        graph = build_layer_graph(Architecture.parse(text), config)
        slow = seconds_of(lambda: convert_tflite(build_keras_model(graph)), 2)  # noqa: B023
        rows.append(row("ready", name, "Keras build and TF converter", slow))
        for what, samples in fast[name].items():
            rows.append(row("ready", name, what, samples, [] if what.startswith("step") else slow))
        if text == CELL:
            outside, inside, *_ = (statistics.median(samples) for samples in fast[name].values())
            converter = statistics.median(slow)
            what = "stacked network ready to load"
            figures += [
                Figure(f"{what}, weights outside, against Keras and TF converter", converter / outside, "x", 300, 1500),
                Figure(f"{what}, weights outside", 1e3 * outside, "ms", 25, 5, smaller_is_better=True),
                Figure(f"{what}, self-contained, against Keras and TF converter", converter / inside, "x", 50, 200),
            ]
    return rows


def ready_fast(text: str, config: NetworkConfig, repeats: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each repeat of our ways, the two layouts first, then of their steps."""
    graph = build_layer_graph(Architecture.parse(text), config)
    block, network, canonical = block_for(graph, folder), place_weights(graph), Architecture.parse(text).canonical()
    cells = iter([Architecture.parse(text) for _ in range(3 * repeats + 20)])

    def outside() -> bytes:
        return write_header(place_weights(build_layer_graph(next(cells), config)), block, KEY)

    def inside() -> bytes:
        return write_tflite(build_layer_graph(next(cells), config))

    outside()
    size = len(inside())
    return {
        "outside": seconds_of(outside, repeats),
        f"inside, {size / 2**20:.0f} MiB": seconds_of(inside, max(5, repeats // 5)),
        "step: canonical order": seconds_of(lambda: next(cells).canonical(), repeats),
        "step: assembly": seconds_of(lambda: build_layer_graph(canonical, config), repeats),
        "step: plan of operators": seconds_of(lambda: plan_operators(graph), repeats),
        "step: places for weights, plan included": seconds_of(lambda: place_weights(graph), repeats),
        "step: header": seconds_of(lambda: write_header(network, block, KEY), repeats),
    }


def latency(precision: str, rounds: int, folder: Path) -> list[Row]:
    """The converter's file and ours in both layouts, run in turns, by number of threads."""
    graph = replace(build_layer_graph(Architecture.parse(SLICED), NetworkConfig.nasbench101()), precision=precision)
    block = block_for(graph, folder)
    copy = private_copy(block, folder)
    replace_header(copy, write_header(place_weights(graph), block, KEY))
    files = {
        "converter": convert_tflite(build_keras_model(graph), precision),
        "inside": write_tflite(graph),
        "outside": copy,
    }
    rows: list[Row] = []
    for threads in (1, 2):
        runs = {name: prepared(content, threads) for name, content in files.items()}
        turns: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds):
            names = sorted(runs) if number % 2 else sorted(runs, reverse=True)
            for name in names:
                turns[name].append(statistics.median(seconds_of(runs[name], 10)))
        for name, samples in turns.items():
            ratio = np.array(samples) / np.array(turns["converter"])
            low, middle, high = np.percentile(ratio, [25, 50, 75])
            what = f"{precision}, {threads} thread{'s' * (threads > 1)}, {name}"
            spread = "" if name == "converter" else f"{middle:.3f} ({low:.3f} to {high:.3f})"
            rows.append(("latency", "five branches", what, f"{1e3 * statistics.median(samples):.2f} ms", spread))
    return rows


def prepared(model: bytes | Path, threads: int) -> Callable[[], None]:
    """One run of a loaded model."""
    from ai_edge_litert.interpreter import Interpreter

    source: dict[str, Any] = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    interpreter = Interpreter(**source, num_threads=threads)
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    image = np.random.default_rng(0).standard_normal(wanted["shape"])
    image = image.astype(np.float32) if wanted["dtype"] is np.float32 else (image * 40).clip(-128, 127)
    interpreter.set_tensor(wanted["index"], image.astype(wanted["dtype"]))
    interpreter.invoke()

    def run() -> None:
        interpreter.invoke()

    return run


def memory(networks: int, figures: list[Figure]) -> list[Row]:
    """In a process of its own, which has no TensorFlow."""
    command = [sys.executable, "-m", "benchmarks.speed.writer", "--count-memory", "--networks", str(networks)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows: list[Row] = []
    for way, (warm, end, seconds) in json.loads(done.stdout.splitlines()[-1]).items():
        growth = 100 * (end / warm - 1)
        text = f"{warm / 2**20:.1f} MiB after a tenth, {end / 2**20:.1f} MiB at the end, {growth:+.2f} %"
        rows.append(("memory", "random cells", f"{networks} networks, {way}", f"{seconds:.0f} s", text))
        what = f"growth of memory over {networks:,} networks written and dropped, {way}"
        figures.append(Figure(what, growth, "%", 2, 0.5, smaller_is_better=True))
    return rows


def memory_here(networks: int) -> dict[str, tuple[int, int, float]]:
    """Resident bytes after a tenth of the networks and after all, and seconds, by layout."""
    process, found = psutil.Process(), {}
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, tuple[NetworkConfig, Callable[[LayerGraph], bytes]]] = {
            "outside, 128 filters": (NetworkConfig.nasbench101(), header_writer(Path(folder))),
            "inside, 16 filters": (NetworkConfig.nasbench101(filters=16), write_tflite),
        }
        for name, (config, write) in ways.items():
            space, start, warm = ArchitectureSpace(), time.perf_counter(), 0
            space.random_state.seed(0)
            for number in range(networks):
                write(build_layer_graph(space.sample().value, config))
                if number == networks // 10:
                    warm = process.memory_info().rss
            found[name] = (warm, process.memory_info().rss, time.perf_counter() - start)
    return found


def header_writer(folder: Path) -> Callable[[LayerGraph], bytes]:
    """Writes headers over the block that is there; one that a network does not fit into is replaced."""
    blocks: list[WeightsBlock] = []

    def write(graph: LayerGraph) -> bytes:
        network = place_weights(graph)
        if not blocks or not blocks[-1].holds(network.needs):
            blocks[:] = [open_block(network.needs, folder)]
        return write_header(network, blocks[-1], KEY)

    return write


def scaling(folder: Path) -> list[Row]:
    """Headers of random cells by one and two workers of joblib."""
    import joblib

    space = ArchitectureSpace()
    space.random_state.seed(1)
    texts = [str(space.sample().value) for _ in range(1000)]
    parts = [texts[start : start + 50] for start in range(0, len(texts), 50)]
    headers_of(texts, str(folder))
    rows: list[Row] = []
    first: list[float] = []
    for workers in (1, 2):
        with joblib.Parallel(n_jobs=workers, backend="loky") as parallel:
            call = joblib.delayed(headers_of)
            parallel([call(part[:2], str(folder)) for part in parts[:8]])
            seconds = seconds_of(lambda: parallel([call(part, str(folder)) for part in parts]), 3)  # noqa: B023
        first = first or seconds
        rate = f"{len(texts) / statistics.median(seconds):.0f} networks/s"
        ratio = f"{statistics.median(first) / statistics.median(seconds):.2f}x of one worker"
        rows.append(("scaling", "random cells", f"{workers} worker{'s' * (workers > 1)}, outside", rate, ratio))
    return rows


def headers_of(texts: Sequence[str], folder: str) -> int:
    """What a worker does: bytes written."""
    write = header_writer(Path(folder))
    config = NetworkConfig.nasbench101()
    return sum(len(write(build_layer_graph(Architecture.parse(text), config))) for text in texts)


def block_for(graph: LayerGraph, folder: Path) -> WeightsBlock:
    """A block that holds a network."""
    return open_block(place_weights(graph).needs, folder)


def row(part: str, network: str, what: str, samples: Sequence[float], slow: Sequence[float] = ()) -> Row:
    """One line, in milliseconds; beside the slow way its ratio."""
    milliseconds = 1e3 * np.array(samples)
    spread = f"{milliseconds.min():.2f} to {milliseconds.max():.2f} ms"
    if slow:
        spread += f"; {statistics.median(slow) / statistics.median(samples):,.0f}x as fast"
    return (part, network, what, f"{statistics.median(milliseconds):.2f} ms", spread)


if __name__ == "__main__":
    main()
