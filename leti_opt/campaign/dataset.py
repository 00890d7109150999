"""Data sets of latencies: many networks on one or more devices, for hours or days, and nothing ever lost."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.cells import chosen_cells
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.campaign.events import FINISHED, INCOMPLETE, STOPPED, EventLog
from leti_opt.campaign.local import LocalRun, OnTick, Outcome
from leti_opt.campaign.places import absent_phones, known_devices, refuse_twice
from leti_opt.campaign.planning import CampaignPlan, plan_of
from leti_opt.campaign.remote import runner_key
from leti_opt.campaign.status import CampaignStatus, status_of
from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import Device
from leti_opt.device.open_device import open_device, open_devices
from leti_opt.device.resource_lock import hold, is_held
from leti_opt.errors import CampaignRunningError, DeviceError, InvalidInputError
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.postgresql_url import is_postgresql
from leti_opt.store.sqlite_file import parse_url


@dataclass(frozen=True)
class CampaignSummary:
    """How a run of a campaign ended.

    Args:
        name: of the campaign.
        outcome: how far each device is, and what kept those that are not done.
        text: the same in one line.
    """

    name: str
    outcome: Outcome
    text: str

    @property
    def is_complete(self) -> bool:
        """Whether every network has an answer on every device."""
        rows = self.outcome.rows
        return bool(rows) and not self.outcome.errors and not any(row.lacking for row in rows)


class DatasetCampaign:
    """A data set in the making: what it is to hold, and how far it is.

    What is to do is what the store lacks. It may be killed at any moment and started again: the measurement in
    progress is lost at most, and nothing that is stored is measured again.

    Args:
        definition: what it is about, or the path of the TOML file that says so.

    Raises:
        InvalidInputError: the definition is wrong; the message names each field at fault.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     campaign = DatasetCampaign(
    ...         CampaignDefinition(
    ...             name="demo",
    ...             store=f"{folder}/demo.db",
    ...             cells={"sample": 20},
    ...             networks=["small"],
    ...             devices=["replay:formula?seed=1"],
    ...             execution={"backend": "sequential"},
    ...         )
    ...     )
    ...     lacking = campaign.plan().lacking
    ...     summary = campaign.run()
    >>> lacking, summary.is_complete
    (20, True)
    """

    def __init__(self, definition: CampaignDefinition | str | Path) -> None:
        if not isinstance(definition, CampaignDefinition):
            definition = CampaignDefinition.load(definition)
        if definition.store == ":memory:":
            raise InvalidInputError("a campaign's store must outlive it; give it a file, such as latency.db")
        self.definition = definition

    @cached_property
    def cells(self) -> ArchitectureTable:
        """The cells, in the order in which they are measured."""
        return chosen_cells(self.definition)

    def plan(self) -> CampaignPlan:
        """How many measurements are lacking, how long they will take and what disk they need. Nothing is measured.

        Raises:
            InvalidInputError: the cells cannot be chosen, or a device's URI is wrong.
            StoreError: the store cannot be read.
        """
        with self.opened_store() as (work, store):
            return plan_of(work, known_devices(work, self.definition, store), store)

    def status(self) -> CampaignStatus:
        """How far each device is, by what the store holds. A run may go on meanwhile.

        Raises:
            as :meth:`plan`.
        """
        with self.opened_store() as (work, store):
            devices = known_devices(work, self.definition, store)
            return status_of(work, devices, store, self._is_running(store, work))

    def run(
        self,
        until: datetime | timedelta | None = None,
        on_tick: OnTick | None = None,
        retry_unstable: bool = False,
        render: bool = False,
        cluster: str | None = None,
    ) -> CampaignSummary:
        """Measure what is lacking, or go on with it.

        Args:
            until: when to stop; what is being measured then is finished.
            on_tick: called a few times a second with how far each device is.
            retry_unstable: ask once more for the networks that the store holds as unstable.
            render: make the file of every network that a recording answers, too, as a device that runs it needs.
            cluster: address of a Dask scheduler whose workers have the devices; None to measure here.

        Returns:
            How far each device is. Where a device was left out, the summary says so.

        Raises:
            CampaignRunningError: another process of this host is at it.
            DeviceError: no device could be reached.
            StoreError: the store cannot be read or written.
            InvalidInputError, InvalidProtocolError: a device cannot do what is asked; nothing was measured.
            KeyboardInterrupt: it was interrupted; everything measured is stored.
        """
        deadline = _deadline(until)
        with ExitStack() as stack:
            work, devices, store = stack.enter_context(self._opened(writes=True, opens=cluster is None))
            stack.enter_context(self._only_once(store, work))
            events = EventLog(store, work.campaign, work.name, self.definition.on_event)
            stack.callback(events.close)
            try:
                if cluster is None:
                    outcome = LocalRun(work, devices, store, events, retry_unstable, render).run(deadline, on_tick)
                else:
                    from leti_opt.campaign.cluster import ClusterRun

                    entries = self.definition.devices
                    outcome = ClusterRun(work, entries, store, events, cluster, retry_unstable).run(deadline, on_tick)
            except CampaignRunningError:
                raise
            except BaseException as error:
                events.add(STOPPED, f"{work.name}: {type(error).__name__}: {error}".rstrip(": "))
                raise
            summary = CampaignSummary(work.name, outcome, _summary(work, outcome))
            kind = FINISHED if summary.is_complete else STOPPED if outcome.is_stopped else INCOMPLETE
            events.add(kind, summary.text)
        return summary

    @contextmanager
    def _opened(self, writes: bool, opens: bool = True) -> Iterator[tuple[CampaignWork, list[Device], LatencyStore]]:
        """What there is to do, the devices and the store."""
        _ = self.cells  # what is wrong with them is told before a store is made
        with ExitStack() as stack:
            devices = self._devices() if opens else []
            for device in devices:
                stack.enter_context(device)
            store = stack.enter_context(_store(self.definition.store, writes))
            work = self._work(self._campaign(store, writes))
            absent = absent_phones(work, self.definition, store, devices) if opens else []
            devices += [stack.enter_context(open_device(uri)) for uri in absent]
            yield work, devices, store

    def _devices(self) -> list[Device]:
        """The devices that the definition names, each once.

        Raises:
            InvalidInputError: two entries lead to one device.
            DeviceError: ``android:*``, and no phone is ready.
        """
        uris = [entry.uri for entry in self.definition.devices]
        devices = open_devices(uris)
        if len(devices) < len(uris):
            refuse_twice(self.definition)
        return devices

    @contextmanager
    def opened_store(self) -> Iterator[tuple[CampaignWork, LatencyStore]]:
        """The campaign's networks and its store, without any device.

        Raises:
            InvalidInputError: the cells cannot be chosen.
            StoreError: the store cannot be read.
        """
        with self._opened(writes=False, opens=False) as (work, _, store):
            yield work, store

    def _campaign(self, store: LatencyStore, writes: bool) -> int:
        """Its id in the store; 0 where it never ran and nothing is to be written."""
        settings = self.definition.content
        if writes:
            return store.open_campaign(self.definition.name, settings)
        return next(
            (
                record.id
                for record in store.campaign_records()
                if record.name == self.definition.name and record.settings == settings
            ),
            0,
        )

    def _work(self, campaign: int) -> CampaignWork:
        chosen = self.definition
        return CampaignWork(
            campaign,
            chosen.name,
            self.cells,
            chosen.configs,
            chosen.measurement_protocol,
            chosen.canary_settings,
            chosen.execution,
            chosen.seed,
        )

    @contextmanager
    def _only_once(self, store: LatencyStore, work: CampaignWork) -> Iterator[None]:
        """Refuse to run where another process of this host is at it; the lock ends with its process."""
        with ExitStack() as stack:
            try:
                stack.enter_context(hold([_lock_name(store, work)], timeout_s=0))
            except DeviceError as error:
                raise CampaignRunningError(
                    f"the campaign {work.name!r} is running already: {error}".split("; wait")[0]
                    + "; see how far it is with 'leti-opt campaign status', or stop it first"
                ) from None
            yield

    def _is_running(self, store: LatencyStore, work: CampaignWork) -> bool:
        """Whether a process of this host is at it, or one that runs it on a cluster."""
        if not work.campaign:
            return False
        return is_held(_lock_name(store, work)) or store.is_claimed(runner_key(work.campaign))


def _store(url: str, writes: bool) -> LatencyStore:
    """Open the store; one that only is looked at is not made."""
    path = _file(url)
    if not writes and path is not None and not path.exists():
        return LatencyStore(":memory:")
    return LatencyStore(url)


def _file(url: str) -> Path | None:
    """The file that a store's URL means, by its one true path; None for a database."""
    return None if is_postgresql(url) else parse_url(url)


def _lock_name(store: LatencyStore, work: CampaignWork) -> str:
    place = _file(store.url) or store.url
    return f"campaign:{hashlib.sha256(f'{place} {work.campaign}'.encode()).hexdigest()[:32]}"


def _deadline(until: datetime | timedelta | None) -> float | None:
    if until is None:
        return None
    left = until if isinstance(until, timedelta) else until - datetime.now(until.tzinfo)
    return time.monotonic() + left.total_seconds()


def _summary(work: CampaignWork, outcome: Outcome) -> str:
    parts = [
        f"{row.uri}: {row.measured:,} {row.origin}, {row.unstable:,} unstable, {row.infeasible:,} infeasible, "
        f"{row.lacking:,} lacking" + (f" ({outcome.errors[row.uri]})" if row.uri in outcome.errors else "")
        for row in outcome.rows
    ]
    return f"{work.name}: {'; '.join(parts)}; {outcome.seconds:,.0f} s"
