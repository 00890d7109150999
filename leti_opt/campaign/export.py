"""The data set of a campaign: one row a network, the LETI paper's item with what stands behind its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.columns import cell_columns
from leti_opt.campaign.places import DevicePlace, epochs_of
from leti_opt.campaign.standing import LACKING, Lookup, item_states
from leti_opt.campaign.work import CampaignWork
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.store import exchange
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.standings import State
from leti_opt.version import version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_AT_ONCE = 20_000

FIGURES: dict[str, str] = {
    "latency_ms": "mean_ms",
    "std_ms": "std_ms",
    "min_ms": "min_ms",
    "max_ms": "max_ms",
    "median_ms": "median_ms",
    "p95_ms": "p95_ms",
    "mean_error_ms": "mean_error_ms",
    "runs": "count",
    "attempts": "attempts",
    "initialization_ms": "initialization_ms",
    "peak_memory_bytes": "peak_memory_bytes",
    "measured_at": "started_at",
    "epoch": "epoch_digest",
    "failure": "failure_reason",
}
"""Columns of a device, each after its name and an underscore, and where the store has them."""

_WORDS = {State.MEASURED: "", State.UNSTABLE: "unstable", State.INFEASIBLE: "infeasible"}


@dataclass(frozen=True)
class DeviceCounts:
    """What a data set holds of one device.

    Args:
        name: what its columns are called.
        measured, unstable, infeasible, lacking: networks.
    """

    name: str
    measured: int
    unstable: int
    infeasible: int
    lacking: int


def write_table(
    work: CampaignWork,
    places: Sequence[DevicePlace],
    store: LatencyStore,
    parquet_path: Path,
    csv_path: Path | None = None,
    story: dict[str, Any] | None = None,
    lookup: Lookup | None = None,
) -> list[DeviceCounts]:
    """Write the data set: every cell of the campaign in every config, in the order of measurement by cell.

    A network that is unstable has no latency: its figures spread too far to be one. Files appear whole or not at all.

    Args:
        work: the campaign's networks.
        places: its devices.
        store: what was measured.
        parquet_path: a ``.parquet`` file.
        csv_path: a ``.csv`` file with the same rows; None for none.
        story: what the Parquet file's metadata say, beside the version.
        lookup: of these networks, where it was looked up before.

    Returns:
        For each device how many networks came to which state.

    Raises:
        StoreError: the store cannot be read, or a file not be written.
    """
    from pyarrow import csv, parquet

    counts = {place.name: dict.fromkeys(["measured", "unstable", "infeasible", "lacking"], 0) for place in places}
    with ExitStack() as stack:
        temporary = stack.enter_context(exchange.replacing(parquet_path))
        plain = None if csv_path is None else stack.enter_context(exchange.replacing(csv_path))
        writer: Any = None
        text_writer: Any = None
        for batch in _batches(work, places, store, counts, lookup or Lookup(work)):
            if writer is None:
                told = {"leti_opt": version(), "leti_opt_campaign": json.dumps(story or {})}
                schema = batch.schema.with_metadata({**(batch.schema.metadata or {}), **told})
                writer = stack.enter_context(parquet.ParquetWriter(temporary, schema, compression="zstd"))
                if plain is not None:
                    text_writer = stack.enter_context(csv.CSVWriter(plain, _as_text(batch).schema))
            writer.write_table(batch)
            if text_writer is not None:
                text_writer.write_table(_as_text(batch))
        if writer is not None:
            writer.close()
        if text_writer is not None:
            text_writer.close()
    return [DeviceCounts(name, **found) for name, found in counts.items()]


def has_figures(work: CampaignWork, place: DevicePlace, store: LatencyStore, lookup: Lookup | None = None) -> bool:
    """Whether the store has an answer for any of a campaign's networks on a device."""
    runs = work.protocol.runs_of(place.min_runs)
    return bool((item_states(work, store, place.identity, place.epoch, runs, lookup) != LACKING).any())


