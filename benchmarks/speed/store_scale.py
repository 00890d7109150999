"""A store with every cell of NAS-Bench-101 on three simulated devices: what it takes to ask it."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.large_store import DEVICES, NETWORK, RENDERER, UNSTABLE, WITHDRAWN, fill
from benchmarks.speed.timing import ALL_CELLS, load, one_core
from leti_opt import (
    NAS_BENCH_101,
    Architecture,
    LatencyStore,
    MeasurementProtocol,
    enumerate_architectures,
    open_device,
)
from leti_opt.objective.answers import Question
from leti_opt.objective.measuring import MeasuringService
from leti_opt.store import CellAlias
from leti_opt.store.standings import State

PROTOCOL = MeasurementProtocol()
SAMPLE = 2000
MIB = 2**20


@dataclass(frozen=True)
class Step:
    """What a fresh process found: seconds of its core of each repeat or call, those on the wall, and peak memory."""

    seconds: list[float]
    wall_s: list[float]
    peak_mib: float
    said: str

    @property
    def median_s(self) -> float:
        """Of the repeats or calls, in seconds of the core."""
        return statistics.median(self.seconds)


def main() -> None:
    """Fill a store, ask it in processes of their own, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=ALL_CELLS)
    parser.add_argument("--folder", type=Path, help="where the store is made and kept, and found the next time")
    parser.add_argument("--step", choices=list(STEPS), help="do one step, print its figures as JSON, nothing else")
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(in_this_process(STEPS[arguments.step], store_path(arguments.folder, arguments.cells))))
        return
    with folder(arguments.folder) as place:
        path, before = store_path(place, arguments.cells), load()
        filled = filling(path, arguments.cells)
        steps = {name: in_a_process(name, place, arguments.cells) for name in STEPS}
        size = path.stat().st_size
    write(arguments.cells, size, filled, steps, f"{before} before, {load()} after")


def write(cells: int, size: int, filled: str, steps: dict[str, Step], loads: str) -> None:
    """The table, and the figures if the store had its full size."""
    each, at_once = steps["each cell"].median_s * cells * len(DEVICES), steps["standings"].median_s
    rows = [
        [
            f"{name}, {step.said}" if step.said else name,
            _time(step.seconds),
            _time(step.wall_s),
            f"{step.peak_mib:,.0f} MiB",
        ]
        for name, step in steps.items()
    ]
    write_result(
        "store_scale",
        f"A store of {cells:,} cells on {len(DEVICES)} devices ({cells * len(DEVICES):,} measurements)",
        ["what", "of the core, median (fastest to slowest)", "on the wall", "peak resident memory"],
        rows,
        [
            "All devices are simulated, and the rows were made without running them: no latency in the store was "
            f"measured. {UNSTABLE:.1%} of the rows are unstable after five attempts, {WITHDRAWN:.1%} withdrawn; each "
            "has one metric, and no single runs.",
            f"The store is {size / MIB:,.0f} MiB large. {filled}",
            "Every step in a fresh process, in one thread on one core; other work on the machine lengthens the time on "
            f"the wall. find, resolve and 'each cell' are single calls for {SAMPLE:,} cells drawn with a seed; the "
            "others are whole, three times (the export once).",
            "standings asks for the states of all cells on all devices, one device after the other. 'each cell' is the "
            f"same question to MeasuringService.known, cell by cell: for all of them {each:,.0f} s, "
            f"{each / at_once:,.0f} times as long (extrapolated).",
            f"Load average {loads}.",
        ],
        figures(steps) if cells == ALL_CELLS else [],
    )


def figures(steps: dict[str, Step]) -> list[Figure]:
    """Beside what they should be."""
    of = f"store of {ALL_CELLS * len(DEVICES):,} measurements"
    limits = (("find", 1.0, 0.2), ("resolve", 1.0, 0.2))
    return [
        *(Figure(f"{of}, {name}", 1e3 * steps[name].median_s, "ms", *limit, True) for name, *limit in limits),
        Figure(f"{of}, states of all cells on three devices, a core", steps["standings"].median_s, "s", 2, 0.5, True),
        Figure(f"{of}, info", steps["info"].median_s, "s", 2, None, True),
        Figure(f"{of}, Parquet export, a core", steps["export"].median_s, "s", 60, 20, True),
        Figure(f"{of}, Parquet export, peak resident memory", steps["export"].peak_mib, "MiB", 1.5e9 / MIB, None, True),
    ]


