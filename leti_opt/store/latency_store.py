"""The store of everything measured: an SQLite file for threads and processes, or a database for several hosts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.store import journal, measurement_rows, summary, suspicions
from leti_opt.store.bulk import BulkStore
from leti_opt.store.campaigns import CampaignStore
from leti_opt.store.claims import ClaimStore
from leti_opt.store.device_store import DeviceStore
from leti_opt.store.model_store import ModelStore
from leti_opt.store.opening import database_of, shown
from leti_opt.store.paces import PaceStore
from leti_opt.store.postgresql import PATIENCE_S
from leti_opt.store.records import CellAlias, FailureRecord, FailureStage, ModelRole, StoreInfo
from leti_opt.store.search_journal import SearchStore
from leti_opt.store.table_store import TableStore
from leti_opt.store.values import moment
from leti_opt.version import source_commit, version

if TYPE_CHECKING:
    from leti_opt.store.merge import MergeCounts


class LatencyStore(ModelStore, BulkStore, ClaimStore, CampaignStore, DeviceStore, PaceStore, SearchStore, TableStore):
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
