"""A store's figures as tables: what is written out, and what others' tables bring in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.store.base import StoreBase
from leti_opt.store.records import CellAlias

if TYPE_CHECKING:
    import pandas as pd

    from leti_opt.network.config import NetworkConfig
    from leti_opt.store.imported_rows import ImportCounts
    from leti_opt.store.pseudonyms import Pseudonyms


OriginFilter = Literal["measured", "simulated", "replayed", "imported", "any"]


class TableStore(StoreBase):
    """The tables that leave a store, and those that come in."""

    def to_frame(
        self,
        *,
        origin: OriginFilter | None = None,
        identity: DeviceIdentity | None = None,
        include_unstable: bool = False,
        include_failures: bool = False,
        epoch: DeviceEpoch | Literal["any"] | None = None,
        model_keys: Collection[str] | None = None,
    ) -> pd.DataFrame:
        """One row for each measurement, oldest first. Latencies are in milliseconds; absent is absent.

        Args:
            origin: only rows that are measured, simulated or replayed; ``any`` to mix them. None is for a store that
                holds one kind.
            identity: only of this device.
            include_unstable: also measurements that broke the protocol's rule (``status`` says so).
            include_failures: also networks that cannot run, with status ``infeasible`` and a ``failure_reason``.
            epoch: only what may be served in this epoch of ``identity``, siblings with another runtime included;
                ``any`` for every epoch. None is the same, with an EpochWarning where the rows are of epochs of one
                device that no panel showed to agree; the column ``epoch_group`` tells them apart.
            model_keys: only of these models.

        Raises:
            InvalidInputError: the rows are of several origins, and none was asked for; or an epoch without its device.
        """
        from leti_opt.store import export

        selection = export.Selection(origin, identity, include_unstable, include_failures, epoch, model_keys)
        return self._read(export.frame, selection)

    def export(
        self,
        path: str | Path,
        *,
        origin: OriginFilter | None = None,
        identity: DeviceIdentity | None = None,
        include_unstable: bool = False,
        include_failures: bool = False,
        epoch: DeviceEpoch | Literal["any"] | None = None,
    ) -> int:
        """Write :meth:`to_frame` to a ``.parquet`` or ``.csv`` file, which appears complete or not at all.

        Units, host names and folders are replaced by pseudonyms (:mod:`leti_opt.store.pseudonyms`).

        Returns:
            The number of rows.

        Raises:
            InvalidInputError: another suffix, rows of several origins, or none of the origin that was asked for.
            StoreError: the file cannot be written.
        """
        from leti_opt.store import exchange, export

        target = exchange.checked_target(Path(path), self._database.path)
        selection = export.Selection(origin, identity, include_unstable, include_failures, epoch)
        return self._read(export.write, selection, target)

    def exported(
        self,
        *,
        origin: OriginFilter | None = None,
        identity: DeviceIdentity | None = None,
        include_unstable: bool = False,
        include_failures: bool = False,
        epoch: DeviceEpoch | Literal["any"] | None = None,
    ) -> pd.DataFrame:
        """The table that :meth:`export` writes: :meth:`to_frame` with pseudonyms.

        Raises:
            InvalidInputError: as for :meth:`export`.
            StoreError: the key of the pseudonyms cannot be read or made.
        """
        from leti_opt.store import export

        selection = export.Selection(origin, identity, include_unstable, include_failures, epoch)
        return self._read(export.exported, selection)

    def pseudonyms(self) -> Pseudonyms:
        """What replaces the names of units, hosts and folders in everything that is exported."""
        from leti_opt.store import pseudonyms

        return self._read(pseudonyms.of_store)

    def import_data(
        self,
        path: str | Path,
        *,
        unit: str | None = None,
        device: str | None = None,
        latency: str | None = None,
        origin: str | None = None,
        network: NetworkConfig | None = None,
    ) -> ImportCounts:
        """Take over a ``.parquet`` or ``.csv`` table, whole or not at all: an export of ours, or a table of others.

        Rows of an export keep their device and origin. Rows of others are of a device with the origin ``imported``;
        what their own column ``origin`` claims becomes one of its options. ``Measurement.source`` names the file.

        Args:
            path: the table.
            unit: ``ms``, ``us``, ``s`` or ``ns``, of columns whose name does not end with one.
            device: what measured it; with a column ``device``, whose rows to take.
            latency: the column of the latency, where its name does not tell.
            origin: only rows of this origin; ``any`` for several, each kept apart.
            network: how the table's cells were laid out.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: unit, device or network is not known, the figures do not fit their unit, or rows are
                bad: the message names them.
            StoreError: a cell stands for another model here.
        """
        from leti_opt.store import import_table, imported_rows
        from leti_opt.store.table_row import ImportSettings

        def known(graph_hash: str) -> list[tuple[CellAlias, str]]:
            return self._read(imported_rows.known_aliases, graph_hash)

        asked = ImportSettings(unit, device, latency, origin, network)
        rows = import_table.read(Path(path), asked, known)
        return self._write(imported_rows.write, rows, network)