def _batches(
    work: CampaignWork,
    places: Sequence[DevicePlace],
    store: LatencyStore,
    counts: dict[str, dict[str, int]],
    lookup: Lookup,
) -> Iterator[pa.Table]:
    import pyarrow as pa

    for config in work.configs:
        answers = [_Answers(work, lookup, config, place, store) for place in places]
        for start in range(0, len(work.cells), ROWS_AT_ONCE):
            rows = np.arange(start, min(start + ROWS_AT_ONCE, len(work.cells)))
            columns = _network_columns(work.cells[rows], config)
            for answer in answers:
                columns |= answer.columns(rows, counts[answer.name])
            yield pa.table(columns)


def _network_columns(cells: ArchitectureTable, config: NetworkConfig) -> dict[str, Any]:
    import pyarrow as pa

    cost = network_cost(cells, config)
    return {
        **cell_columns(cells),
        "network": pa.array([config.digest[:16]] * len(cells)),
        "flops": pa.array(cost.flops),
        "parameters": pa.array(cost.parameters),
        "peak_activation_bytes": pa.array(cost.peak_memory_bytes),
    }


class _Answers:
    """What the store answers for the cells of one config on one device."""

    def __init__(
        self, work: CampaignWork, lookup: Lookup, config: NetworkConfig, place: DevicePlace, store: LatencyStore
    ) -> None:
        self.name = place.name
        min_runs = work.protocol.runs_of(place.min_runs)
        found, places, is_ours = lookup.standings(store, place.identity, place.epoch, config, min_runs, figures=True)
        self._row_of = np.full(len(work.cells), -1, dtype=np.int64)
        self._row_of[places[is_ours]] = np.flatnonzero(is_ours)
        self._states = found.states
        assert found.figures is not None
        names = store.pseudonyms()
        # A serial went into an epoch's digest, and a reason may name a phone.
        digests = {epoch.digest: names.epoch(epoch).digest[:16] for epoch in epochs_of(store, place)}
        self._figures: pd.DataFrame = found.figures.assign(
            epoch_digest=found.figures["epoch_digest"].map(digests).astype("string"),
            failure_reason=found.figures["failure_reason"].map(names.text, na_action="ignore").astype("string"),
        )
        self._word = {**_WORDS, State.MEASURED: place.identity.origin}

    def columns(self, cells: Any, counts: dict[str, int]) -> dict[str, Any]:
        """Columns of some cells; the counts grow by them."""
        import pyarrow as pa

        rows = self._row_of[cells]
        states = np.where(rows < 0, -1, self._states[rows] if len(self._states) else -1)
        for state, name in (
            (State.MEASURED, "measured"),
            (State.UNSTABLE, "unstable"),
            (State.INFEASIBLE, "infeasible"),
        ):
            counts[name] += int((states == state).sum())
        counts["lacking"] += int((states < 0).sum())
        taken = self._figures.reindex(rows).reset_index(drop=True)
        words = pa.array([self._word[state] for state in State], type=pa.string())
        columns = {f"{self.name}_status": words.take(pa.array(states, mask=states < 0))}
        not_one = states != State.MEASURED
        for name, source in FIGURES.items():
            column = taken[source]
            if name in _LATENCIES:
                column = column.mask(not_one)
            columns[f"{self.name}_{name}"] = pa.Array.from_pandas(column, type=_type(name))
        return columns


_LATENCIES = ("latency_ms", "std_ms", "min_ms", "max_ms", "median_ms", "p95_ms", "mean_error_ms")


def _type(name: str) -> Any:
    import pyarrow as pa

    if name in ("runs", "attempts", "peak_memory_bytes"):
        return pa.int64()
    if name == "measured_at":
        return pa.timestamp("us", tz="UTC")
    return pa.string() if name in ("epoch", "failure") else pa.float64()


def _as_text(table: pa.Table) -> pa.Table:
    """The same with lists as JSON, which CSV can hold."""
    import pyarrow as pa

    for name in ("adjacency", "operations"):
        at = table.schema.get_field_index(name)
        texts = [json.dumps(value) for value in table[name].to_pylist()]
        table = table.set_column(at, name, pa.array(texts))
    return table
