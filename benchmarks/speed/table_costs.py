"""How many rows a second get their FLOPs, parameters and peak memory, as a table and one by one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.timing import load, one_core
from leti_opt import NAS_BENCH_101, NAS_BENCH_201, NetworkConfig, enumerate_architectures, network_cost
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.network.table_gpu_support import gpu_support_mask
from leti_opt.search_space.definition import SpaceDefinition

CASES = (
    ("NAS_BENCH_101, stacked", NAS_BENCH_101, NetworkConfig.nasbench101()),
    ("NAS_BENCH_101, cell alone", NAS_BENCH_101, NetworkConfig.nasbench101(scope="cell")),
    ("NAS_BENCH_201, stacked", NAS_BENCH_201, NetworkConfig.nasbench201()),
)


@dataclass(frozen=True)
class Timing:
    """Seconds that something took: of the core that it ran on, and of the clock on the wall."""

    core: float
    wall: float


def main() -> None:
    """Cost whole spaces and a sample of each one by one, compare the two, and count what GPU rules pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", type=int, default=1000, help="rows that are costed one by one as well")
    arguments = parser.parse_args()
    before = load()
    figures: list[Figure] = []
    with one_core():
        rows = [costs_row(*case, arguments.repeats, arguments.sample, figures) for case in CASES]
    notes = [
        f"Table: fastest of {arguments.repeats} runs over the whole space, in one thread on one core, rows per second "
        "of that core; in brackets by the clock on the wall.",
        f"One by one: network_cost(architecture, config) for a seeded sample of {arguments.sample} rows, whose "
        "ArchitectureTable rows were made into Architecture objects before; the costs of both ways were equal to the "
        "bit.",
        f"Load average {before} before, {load()} after; other work on the machine slows both ways.",
        *forecast_notes(),
    ]
    headings = ["space and network", "rows", "table, rows/s", "one by one, rows/s", "ratio"]
    write_result("table_costs", "Costs of whole tables", headings, rows, notes, figures[:1])


def costs_row(
    name: str, definition: SpaceDefinition, config: NetworkConfig, repeats: int, size: int, figures: list[Figure]
) -> tuple[str, str, str, str, str]:
    """One line of the table."""
    table = enumerate_architectures(definition)
    fast = min((timed(lambda: network_cost(table, config)) for _ in range(repeats)), key=lambda found: found.core)
    chosen = np.sort(np.random.default_rng(0).choice(len(table), size, replace=False))
    cells = list(table[chosen])
    slow_costs: list[Any] = []
    slow = timed(lambda: slow_costs.extend(network_cost(cell, config) for cell in cells))
    check_equal(table, chosen, slow_costs, config)
    per_second = len(table) / fast.core, size / slow.core
    figures.append(Figure(f"costs of a table, a core ({name})", per_second[0], "rows/s", 20_000, 100_000))
    return (
        name,
        f"{len(table):,}",
        f"{per_second[0]:,.0f} ({len(table) / fast.wall:,.0f})",
        f"{per_second[1]:,.0f} ({size / slow.wall:,.0f})",
        f"{per_second[0] / per_second[1]:,.0f}",
    )


def check_equal(table: ArchitectureTable, chosen: Any, slow_costs: list[Any], config: NetworkConfig) -> None:
    """Stop where the two ways disagree."""
    costs = network_cost(table, config)[chosen]
    columns = (costs.flops, costs.parameters, costs.peak_memory_bytes)
    expected = [(cost.flops, cost.parameters, cost.peak_memory_bytes) for cost in slow_costs]
    if list(zip(*(column.tolist() for column in columns), strict=True)) != expected:
        raise SystemExit("the costs of the table are not those of its rows")


def forecast_notes() -> list[str]:
    """How many networks of NAS-Bench-101 each rule set passes."""
    table = enumerate_architectures(NAS_BENCH_101)
    notes = []
    for rules in ("paper-2020", "tflite-current"):
        for chained in (True, False):
            passed = int(gpu_support_mask(table, NetworkConfig(chained_adds=chained), rules).sum())
            notes.append(
                f"Forecast {rules}, chained_adds={chained}: {passed:,} of the {len(table):,} stacked NAS-Bench-101 "
                "networks are taken whole."
            )
    return notes


def timed(action: Callable[[], Any]) -> Timing:
    """Time of one call."""
    core, wall = time.process_time(), time.perf_counter()
    action()
    return Timing(time.process_time() - core, time.perf_counter() - wall)


if __name__ == "__main__":
    main()