def find(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """Measurements by key and device; the keys are looked up before."""
    places = [(device.identity, device.epoch) for device in map(open_device, DEVICES)]
    for place, alias in zip(cycle(places), sample(store), strict=False):
        yield partial(store.find, store.resolve(alias), *place)


def resolve(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """The key of a cell's model."""
    for alias in sample(store):
        yield partial(store.resolve, alias)


def each_cell(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """The answer for one cell, as the objective asks for it."""
    services = [MeasuringService(open_device(uri), store, PROTOCOL) for uri in DEVICES]
    for service, alias in zip(cycle(services), sample(store), strict=False):
        yield partial(service.known, Question(alias.cell, _never, alias))


def standings(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """The states of all cells on all devices."""
    devices = [open_device(uri) for uri in DEVICES]

    def ask() -> dict[str, int]:
        found = [
            store.standings(one.identity, one.epoch, NETWORK.digest, RENDERER, PROTOCOL, PROTOCOL.runs_on(one)).states
            for one in devices
        ]
        return {state.name.lower(): sum(int((states == state).sum()) for states in found) for state in State}

    ask()
    for _ in range(3):
        yield ask


def info(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """What the store holds."""
    store.info()
    for _ in range(3):
        yield store.info


def export(store: LatencyStore) -> Iterator[Callable[[], object]]:
    """Everything but unstable rows, as Parquet, beside the store."""
    target = Path(store.url).with_suffix(".parquet")
    yield lambda: {"rows": store.export(target)}
    target.unlink()


STEPS: dict[str, Callable[[LatencyStore], Iterator[Callable[[], object]]]] = {
    "find": find,
    "resolve": resolve,
    "each cell": each_cell,
    "standings": standings,
    "info": info,
    "export": export,
}


def sample(store: LatencyStore) -> list[CellAlias]:
    """Cells of the store, drawn with a seed."""
    table = enumerate_architectures(NAS_BENCH_101)
    aliases: list[CellAlias] = []
    for row in np.random.default_rng(7).permutation(len(table)).tolist():
        cell: Architecture = table[row]
        alias = CellAlias(cell.graph_hash, NETWORK.digest, RENDERER, str(cell))
        if store.resolve(alias) is not None:
            aliases.append(alias)
        if len(aliases) == SAMPLE:
            break
    return aliases


def in_this_process(step: Callable[[LatencyStore], Iterator[Callable[[], object]]], path: Path) -> dict[str, object]:
    """Seconds of every call of a step, and peak memory of this process."""
    seconds, wall_s = [], []
    answer: object = None
    with one_core(), LatencyStore(path) as store:
        for call in step(store):
            core, wall = time.process_time(), time.perf_counter()
            answer = call()
            seconds.append(time.process_time() - core)
            wall_s.append(time.perf_counter() - wall)
    counts = answer.items() if isinstance(answer, dict) else ()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    said = ", ".join(f"{many:,} {what}" for what, many in counts)
    return {"seconds": seconds, "wall_s": wall_s, "peak_mib": peak_mib, "said": said}


def in_a_process(name: str, place: Path, cells: int) -> Step:
    """A step in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed.store_scale", "--step", name]
    command += ["--folder", str(place), "--cells", str(cells)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Step(**json.loads(found.stdout))


def filling(path: Path, cells: int) -> str:
    """Make the store unless it is there; says how long that took."""
    if path.exists():
        return "It was there from an earlier run."
    start = time.perf_counter()
    fill(path, cells)
    return f"Making it took {time.perf_counter() - start:,.0f} s."


def store_path(place: Path, cells: int) -> Path:
    """Where the store of so many cells is."""
    return place / f"store-{cells}.db"


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """The user's folder, or one that is removed at the end."""
    if kept is not None:
        os.makedirs(kept, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="leti-opt-scale-") as temporary:
        yield Path(temporary)


def _never() -> None:
    raise RuntimeError("the store has an answer for every cell, so nothing is built")


def _time(seconds: list[float]) -> str:
    middle = statistics.median(seconds)
    unit, factor = ("ms", 1e3) if middle < 0.1 else ("s", 1.0)
    low, middle, high = (factor * value for value in (min(seconds), middle, max(seconds)))
    return f"{middle:.3g} {unit}" + (f" ({low:.3g} to {high:.3g})" if len(seconds) > 1 else "")


if __name__ == "__main__":
    main()
