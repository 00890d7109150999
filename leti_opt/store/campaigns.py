"""Campaigns: what each one is, and the journal of what happened in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.store import registry
from leti_opt.store.base import StoreBase
from leti_opt.store.records import CampaignRecord, EventRecord
from leti_opt.store.schema import campaign_events, campaigns
from leti_opt.store.values import digest, moment, plain_json


class CampaignStore(StoreBase):
    """The campaigns of a store."""

    def open_campaign(self, name: str, settings: Mapping[str, Any]) -> int:
        """Id of the campaign with this name and these settings: a new one, or the one to go on with.

        Args:
            name: what people call it.
            settings: everything that makes it what it is, in values that JSON can hold; order plays no part.
        """
        return self._write(_open, name, settings, datetime.now(UTC))

    def campaign_records(self) -> list[CampaignRecord]:
        """Every campaign, the oldest first."""
        return self._read(_records)

    def add_event(self, campaign: int, kind: str, text: str, device: str = "") -> None:
        """Write what happened into a campaign's journal.

        Args:
            campaign: its id.
            kind: one word, by which events are found.
            text: one line.
            device: where it happened; empty where no device was involved.

        Raises:
            NotFoundError: there is no such campaign.
        """
        self._write(_add_event, campaign, EventRecord(0, datetime.now(UTC), kind, text, device))

    def events(self, campaign: int, after_id: int = 0, kinds: Collection[str] | None = None) -> list[EventRecord]:
        """The journal of a campaign, in the order in which it was written.

        Args:
            campaign: its id.
            after_id: only what was written after the event with this id: whoever asks with the last one that is known
                misses none.
            kinds: only of these kinds; None for all.
        """
        return self._read(_events, campaign, after_id, kinds)


def _open(connection: Connection, name: str, settings: Mapping[str, Any], now: datetime) -> int:
    if not name:
        raise InvalidInputError("a campaign needs a name; give one that tells it from others")
    what = "settings of a campaign"
    wanted = digest({"name": name, "settings": dict(settings)}, what)
    found = connection.execute(select(campaigns.c.id).where(campaigns.c.digest == wanted)).scalar()
    if found is not None:
        return int(found)
    values = {"digest": wanted, "name": name, "settings": plain_json(dict(settings), what), "created_at": now}
    return registry.inserted_id(connection.execute(insert(campaigns), values))


def _records(connection: Connection) -> list[CampaignRecord]:
    rows = connection.execute(select(campaigns).order_by(campaigns.c.id))
    return [CampaignRecord(row.id, row.name, row.settings, row.created_at) for row in rows]


def _add_event(connection: Connection, campaign: int, event: EventRecord) -> int:
    if connection.execute(select(campaigns.c.id).where(campaigns.c.id == campaign)).scalar() is None:
        raise NotFoundError(f"the store has no campaign {campaign}; call open_campaign first")
    values = {
        "campaign_id": campaign,
        "at": moment(event.at, "at"),
        "kind": event.kind,
        "device": event.device or None,
        "text": event.text,
    }
    return registry.add_once(connection, campaign_events, values)


def _events(connection: Connection, campaign: int, after_id: int, kinds: Collection[str] | None) -> list[EventRecord]:
    query = select(campaign_events).where(campaign_events.c.campaign_id == campaign, campaign_events.c.id > after_id)
    if kinds is not None:
        query = query.where(campaign_events.c.kind.in_(sorted(kinds)))
    return [
        EventRecord(row.id, row.at, row.kind, row.text, row.device or "")
        for row in connection.execute(query.order_by(campaign_events.c.id))
    ]
