"""How a campaign stands, as the store and its journal tell: from any process, while it runs or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from leti_opt.campaign.places import KnownDevice
from leti_opt.campaign.standing import Lookup, item_states
from leti_opt.campaign.work import CampaignWork
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.paces import PaceRow
from leti_opt.store.records import EventRecord
from leti_opt.store.standings import State

LATELY = timedelta(minutes=15)
"""A rate is of measurements of so long ago at most."""

_EVENTS = 5


@dataclass(frozen=True)
class StatusRow:
    """How far one device is.

    Args:
        uri: the device.
        device: what it is; empty where nobody has seen it yet.
        origin: whether its figures are measured, simulated or replayed; empty where nobody has seen it yet.
        total: networks of the campaign.
        measured, unstable, infeasible: those that the store has an answer for.
        per_hour: networks an hour, by the last ones; None where the last is not of the last minutes.
        left_s: seconds until nothing is lacking, at that rate.
        temperature_c: of the battery at the last measurement, where the device tells.
        last_measured: when that began.
        note: what is wrong with the device; empty if nothing is.
    """

    uri: str
    device: str
    origin: str
    total: int
    measured: int = 0
    unstable: int = 0
    infeasible: int = 0
    per_hour: float | None = None
    left_s: float | None = None
    temperature_c: float | None = None
    last_measured: datetime | None = None
    note: str = ""

    @property
    def lacking(self) -> int:
        """Networks without an answer."""
        return self.total - self.measured - self.unstable - self.infeasible


@dataclass(frozen=True)
class CampaignStatus:
    """How a campaign stands.

    Args:
        name: of the campaign.
        running: whether a process on this host, or a cluster's run, is at it now.
        rows: each device.
        events: the last ones of its journal.
    """

    name: str
    running: bool
    rows: tuple[StatusRow, ...]
    events: tuple[EventRecord, ...]

    @property
    def lacking(self) -> int:
        """Measurements to be made."""
        return sum(row.lacking for row in self.rows)


def status_of(work: CampaignWork, devices: Sequence[KnownDevice], store: LatencyStore, running: bool) -> CampaignStatus:
    """Look up how far each device is.

    Raises:
        StoreError: the store cannot be read.
    """
    lookup = Lookup(work)
    rows = tuple(_row(work, device, store, lookup) for device in devices)
    events = tuple(store.events(work.campaign)[-_EVENTS:]) if work.campaign else ()
    return CampaignStatus(work.name, running, rows, events)


def _row(work: CampaignWork, device: KnownDevice, store: LatencyStore, lookup: Lookup) -> StatusRow:
    if device.place is None:
        return StatusRow(device.uri, "", "", len(work), note=device.note)
    identity, epoch = device.place
    states = item_states(work, store, identity, epoch, work.protocol.runs_of(device.min_runs), lookup)
    counts = {state: int((states == state).sum()) for state in State}
    last = [row for row in store.last_measured(identity) if row.unit == epoch.unit]
    per_hour = _per_hour(last, datetime.now(UTC))
    lacking = len(work) - sum(counts.values())
    return StatusRow(
        device.uri,
        identity.name,
        identity.origin,
        len(work),
        counts[State.MEASURED],
        counts[State.UNSTABLE],
        counts[State.INFEASIBLE],
        per_hour,
        0.0 if not lacking else None if not per_hour else 3600 * lacking / per_hour,
        last[0].temperature_c if last else None,
        last[0].started_at if last else None,
        device.note,
    )


def _per_hour(rows: Sequence[PaceRow], now: datetime) -> float | None:
    """Networks an hour, by those that were measured lately; newest first."""
    lately = [row for row in rows if now - row.started_at <= LATELY]
    if len(lately) < 2:
        return None
    span_s = (lately[0].started_at - lately[-1].started_at).total_seconds()
    return 3600 * (len(lately) - 1) / span_s if span_s > 0 else None
