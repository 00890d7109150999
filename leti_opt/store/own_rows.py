"""Rows of a table that a store of ours exported."""

from __future__ import annotations

import json
from typing import Any

from leti_opt.device.device import DeviceEpoch
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.store import exchange
from leti_opt.store.foreign_table import check_order
from leti_opt.store.measurement_rows import STATISTIC_COLUMNS
from leti_opt.store.records import CellAlias
from leti_opt.store.table_row import TableRow
from leti_opt.store.table_values import moment_of, number, optional_number, whole_number

OWN_COLUMNS = {
    "model_key",
    "renderer",
    "device_digest",
    "epoch_digest",
    "options",
    "origin",
    "status",
    "mean_ms",
    "started_at",
}
"""A table with all of these is an export of ours."""

_PLACE_TEXTS = ("device_kind", "hardware", "runtime", "runner", "delegate", "system_build", "driver", "unit")


def own_row(row: dict[str, Any], source: str) -> TableRow:
    """A row that a store of ours exported.

    Args:
        row: its fields by the names of their columns.
        source: names the table, where the row does not say where its figures come from.

    Raises:
        KeyError: a column is missing.
        ValueError: a field cannot be read, or the fields do not fit each other.
    """
    if not row["model_key"]:
        raise ValueError("it has no model_key; a network that was never built cannot be imported")
    model = MeasurableModel(row["model_key"], row["name"] or "", row["renderer"] or "", row["precision"] or "unknown")
    named = [row["graph_hash"], row["network_digest"], row["renderer"], row["cell"]]
    alias = CellAlias(*map(str, named)) if all(named) else None
    costs = (whole_number(row.get("flops")), whole_number(row.get("parameters")))
    # CSV does not tell an empty text from an absent one.
    row = {**row, **{name: row[name] or "" for name in _PLACE_TEXTS}}
    place = exchange.place_of(row) if row["device_digest"] else None
    if place is not None and place[0].digest != row["device_digest"]:
        raise ValueError("its device does not have the digest that it says; the file was changed")
    moment = moment_of(row["started_at"])
    if row["status"] == "infeasible":
        if place is not None and not row["epoch_digest"]:
            place = (place[0], DeviceEpoch(""))
        return TableRow(model, alias, place, None, row["failure_reason"] or "no reason given", moment, costs)
    if place is None or place[1].digest != row["epoch_digest"]:
        raise ValueError("its epoch does not have the digest that it says; the file was changed")
    statistics: dict[str, Any] = {name: optional_number(row.get(name), name) for name in STATISTIC_COLUMNS}
    batch = RunBatch(
        count=whole_number(row["count"]),
        **{**statistics, "mean_ms": number(row["mean_ms"], "mean_ms")},
        runs_per_sample=whole_number(row.get("runs_per_sample")) or 1,
    )
    check_order(batch)
    measurement = Measurement(
        model_key=row["model_key"],
        device=place[0],
        epoch=place[1],
        attempts=(batch,),
        stable=row["status"] == "stable",
        min_runs=whole_number(row["min_runs"]) or 0,
        max_relative_std=number(row["max_relative_std"], "max_relative_std"),
        warmup_runs=whole_number(row["warmup_runs"]) or 0,
        started_at=moment,
        duration_s=number(row["duration_s"], "duration_s"),
        initialization_ms=optional_number(row["initialization_ms"], "initialization_ms"),
        first_run_ms=optional_number(row["first_run_ms"], "first_run_ms"),
        metrics=tuple(Metric(**one) for one in json.loads(row["metrics"] or "[]")),
        tool=row["tool"] or "",
        commit=row["commit"],
        relative_error=optional_number(row["relative_error"], "relative_error"),
        source=row["source"] or source,
    )
    if measurement.status != row["status"]:
        raise ValueError(f"its status {row['status']!r} does not fit its figures")
    return TableRow(model, alias, place, measurement, costs=costs)
