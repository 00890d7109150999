"""Rows of a table that others published, as measurements of an imported device."""

from __future__ import annotations

from typing import Any

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.store.cells import cell_alias, cell_model
from leti_opt.store.foreign_table import ForeignColumns, check_order, read_cell
from leti_opt.store.records import CellAlias
from leti_opt.store.table_row import UNKNOWN_MOMENT, ImportSettings, KnownAliases, TableRow
from leti_opt.store.table_values import whole_number

_MAX_RELATIVE_STD = 0.1


class ForeignReader:
    """Reads rows of one table; cells that occur twice are built once.

    Args:
        asked: what the user says of the table.
        aliases: cells with their model's key that the store knows by a hash.
        columns: of the figures.
        digest: of the table's file; part of the device's identity.
        source: names the table.
    """

    def __init__(
        self, asked: ImportSettings, aliases: KnownAliases, columns: ForeignColumns, digest: str, source: str
    ) -> None:
        self.asked = asked
        self.aliases = aliases
        self.columns = columns
        self.digest = digest
        self.source = source
        self._models: dict[CellAlias, MeasurableModel] = {}

    def read(self, row: dict[str, Any]) -> TableRow:
        """The measurement that a row is.

        Raises:
            ValueError: a field cannot be read, or its figures cannot be true.
        """
        model, alias = self._network(row)
        statistics: dict[str, Any] = {
            f"{name}_ms": column.read_ms(row)
            for name, column in self.columns.statistics.items()
            if name == "mean" or row[column.name] is not None
        }
        if statistics["mean_ms"] == 0:
            raise ValueError("its latency is 0")
        count = None if self.columns.count is None else whole_number(row[self.columns.count])
        batch = RunBatch(count=count, **statistics)
        check_order(batch)
        spread = batch.relative_std
        place = (self._identity(row), DeviceEpoch("imported table"))
        measurement = Measurement(
            model_key=model.key,
            device=place[0],
            epoch=place[1],
            attempts=(batch,),
            stable=count is not None and spread is not None and spread <= _MAX_RELATIVE_STD,
            min_runs=count or 0,
            max_relative_std=_MAX_RELATIVE_STD,
            warmup_runs=0,
            started_at=UNKNOWN_MOMENT,
            duration_s=0.0,
            source=self.source,
        )
        return TableRow(model, alias, place, measurement)

    def _identity(self, row: dict[str, Any]) -> DeviceIdentity:
        """Rows that claim different origins are of different devices, so that they are never mixed."""
        claimed = row.get("origin")
        return DeviceIdentity(
            kind="import",
            hardware=str(row.get("device") or self.asked.device),
            runtime=f"table {self.digest}",
            runner="unknown",
            delegate="",
            options=() if claimed is None else (("claimed_origin", str(claimed)),),
            origin="imported",
        )

    def _network(self, row: dict[str, Any]) -> tuple[MeasurableModel, CellAlias | None]:
        if row.get("model_key"):
            key = str(row["model_key"])
            return MeasurableModel(key, str(row.get("name") or key[:12]), "unknown", "unknown"), None
        cell = read_cell(row)
        if cell is None:
            return self._known(str(row.get("graph_hash") or ""))
        if self.asked.network is None:
            raise ValueError("a cell needs to be laid out; say how with --network")
        alias = cell_alias(cell, self.asked.network)
        if alias not in self._models:
            self._models[alias] = cell_model(cell, self.asked.network)
        return self._models[alias], alias

    def _known(self, graph_hash: str) -> tuple[MeasurableModel, CellAlias]:
        wanted = None if self.asked.network is None else self.asked.network.digest
        found = [one for one in self.aliases(graph_hash) if wanted in (None, one[0].network_digest)]
        if len({key for _, key in found}) != 1:
            raise ValueError(f"the store knows {len(found)} networks by the hash {graph_hash!r}, and not one")
        alias, key = found[0]
        return MeasurableModel(key, alias.cell, alias.renderer), alias
