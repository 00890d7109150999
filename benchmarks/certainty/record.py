"""Records long traces of real runs on this host, quiet and under load: what intervals are proven on.

    python -m benchmarks.certainty.record [--networks tiny,small] [--conditions quiet,bursts] [--runs 20000]

A trace is every run's time in nanoseconds, in order. Load comes from child processes of this script and is part of the
trace's name; what else the machine did meanwhile is not known, so each file says its steal time and load average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import psutil

from benchmarks.certainty.traces import FOLDER, save_trace
from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.resource_lock import hold
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.report.machine import describe_machine

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

RUNS_PER_COMMAND = 500
_THREE = "0-1,1-2,2-3,3-4:conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu"
NETWORKS = {
    "tiny": ("0-1,1-2:conv1x1-bn-relu", NetworkConfig.small(filters=4, stacks=1)),
    "short": ("0-1,1-2:maxpool3x3", NetworkConfig.small()),
    "small": (_THREE, NetworkConfig.small()),
    "medium": (_THREE, NetworkConfig.small(filters=64)),
    "long": ("0-1,1-2:conv1x1-bn-relu", NetworkConfig()),
}
"""From some microseconds to some ten milliseconds a run."""

CONDITIONS = ("quiet", "neighbour", "bursts", "ramp")


def main() -> None:
    """Record every network in every condition."""
    arguments = _arguments()
    for name in arguments.networks.split(","):
        for condition in arguments.conditions.split(","):
            started_at = datetime.now(UTC)
            steal = psutil.cpu_times().steal
            start = time.monotonic()
            runs_ns = record(name, condition, arguments.runs)
            seconds = time.monotonic() - start
            story = {
                "network": name,
                "condition": condition,
                "started_at": started_at.isoformat(timespec="seconds"),
                "seconds": round(seconds, 1),
                "steal_s": round(psutil.cpu_times().steal - steal, 2),
                "load_average_1min": os.getloadavg()[0],
                "machine": describe_machine().lines(),
            }
            save_trace(f"{name}-{condition}{arguments.suffix}", runs_ns, story)
            runs = runs_ns / 1e6
            print(
                f"{name:7} {condition:9} {len(runs)} runs, {seconds:.0f} s: mean {runs.mean():.4f} ms, median "
                f"{np.median(runs):.4f}, std/mean {runs.std() / runs.mean():.3f}; {story['steal_s']} s stolen",
                flush=True,
            )


def record(name: str, condition: str, runs: int) -> np.ndarray:
    """Times of consecutive runs in nanoseconds, of one network in one condition."""
    cell, config = NETWORKS[name]
    model = MeasurableModel.of_graph(build_layer_graph(Architecture.parse(cell), config), name)
    taken: list[float] = []
    with open_device("host-cpu") as device, hold(device.resources):
        device.prepare(model)
        with device.load(model) as session:
            session.run(100)
            with load_on_host(condition) as progress:
                while len(taken) < runs:
                    batch = session.run(min(RUNS_PER_COMMAND, runs - len(taken)))
                    taken.extend(batch.runs_ms or ())
                    progress.value = len(taken) / runs
    return np.rint(np.asarray(taken) * 1e6).astype(np.uint32)


@contextmanager
def load_on_host(condition: str) -> Iterator[Synchronized[float]]:
    """Other processes at work while the block runs: ``neighbour`` one busy core, ``bursts`` all of them now and then,
    ``ramp`` ever more of the time.

    Yields:
        Where the block says which share of its work is done, by which ``ramp`` goes.
    """
    progress: Synchronized[float] = multiprocessing.Value("d", 0.0)
    count = {"quiet": 0, "neighbour": 1}.get(condition, os.cpu_count() or 1)
    workers = [
        multiprocessing.Process(target=_work, args=(condition, seed, progress), daemon=True) for seed in range(count)
    ]
    for worker in workers:
        worker.start()
    try:
        yield progress
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _work(condition: str, seed: int, progress: Synchronized[float]) -> None:
    generator = random.Random(seed)
    block = np.random.default_rng(seed).random(200_000)
    while True:
        if condition == "neighbour":
            busy_s, idle_s = 1.0, 0.0
        elif condition == "bursts":
            busy_s, idle_s = generator.uniform(0.05, 2.0), generator.uniform(0.5, 5.0)
        else:
            busy_s = 0.1 * generator.random() * progress.value
            idle_s = 0.1 - busy_s
        end = time.monotonic() + busy_s
        while time.monotonic() < end:
            np.sort(block)
        time.sleep(idle_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--suffix", default="", help=f"end of the files' names in {FOLDER.name}, for further traces")
    return parser.parse_args()


if __name__ == "__main__":
    main()
