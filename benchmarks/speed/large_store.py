"""Fills a store with a figure for every cell of NAS-Bench-101 on simulated devices, past the devices themselves.

Running every network of a formula takes days, so the rows are made here: latencies follow from the cells' costs, and
what a row says of its device is that of the simulated one. No figure in such a store was measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert

from leti_opt import NAS_BENCH_101, NetworkConfig, enumerate_architectures, network_cost, open_device
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.network.rendering import renderer_version
from leti_opt.store import LatencyStore, registry, schema

DEVICES = tuple(f"replay:formula?seed={seed}" for seed in (1, 2, 3))
NETWORK = NetworkConfig.nasbench101()
RENDERER = renderer_version(NETWORK.precision, "auto")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
UNSTABLE, WITHDRAWN = 0.015, 0.005
"""Shares of the measurements; a network whose measurement was withdrawn has a failure instead."""

_CHUNK = 20_000
_RUNS, _ATTEMPTS = 300, 5
Row = dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """What the rows are made of, in the order of measurement: a seeded shuffle, as a campaign has it."""

    table: ArchitectureTable
    flops: NDArray[np.int64]
    parameters: NDArray[np.int64]
    peak_memory_bytes: NDArray[np.int64]


def shuffled_cells(count: int) -> Cells:
    """So many cells of NAS-Bench-101, drawn with a seed."""
    table = enumerate_architectures(NAS_BENCH_101)
    costs = network_cost(table, NETWORK)
    chosen = np.random.default_rng(0).permutation(len(table))[:count]
    _ = table.graph_hashes
    return Cells(table[chosen], costs.flops[chosen], costs.parameters[chosen], costs.peak_memory_bytes[chosen])


def fill(path: Path, count: int) -> None:
    """Make a store with ``count`` cells on each of :data:`DEVICES`."""
    cells = shuffled_cells(count)
    with LatencyStore(path) as store:
        store.add_network(NETWORK.digest, NETWORK.settings)
        with store._database.write() as connection:
            epochs = []
            for uri in DEVICES:
                with open_device(uri) as device:
                    device_id = registry.add_device(connection, device.identity)
                    epochs.append((device_id, registry.add_epoch(connection, device_id, device.epoch)))
            for start in range(0, count, _CHUNK):
                rows = slice(start, min(start + _CHUNK, count))
                _add_cells(connection, cells, rows)
                _add_measurements(connection, cells, rows, epochs)


def _add_cells(connection: Connection, cells: Cells, rows: slice) -> None:
    models: list[Row] = []
    aliases: list[Row] = []
    table = cells.table[rows]
    numbers = range(rows.start + 1, rows.stop + 1)
    for number, cell, graph_hash in zip(numbers, map(str, table), table.graph_hashes.tolist(), strict=True):
        models.append(
            {
                "id": number,
                "key": hashlib.sha256(f"{NETWORK.digest} {cell}".encode()).hexdigest(),
                "name": cell,
                "renderer": RENDERER,
                "precision": NETWORK.precision,
                "batch_size": 1,
                "input_shape": "[32,32,3]",
                "flops": int(cells.flops[number - 1]),
                "parameters": int(cells.parameters[number - 1]),
            }
        )
        alias = {"graph_hash": graph_hash, "network_digest": NETWORK.digest, "renderer": RENDERER, "cell": cell}
        aliases.append({**alias, "model_id": number})
    connection.execute(insert(schema.models), models)
    connection.execute(insert(schema.aliases), aliases)


def _add_measurements(connection: Connection, cells: Cells, rows: slice, epochs: list[tuple[int, int]]) -> None:
    random = np.random.default_rng([1, rows.start])
    count = rows.stop - rows.start
    latency_ms = 0.5 + cells.flops[rows, None] / 2e7 * random.lognormal(0, 0.1, (count, len(epochs)))
    fates = random.uniform(size=latency_ms.shape)
    tables: dict[str, list[Row]] = {
        name: [] for name in ("measurements", "attempts", "metrics", "suspicions", "failures")
    }
    for place in np.ndindex(latency_ms.shape):
        within, device = place
        number = (rows.start + within) * len(epochs) + device + 1
        fate, (device_id, epoch_id) = fates[place], epochs[device]
        batches = list(_batches(float(latency_ms[place]), fate < UNSTABLE, random))
        started_at = BEGIN + timedelta(seconds=4 * number)
        tables["measurements"].append(
            {
                "id": number,
                "digest": hashlib.sha256(f"simulated {number}".encode()).hexdigest(),
                "model_id": rows.start + within + 1,
                "epoch_id": epoch_id,
                "status": "unstable" if fate < UNSTABLE else "stable",
                **batches[-1],
                "min_runs": _RUNS,
                "max_relative_std": 0.1,
                "warmup_runs": 10,
                "first_run_ms": 1.5 * batches[0]["mean_ms"],
                "initialization_ms": 3.0,
                "started_at": started_at,
                "duration_s": 3.5,
                "tool": "0.1.0",
                "origin": "simulated",
            }
        )
        tables["attempts"] += [
            {"measurement_id": number, "position": position, **batch} for position, batch in enumerate(batches)
        ]
        tables["metrics"].append(
            {
                "measurement_id": number,
                "position": 0,
                "name": "peak_memory",
                "value": float(cells.peak_memory_bytes[rows.start + within]),
                "unit": "bytes",
                "source": "formula",
            }
        )
        if fate > 1 - WITHDRAWN:
            tables["suspicions"].append(
                {"measurement_id": number, "reason": "simulated withdrawal", "found_at": started_at}
            )
            tables["failures"].append(
                {
                    "model_id": rows.start + within + 1,
                    "device_id": device_id,
                    "epoch_id": epoch_id,
                    "stage": "run",
                    "reason": "simulated refusal",
                    "failed_at": started_at,
                    "tool": "0.1.0",
                }
            )
    for name, found in tables.items():
        if found:
            connection.execute(insert(schema.metadata.tables[name]), found)


def _batches(mean_ms: float, unstable: bool, random: np.random.Generator) -> Iterator[Row]:
    """The statistics of every attempt: one that holds, or five that spread too far."""
    spread = 0.3 if unstable else 0.02
    for factor in random.normal(1, 0.01, _ATTEMPTS if unstable else 1).tolist():
        mean, std = mean_ms * factor, mean_ms * spread
        yield {
            "count": _RUNS,
            "mean_ms": mean,
            "std_ms": std,
            "min_ms": mean - 2.5 * std,
            "max_ms": mean + 2.5 * std,
            "median_ms": mean - 0.1 * std,
            "p5_ms": mean - 1.6 * std,
            "p95_ms": mean + 1.6 * std,
            "mean_error_ms": 0.11 * std,
            "runs_per_sample": 1,
        }
