"""How long each step of one evaluation takes, a cached call, the imports, and memory over many evaluations."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import psutil

from benchmarks.result_table import write_result
from benchmarks.speed.timing import seconds_of
from leti_opt import (
    Architecture,
    ArchitectureSpace,
    DeviceLatencyObjective,
    LatencyStore,
    MeasurementProtocol,
    NetworkConfig,
    build_keras_model,
    build_layer_graph,
    convert_tflite,
    measure,
    open_device,
    write_tflite,
)
from leti_opt.device.model import MeasurableModel
from leti_opt.device.resource_lock import hold

CELL = "0-1,0-4,0-5,1-2,2-3,2-6,3-5,4-5,5-6:conv3x3-bn-relu,maxpool3x3,conv3x3-bn-relu,conv3x3-bn-relu,conv1x1-bn-relu"
Row = tuple[str, str, str, str]


def main() -> None:
    """Measure every step for the small and the full network, then calls, imports and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=200, help="for the memory row")
    parser.add_argument("--memory-only", action="store_true", help="print the memory row and nothing else")
    arguments = parser.parse_args()
    if arguments.memory_only:
        print(json.dumps(memory(arguments.evaluations)))
        return
    import keras  # noqa: F401 - so that no step pays for TensorFlow's import

    rows: list[Row] = []
    for name, config in (("small", NetworkConfig.small()), ("nasbench101", NetworkConfig.nasbench101())):
        rows += steps_of_one_evaluation(name, config, arguments.repeats)
    rows += calls(arguments.repeats)
    rows += imports(arguments.repeats)
    rows.append(memory_of_a_fresh_process(arguments.evaluations))
    write_result(
        "evaluation_steps",
        "One evaluation, step by step",
        ["network", "step", "median", "fastest to slowest"],
        rows,
        [
            f"{arguments.repeats} repeats; a measurement is 300 runs after 10 for warm-up, on host-cpu, one thread.",
            "'write TFLite' and 'TF converter' are two ways to the same network; the objective takes the first.",
        ],
    )


def steps_of_one_evaluation(name: str, config: NetworkConfig, repeats: int) -> list[Row]:
    """Assembly, both ways to TFLite, load, measurement and store, each by itself."""
    cell = Architecture.parse(CELL)
    graph = build_layer_graph(cell, config)
    keras_model = build_keras_model(graph)
    few = max(1, repeats // 2) if name == "nasbench101" else repeats
    rows = [
        row(name, "assembly", seconds_of(lambda: build_layer_graph(Architecture.parse(CELL), config), repeats)),
        row(name, "write TFLite", seconds_of(lambda: write_tflite(graph), repeats)),
        row(name, "Keras build", seconds_of(lambda: build_keras_model(graph), few)),
        row(name, "TF converter", seconds_of(lambda: convert_tflite(keras_model), few)),
    ]
    model = MeasurableModel.of_graph(graph)
    protocol = MeasurementProtocol(max_attempts=1)
    with open_device("host-cpu") as device, tempfile.TemporaryDirectory() as folder:
        measure(device, model, MeasurementProtocol(min_runs=1, max_attempts=1))

        def load() -> None:
            with hold(device.resources), device.load(model):
                pass

        rows.append(row(name, "load", seconds_of(load, repeats)))
        rows.append(row(name, "measurement", seconds_of(lambda: measure(device, model, protocol), few)))
        measurements = iter([measure(device, model, MeasurementProtocol(min_runs=300)) for _ in range(few + 1)])
        store = LatencyStore(Path(folder) / "latency.db")
        store.add(model, next(measurements))
        rows.append(row(name, "store", seconds_of(lambda: store.add(model, next(measurements)), few)))
    return rows


def calls(repeats: int) -> list[Row]:
    """A call that memory answers, and one that the store answers, each for cells not seen as objects before."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "latency.db")
        network = NetworkConfig.small()
        first = DeviceLatencyObjective("replay:formula?seed=1", network, store=path)
        space = ArchitectureSpace()
        space.random_state.seed(0)
        texts = [str(space.sample().value) for _ in range(200)]
        for text in texts:
            first(Architecture.parse(text))
        same = Architecture.parse(texts[0])
        first(same)
        rows = [
            row(
                "small",
                "call, same object",
                [t / 200 for t in seconds_of(lambda: [first(same) for _ in texts], repeats)],
            )
        ]
        for source, objective in (("memory", lambda: first), ("store", lambda: new_objective(path, network))):
            samples = []
            for _ in range(repeats):
                chosen = objective()
                cells = [Architecture.parse(text) for text in texts]
                samples += [t / 200 for t in seconds_of(lambda: [chosen(cell) for cell in cells], 1)]  # noqa: B023
            rows.append(row("small", f"call, new object, from {source}", samples))
    return rows


def new_objective(path: str, network: NetworkConfig) -> DeviceLatencyObjective:
    """An objective that remembers nothing itself, with its store open."""
    objective = DeviceLatencyObjective("replay:formula?seed=1", network, store=path)
    objective.store.info()
    return objective


def imports(repeats: int) -> list[Row]:
    """Whole processes, the interpreter's own start included."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import leti_opt": [sys.executable, "-c", "import leti_opt"],
        "leti-opt --help": [sys.executable, "-m", "leti_opt.cli.main", "--help"],
    }
    return [
        row("", name, seconds_of(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL), repeats))  # noqa: B023
        for name, command in commands.items()
    ]


def memory_of_a_fresh_process(evaluations: int) -> Row:
    """A search on cells imports no TensorFlow, so this process, which did, is not the one to look at."""
    command = [sys.executable, "-m", "benchmarks.speed.evaluation_steps", "--memory-only"]
    done = subprocess.run([*command, "--evaluations", str(evaluations)], check=True, capture_output=True, text=True)
    name, step, size, growth = json.loads(done.stdout.splitlines()[-1])
    return (name, step, size, growth)


def memory(evaluations: int) -> Row:
    """Resident memory of the process that searches, before and after."""
    space = ArchitectureSpace()
    space.random_state.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        objective = DeviceLatencyObjective(
            "host-cpu",
            NetworkConfig.small(filters=16),
            store=str(Path(folder) / "latency.db"),
            protocol=MeasurementProtocol(min_runs=30, max_attempts=1),
        )
        sizes = []
        for _ in range(evaluations):
            objective(space.sample().value)
            sizes.append(psutil.Process().memory_info().rss)
        objective.close()
    warm = sizes[min(20, len(sizes) - 1)]
    growth = f"{100 * (sizes[-1] / warm - 1):+.1f} % since evaluation 20"
    return ("small", f"memory after {evaluations} evaluations", f"{sizes[-1] / 2**20:.0f} MiB", growth)


def row(network: str, step: str, samples: list[float]) -> Row:
    """One line of the table, in milliseconds."""
    milliseconds = np.array(samples) * 1e3
    return (
        network,
        step,
        f"{statistics.median(milliseconds):.3f} ms",
        f"{milliseconds.min():.3f} to {milliseconds.max():.3f}",
    )


if __name__ == "__main__":
    main()
