"""The store of everything measured: an SQLite file for threads and processes, or a database for several hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.store import epoch_summary, journal, links, measurement_rows, panels, registry, summary, suspicions, uris
from leti_opt.store.bulk import BulkStore
from leti_opt.store.campaigns import CampaignStore
from leti_opt.store.claims import ClaimStore
from leti_opt.store.opening import database_of, shown
from leti_opt.store.paces import PaceStore
from leti_opt.store.postgresql import PATIENCE_S
from leti_opt.store.records import (
    CellAlias,
    EpochLink,
    EpochSummary,
    FailureRecord,
    FailureStage,
    ModelRecord,
    ModelRole,
    StoreInfo,
)
from leti_opt.store.search_journal import SearchStore
from leti_opt.store.values import moment
from leti_opt.version import source_commit, version

if TYPE_CHECKING:
    import pandas as pd

    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.network.config import NetworkConfig
    from leti_opt.store.import_table import ImportCounts
    from leti_opt.store.merge import MergeCounts
    from leti_opt.store.pseudonyms import Pseudonyms
    from leti_opt.store.standings import Standings

OriginFilter = Literal["measured", "simulated", "replayed", "imported", "any"]


class LatencyStore(BulkStore, ClaimStore, CampaignStore, PaceStore, SearchStore):
    """Keeps measurements, failures, scores and journals of searches; nothing that was added is ever lost.

    What was added is on the disk when the call returns. Many threads and processes may read and write at once. It can
    be pickled (it travels as its URL) and used after a fork. After :meth:`close` it opens again when used.

    Every call is one transaction. One that loses its connection to a server is made again, and doubles nothing.

    Args:
        url: a path or ``sqlite:///path``; created if there is nothing. ``:memory:`` for one that lives as long as
            this object, and only in this process. ``postgresql://user:password@host:port/name`` for a database that
            several hosts share; it must be there, and its tables are created.
        patience_s: how many seconds a call waits for a server that was there before and is away.

    Attributes:
        url: as it was given, without a password.

    Raises:
        StoreError: the store cannot be opened or created, or is of another kind; it was not changed. Its subclasses
            tell a foreign one, a damaged one, a newer version and a server that does not answer apart.

    >>> with LatencyStore(":memory:") as store:
    ...     store.info().measurements
    0
    """

    def __init__(self, url: str | Path, *, patience_s: float = PATIENCE_S) -> None:
        self._set(url, patience_s)
        self._database.patiently(self._database.open)

    def _set(self, url: str | Path, patience_s: float = PATIENCE_S) -> None:
        self._database = database_of(url, patience_s)
        self.url = shown(url)

    def close(self) -> None:
        """Release the file or the connection. May be called twice; a store in memory is empty afterwards."""
        self._database.close()

    def __enter__(self) -> LatencyStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LatencyStore({self.url!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self._database.travelling()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(**state)

    # -- models and cells ---------------------------------------------------------------------------------------

    def add_model(self, model: MeasurableModel, *, flops: int | None = None, parameters: int | None = None) -> None:
        """Store what is known of a model; a later call fills in what an earlier one did not know.

        Args:
            model: its key, name, renderer, precision and, if it has one, layer graph.
            flops: operations of one run (2 x multiply-accumulates).
            parameters: trainable ones.
        """
        self._write(registry.add_model, model, flops, parameters)

    def model(self, key: str) -> ModelRecord | None:
        """What the store knows of a model; None if it does not know it."""
        return self._read(registry.load_model, key)

    def add_alias(self, alias: CellAlias, model: MeasurableModel) -> None:
        """Let a cell stand for a model.

        Raises:
            StoreError: it stands for another model already.
        """
        self._write(registry.add_model_with_alias, model, alias)

    def resolve(self, alias: CellAlias) -> str | None:
        """Key of the model that a cell stands for; None if the store does not know it."""
        return self._read(registry.resolve, alias)

    def aliases(self, *, graph_hash: str | None = None, model_key: str | None = None) -> list[CellAlias]:
        """Every cell that the store knows, or those with one hash, or of one model."""
        return self._read(registry.load_aliases, graph_hash, model_key)

    def add_network(self, digest: str, config: Mapping[str, Any]) -> None:
        """Keep the settings that a network's digest stands for, so that its cells can be built from the store alone.

        Args:
            digest: ``NetworkConfig.digest``.
            config: ``NetworkConfig.settings``.
        """
        self._write(registry.add_network, digest, config)

    def network(self, digest: str) -> dict[str, Any] | None:
        """The settings that a network's digest stands for; None if the store does not know them."""
        return self._read(registry.load_network, digest)

    # -- measurements and failures ------------------------------------------------------------------------------

    def add(
        self,
        model: MeasurableModel,
        measurement: Measurement,
        *,
        alias: CellAlias | None = None,
        flops: int | None = None,
        parameters: int | None = None,
        role: ModelRole | None = None,
    ) -> int:
        """Store a measurement with its model, device, epoch and alias, in one transaction.

        A model with the role ``canary`` only watches its device, and a ``block`` is a part of a network, measured for
        a lookup table: neither is a result, so no table of results holds it.

        Returns:
            Its id. An equal measurement that is stored already is not stored again.

        Raises:
            InvalidInputError: it is of another model, or holds NaN or a time without zone.
            StoreError: it could not be written; nothing of it was.
        """
        measurement_rows.check_model(measurement, model)
        rows = measurement_rows.to_rows(measurement)
        return self._write(measurement_rows.add, rows, model, measurement, alias, flops, parameters, role)

    def find(
        self,
        model_key: str,
        identity: DeviceIdentity,
        epoch: DeviceEpoch | None = None,
        *,
        include_suspect: bool = False,
    ) -> list[Measurement]:
        """Measurements of a model on a device, newest first, stable or not, as they were added.

        Args:
            model_key: key of the model.
            identity: the device.
            epoch: only of this epoch and those that a panel showed to agree with it (:meth:`add_link`), which may
                belong to a device with another runtime: ``Measurement.device`` says so. None for all of this device.
            include_suspect: also those that were withdrawn (:meth:`suspect`).
        """
        return self._read(measurement_rows.load, model_key, identity, epoch, include_suspect)

    def suspect(self, identity: DeviceIdentity, epoch: DeviceEpoch, *, since: datetime, reason: str) -> list[str]:
        """Withdraw what a device measured after a moment: it stays in the store, and answers nothing any more.

        Args:
            identity: the device.
            epoch: its epoch.
            since: the last moment at which the device was known to be itself.
            reason: one line.

        Returns:
            Keys of the models whose measurements were withdrawn, in order of measurement.
        """
        return self._write(suspicions.add, identity, epoch, moment(since, "since"), reason, datetime.now(UTC))

    def suspect_one(self, measurement_id: int, reason: str) -> None:
        """Withdraw one measurement, by the id that :meth:`add` gave it."""
        self._write(suspicions.add_one, measurement_id, reason, datetime.now(UTC))

    def suspects(self, identity: DeviceIdentity, epoch: DeviceEpoch) -> list[str]:
        """Keys of the models that have nothing but withdrawn measurements on this device and epoch."""
        return self._read(suspicions.open_keys, identity, epoch)

    def add_failure(
        self,
        reason: str,
        *,
        stage: FailureStage,
        model: MeasurableModel | None = None,
        alias: CellAlias | None = None,
        device: DeviceIdentity | None = None,
        epoch: DeviceEpoch | None = None,
        failed_at: datetime | None = None,
    ) -> int:
        """Store that a network cannot be built, or that a device cannot run it.

        Args:
            reason: one line.
            stage: ``build``, ``load`` or ``run``.
            model: the network; may be absent if it could not be built.
            alias: its cell; needed where there is no model.
            device: where it failed; None if no device was involved, which then goes for every device.
            epoch: the device's epoch.
            failed_at: now, if not given.

        Returns:
            Its id. A failure that is equal in everything, its moment included, is not stored again.
        """
        failure = FailureRecord(
            stage=stage,
            reason=reason,
            failed_at=failed_at or datetime.now(UTC),
            model_key=None if model is None else model.key,
            alias=alias,
            device=device,
            epoch=epoch,
            tool=version(),
            commit=source_commit(),
        )
        journal.check_failure(failure)
        return self._write(journal.add_failure, failure, model)

    def failures(
        self,
        model_key: str | None = None,
        alias: CellAlias | None = None,
        identity: DeviceIdentity | None = None,
        epoch: DeviceEpoch | None = None,
    ) -> list[FailureRecord]:
        """Failures, newest first.

        Args:
            model_key: only of this model.
            alias: only of this cell and the model that it stands for.
            identity: only on this device, with those that go for every device.
            epoch: only in this epoch of the device and in those linked to it, with those that go for every epoch.
                A device with another runtime may take what this one refuses, so links to it play no part here.
        """
        return self._read(journal.load_failures, model_key, alias, identity, epoch)

    # -- devices ------------------------------------------------------------------------------------------------

    def remember_uri(
        self, uri: str, identity: DeviceIdentity, epoch: DeviceEpoch, *, seen_at: datetime | None = None
    ) -> None:
        """Store which device a URI leads to, so that :meth:`device_of` answers without the device."""
        self._write(uris.remember, uri, identity, epoch, moment(seen_at or datetime.now(UTC), "seen_at"))

    def device_of(self, uri: str) -> tuple[DeviceIdentity, DeviceEpoch] | None:
        """The device and epoch that a URI led to when last seen; None if it never was."""
        return self._read(uris.device_of, uri)

    def devices_by_uri(self) -> dict[str, tuple[DeviceIdentity, DeviceEpoch]]:
        """The device and epoch that every URI led to when last seen, the one that was seen last first."""
        return self._read(uris.all_devices)

    def add_link(self, identity: DeviceIdentity, link: EpochLink) -> None:
        """Store what a panel showed about two epochs of a device, whether they agree or not.

        Raises:
            InvalidInputError: it is one epoch, or the link's devices differ in more than their runtime.
        """
        self._write(links.add_link, identity, link)

    def links(self, identity: DeviceIdentity) -> list[EpochLink]:
        """Every link between epochs of a device and of those that differ in their runtime alone, newest first."""
        return self._read(links.links, identity)

    def epochs(self, identity: DeviceIdentity) -> list[EpochSummary]:
        """The epochs with figures of a device and of those that differ in their runtime alone, last measured first."""
        return self._read(epoch_summary.summaries, identity)

    def latencies(
        self, identity: DeviceIdentity, epoch: DeviceEpoch, network_digest: str, *, linked: bool = True
    ) -> dict[str, float]:
        """Mean latency in milliseconds, by model key, of every stable measurement that may be served in an epoch.

        Args:
            identity: the device.
            epoch: its epoch.
            network_digest: only cells that are laid out so; empty for users' own files.
            linked: False to leave out what was measured in other epochs, though it may be served here.
        """
        return self._read(epoch_summary.latencies, identity, epoch, network_digest, linked)

    def standings(
        self,
        identity: DeviceIdentity,
        epoch: DeviceEpoch,
        network_digest: str,
        renderer: str,
        protocol: MeasurementProtocol,
        min_runs: int,
        *,
        figures: bool = False,
        cells: bool = False,
    ) -> Standings:
        """What can be answered for each cell in an epoch of a device, of all cells of a network at once.

        Args:
            identity: the device.
            epoch: its epoch; links to others count as for :meth:`find` and :meth:`failures`.
            network_digest: how the cells are laid out.
            renderer: what turns them into files, as in :class:`CellAlias`.
            protocol: what a stored measurement must be good enough for.
            min_runs: ``protocol.runs_on(device)``.
            figures: also what each answer rests on.
            cells: also the texts of the cells.

        >>> from leti_opt import MeasurementProtocol, open_device
        >>> device = open_device("replay:formula")
        >>> with LatencyStore(":memory:") as store:
        ...     len(store.standings(device.identity, device.epoch, "", "", MeasurementProtocol(), 300))
        0
        """
        from leti_opt.store import standings

        request = standings.Request(identity, epoch, network_digest, renderer, protocol, min_runs)
        return self._read(standings.load, request, cells, figures)

    def set_panel(self, identity: DeviceIdentity, network_digest: str, model_keys: Sequence[str]) -> None:
        """Choose the networks that are measured again to see whether a device has changed.

        Args:
            identity: the device.
            network_digest: how the cells are laid out; empty for users' own files.
            model_keys: models that the store knows, in order of latency.
        """
        self._write(panels.replace, identity, network_digest, model_keys)

    def panel(self, identity: DeviceIdentity, network_digest: str) -> list[str]:
        """Keys of the panel's models; empty where none was chosen."""
        return self._read(panels.load, identity, network_digest)

    # -- everything at once -------------------------------------------------------------------------------------

    def to_frame(
        self,
        *,
        origin: OriginFilter | None = None,
        identity: DeviceIdentity | None = None,
        include_unstable: bool = False,
        include_failures: bool = False,
        epoch: DeviceEpoch | Literal["any"] | None = None,
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

        Raises:
            InvalidInputError: the rows are of several origins, and none was asked for; or an epoch without its device.
        """
        from leti_opt.store import export

        selection = export.Selection(origin, identity, include_unstable, include_failures, epoch)
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
        from leti_opt.store import import_table

        def known(graph_hash: str) -> list[tuple[CellAlias, str]]:
            return self._read(import_table.known_aliases, graph_hash)

        asked = import_table.ImportSettings(unit, device, latency, origin, network)
        rows = import_table.read(Path(path), asked, known)
        return self._write(import_table.write, rows, network)

    def merge(self, other: str | Path) -> MergeCounts:
        """Take over what another store holds: measurements, failures, cells, networks, links and scores.

        It happens as a whole or not at all, and a second time changes nothing. The other store is only read; an older
        one is upgraded in a copy. What it measured says so in ``Measurement.source``.

        Raises:
            NotFoundError: there is no such store.
            InvalidInputError: it is this store.
            StoreError: it cannot be read, was written by a newer leti_opt, or knows another model for the same cell.
        """
        from leti_opt.store import merge

        with merge.snapshot(other, self._database) as (source, name):
            return self._write(merge.merge, source, name)

    def info(self) -> StoreInfo:
        """What the store holds, in numbers."""
        return self._read(summary.summarize, self.url, self._database.size_bytes)
