"""The store of everything measured: one SQLite file that threads and processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Select, bindparam, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InvalidInputError, StoreError
from leti_opt.store import epoch_summary, journal, links, measurement_rows, panels, registry, summary, suspicions
from leti_opt.store.database import Database
from leti_opt.store.records import (
    CellAlias,
    EpochLink,
    EpochSummary,
    EvaluationRecord,
    FailureRecord,
    FailureStage,
    ModelRecord,
    ScoreRecord,
    StoreInfo,
)
from leti_opt.store.schema import aliases, device_uris, devices, epochs, models
from leti_opt.store.values import moment
from leti_opt.version import source_commit, version

if TYPE_CHECKING:
    import pandas as pd

    from leti_opt.network.config import NetworkConfig
    from leti_opt.store.import_table import ImportCounts
    from leti_opt.store.merge import MergeCounts
    from leti_opt.store.pseudonyms import Pseudonyms

OriginFilter = Literal["measured", "simulated", "replayed", "imported", "any"]


class LatencyStore:
    """Keeps measurements, failures, scores and journals of searches; nothing that was added is ever lost.

    What was added is on the disk when the call returns. Many threads and processes may read and write at once. It can
    be pickled (it travels as its URL) and used after a fork. After :meth:`close` it opens again when used.

    Args:
        url: a path or ``sqlite:///path``; created if there is nothing. ``:memory:`` for one that lives as long as
            this object, and only in this process.

    Raises:
        StoreError: the file cannot be opened or created, or is of another kind; it was not changed. Its subclasses
            tell a foreign file, a damaged one and a newer version apart.

    >>> with LatencyStore(":memory:") as store:
    ...     store.info().measurements
    0
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._database = Database(url)
        self._database.open()

    def close(self) -> None:
        """Release the file. May be called twice; a store in memory is empty afterwards."""
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

    def __getstate__(self) -> dict[str, str]:
        if self._database.path is None:
            raise StoreError("a store in memory cannot go to another process; give it a file, such as latency.db")
        return {"url": str(self._database.path)}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.url = state["url"]
        self._database = Database(Path(state["url"]))

    # -- models and cells ---------------------------------------------------------------------------------------

    def add_model(self, model: MeasurableModel, *, flops: int | None = None, parameters: int | None = None) -> None:
        """Store what is known of a model; a later call fills in what an earlier one did not know.

        Args:
            model: its key, name, renderer, precision and, if it has one, layer graph.
            flops: operations of one run (2 x multiply-accumulates).
            parameters: trainable ones.
        """
        with self._database.write() as connection:
            registry.add_model(connection, model, flops, parameters)

    def model(self, key: str) -> ModelRecord | None:
        """What the store knows of a model; None if it does not know it."""
        with self._database.read() as connection:
            return registry.load_model(connection, key)

    def add_alias(self, alias: CellAlias, model: MeasurableModel) -> None:
        """Let a cell stand for a model.

        Raises:
            StoreError: it stands for another model already.
        """
        with self._database.write() as connection:
            registry.add_alias(connection, alias, registry.add_model(connection, model))

    def resolve(self, alias: CellAlias) -> str | None:
        """Key of the model that a cell stands for; None if the store does not know it."""
        with self._database.read() as connection:
            return registry.resolve(connection, alias)

    def aliases(self, *, graph_hash: str | None = None, model_key: str | None = None) -> list[CellAlias]:
        """Every cell that the store knows, or those with one hash, or of one model."""
        query: Select[Any] = select(*(aliases.c[name] for name in registry.ALIAS_COLUMNS))
        if graph_hash is not None:
            query = query.where(aliases.c.graph_hash == graph_hash)
        if model_key is not None:
            query = query.join(models).where(models.c.key == model_key)
        with self._database.read() as connection:
            return [CellAlias(*row) for row in connection.execute(query.order_by(aliases.c.id))]

    def add_network(self, digest: str, config: Mapping[str, Any]) -> None:
        """Keep the settings that a network's digest stands for, so that its cells can be built from the store alone.

        Args:
            digest: ``NetworkConfig.digest``.
            config: ``NetworkConfig.settings``.
        """
        with self._database.write() as connection:
            registry.add_network(connection, digest, config)

    def network(self, digest: str) -> dict[str, Any] | None:
        """The settings that a network's digest stands for; None if the store does not know them."""
        with self._database.read() as connection:
            return registry.load_network(connection, digest)

    # -- measurements and failures ------------------------------------------------------------------------------

    def add(
        self,
        model: MeasurableModel,
        measurement: Measurement,
        *,
        alias: CellAlias | None = None,
        flops: int | None = None,
        parameters: int | None = None,
        role: Literal["canary"] | None = None,
    ) -> int:
        """Store a measurement with its model, device, epoch and alias, in one transaction.

        A model with the role ``canary`` only watches its device: it is no result, so no table of results holds it.

        Returns:
            Its id. An equal measurement that is stored already is not stored again.

        Raises:
            InvalidInputError: it is of another model, or holds NaN or a time without zone.
            StoreError: it could not be written; nothing of it was.
        """
        if measurement.model_key != model.key:
            raise InvalidInputError(
                f"the measurement is of model {measurement.model_key}, not of {model.key}; hand in its own model"
            )
        rows = measurement_rows.to_rows(measurement)
        with self._database.write() as connection:
            model_id = registry.add_model(connection, model, flops, parameters, role)
            if alias is not None:
                registry.add_alias(connection, alias, model_id)
            epoch_id = registry.add_epoch(
                connection, registry.add_device(connection, measurement.device), measurement.epoch
            )
            return measurement_rows.insert_rows(connection, rows, model_id, epoch_id)

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
        with self._database.read() as connection:
            return measurement_rows.load(connection, model_key, identity, epoch, include_suspect)

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
        with self._database.write() as connection:
            return suspicions.add(connection, identity, epoch, moment(since, "since"), reason, datetime.now(UTC))

    def suspect_one(self, measurement_id: int, reason: str) -> None:
        """Withdraw one measurement, by the id that :meth:`add` gave it."""
        with self._database.write() as connection:
            suspicions.add_one(connection, measurement_id, reason, datetime.now(UTC))

    def suspects(self, identity: DeviceIdentity, epoch: DeviceEpoch) -> list[str]:
        """Keys of the models that have nothing but withdrawn measurements on this device and epoch."""
        with self._database.read() as connection:
            return suspicions.open_keys(connection, identity, epoch)

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
            Its id.
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
        with self._database.write() as connection:
            return journal.add_failure(connection, failure, model)

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
        with self._database.read() as connection:
            return journal.load_failures(connection, model_key, alias, identity, epoch)

    # -- devices ------------------------------------------------------------------------------------------------

    def remember_uri(
        self, uri: str, identity: DeviceIdentity, epoch: DeviceEpoch, *, seen_at: datetime | None = None
    ) -> None:
        """Store which device a URI leads to, so that :meth:`device_of` answers without the device."""
        moment_seen = moment(seen_at or datetime.now(UTC), "seen_at")
        with self._database.write() as connection:
            device_id = registry.add_device(connection, identity)
            epoch_id = registry.add_epoch(connection, device_id, epoch)
            values = {"device_id": device_id, "epoch_id": epoch_id, "last_seen": moment_seen}
            known = device_uris.c.uri == uri
            if connection.execute(device_uris.update().where(known).values(values)).rowcount == 0:
                connection.execute(device_uris.insert(), {"uri": uri, **values})

    def device_of(self, uri: str) -> tuple[DeviceIdentity, DeviceEpoch] | None:
        """The device and epoch that a URI led to when last seen; None if it never was."""
        with self._database.read() as connection:
            row = connection.execute(_DEVICE_OF, {"wanted": uri}).first()
        return None if row is None else (registry.identity_of(row), registry.epoch_of(row))

    def add_link(self, identity: DeviceIdentity, link: EpochLink) -> None:
        """Store what a panel showed about two epochs of a device, whether they agree or not.

        Raises:
            InvalidInputError: it is one epoch, or the link's devices differ in more than their runtime.
        """
        with self._database.write() as connection:
            links.add_link(connection, identity, link)

    def links(self, identity: DeviceIdentity) -> list[EpochLink]:
        """Every link between epochs of a device and of those that differ in their runtime alone, newest first."""
        with self._database.read() as connection:
            return links.links(connection, identity)

    def epochs(self, identity: DeviceIdentity) -> list[EpochSummary]:
        """The epochs with figures of a device and of those that differ in their runtime alone, last measured first."""
        with self._database.read() as connection:
            return epoch_summary.summaries(connection, identity)

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
        with self._database.read() as connection:
            return epoch_summary.latencies(connection, identity, epoch, network_digest, linked)

    def set_panel(self, identity: DeviceIdentity, network_digest: str, model_keys: Sequence[str]) -> None:
        """Choose the networks that are measured again to see whether a device has changed.

        Args:
            identity: the device.
            network_digest: how the cells are laid out; empty for users' own files.
            model_keys: models that the store knows, in order of latency.
        """
        with self._database.write() as connection:
            panels.replace(connection, identity, network_digest, model_keys)

    def panel(self, identity: DeviceIdentity, network_digest: str) -> list[str]:
        """Keys of the panel's models; empty where none was chosen."""
        with self._database.read() as connection:
            return panels.load(connection, identity, network_digest)

    # -- scores and searches ------------------------------------------------------------------------------------

    def add_score(self, score: ScoreRecord) -> int:
        """Store a score of a cell; the first one that an evaluator gave a cell stands. Returns its id."""
        with self._database.write() as connection:
            return journal.add_score(connection, score)

    def score(self, cell: str, evaluator_digest: str) -> ScoreRecord | None:
        """The score that an evaluator gave a cell, or None.

        Args:
            cell: text of the canonical cell.
            evaluator_digest: identity of the evaluator with its settings.
        """
        with self._database.read() as connection:
            return journal.load_score(connection, cell, evaluator_digest)

    def open_search(self, settings: Mapping[str, Any]) -> int:
        """Id of the search with these settings: a new one, or the one to go on with.

        Args:
            settings: everything that makes the search what it is, in values that JSON can hold; order plays no part.
        """
        with self._database.write() as connection:
            return journal.open_search(connection, settings)

    def add_evaluation(self, search: int, evaluation: EvaluationRecord) -> None:
        """Write what an optimizer was told into the journal of its search. The same entry again changes nothing.

        Raises:
            NotFoundError: there is no such search.
            StoreError: this position of the journal holds something else.
        """
        with self._database.write() as connection:
            journal.add_evaluation(connection, search, evaluation)

    def evaluations(self, search: int) -> list[EvaluationRecord]:
        """The journal of a search, in order of position."""
        with self._database.read() as connection:
            return journal.load_evaluations(connection, search)

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
        from leti_opt.store import exchange

        with self._database.read() as connection:
            return exchange.frame(connection, origin, identity, include_unstable, include_failures, epoch)

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
        from leti_opt.store import exchange

        target = exchange.checked_target(Path(path), self._database.path)
        rows = self.exported(
            origin=origin,
            identity=identity,
            include_unstable=include_unstable,
            include_failures=include_failures,
            epoch=epoch,
        )
        exchange.write(rows, target)
        return len(rows)

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
        from leti_opt.store import exchange, pseudonyms

        with self._database.read() as connection:
            rows = exchange.frame(connection, origin, identity, include_unstable, include_failures, epoch)
            if rows.empty and origin not in (None, "any"):
                raise InvalidInputError(exchange.nothing_of(connection, str(origin), identity))
            return pseudonyms.of_store(connection).table(rows)

    def pseudonyms(self) -> Pseudonyms:
        """What replaces the names of units, hosts and folders in everything that is exported."""
        from leti_opt.store import pseudonyms

        with self._database.read() as connection:
            return pseudonyms.of_store(connection)

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
            with self._database.read() as connection:
                return import_table.known_aliases(connection, graph_hash)

        asked = import_table.ImportSettings(unit, device, latency, origin, network)
        rows = import_table.read(Path(path), asked, known)
        with self._database.write() as connection:
            if network is not None:
                registry.add_network(connection, network.digest, network.settings)
            return import_table.write(connection, rows)

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

        with merge.snapshot(other, self._database.path) as (source, name), self._database.write() as connection:
            return merge.merge(connection, source, name)

    def info(self) -> StoreInfo:
        """What the store holds, in numbers."""
        with self._database.read() as connection:
            return summary.summarize(connection, self.url, self._database.path)


_DEVICE_OF = (
    select(*registry.IDENTITY_COLUMNS, *registry.EPOCH_COLUMNS)
    .select_from(device_uris.join(devices).join(epochs, epochs.c.id == device_uris.c.epoch_id))
    .where(device_uris.c.uri == bindparam("wanted"))
)
