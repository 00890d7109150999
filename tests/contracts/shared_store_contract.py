"""What a store promises to several hosts at once: claims, campaigns with their journals, many results in one go."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.store import LatencyStore, StoredResult
from tests.store.samples import DEVICE, EPOCH, NOON, alias, device, measurement, model

REPLAYED = device("replayed")
SETTINGS = {"network": "nasbench101", "devices": ["a", "b"]}


class Clock:
    """Stands still until it is moved."""

    def __init__(self, store: LatencyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = NOON
        monkeypatch.setattr(store._database, "now", self.now)

    def now(self, _connection: object) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock(store: LatencyStore, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(store, monkeypatch)


def held(store: LatencyStore, prefix: str = "") -> dict[str, str]:
    return {claim.key: claim.owner for claim in store.claims(prefix)}


class ClaimContract:
    """Who works on what."""

    def test_what_another_owner_holds_is_not_given(self, store: LatencyStore) -> None:
        assert store.claim(["b", "a"], "first", 60) == ["b", "a"]
        assert store.claim(["a", "c", "b"], "second", 60) == ["c"]
        assert held(store) == {"a": "first", "b": "first", "c": "second"}

    def test_claims_of_ones_own_are_given_again_and_last_from_now_on(self, store: LatencyStore, clock: Clock) -> None:
        store.claim(["a", "b"], "first", 60)
        clock.move(50)
        assert store.claim(["c", "a", "a"], "first", 60) == ["c", "a"]
        assert [claim.expires_at for claim in store.claims()] == [
            NOON + timedelta(seconds=seconds) for seconds in (110, 60, 110)
        ]

    def test_a_claim_that_ran_out_is_taken_over_and_not_before(self, store: LatencyStore, clock: Clock) -> None:
        store.claim(["a"], "first", 60)
        clock.move(59)
        assert store.claim(["a"], "second", 60) == []
        clock.move(1)
        assert store.claim(["a"], "second", 60) == ["a"]
        assert store.claim(["a"], "first", 60) == []

    def test_whether_a_key_is_held_now_is_told_by_the_clock_of_claims(self, store: LatencyStore, clock: Clock) -> None:
        assert not store.is_claimed("a")
        store.claim(["a"], "first", 60)
        clock.move(59)
        assert store.is_claimed("a")
        assert not store.is_claimed("b")
        clock.move(1)
        assert not store.is_claimed("a")

    def test_a_heartbeat_renews_every_claim_of_its_owner_and_no_other(self, store: LatencyStore, clock: Clock) -> None:
        store.claim(["a", "b"], "first", 60)
        store.claim(["c"], "second", 60)
        clock.move(40)
        assert store.renew_claims("first", 60) == 2
        clock.move(40)
        assert store.claim(["a", "b", "c"], "third", 60) == ["c"]
        assert store.renew_claims("second", 60) == 0

    def test_released_claims_are_free(self, store: LatencyStore) -> None:
        store.claim(["a", "b", "c"], "first", 60)
        assert store.release_claims("second") == 0
        assert store.release_claims("first", ["a", "z"]) == 1
        assert store.claim(["a", "b"], "second", 60) == ["a"]
        assert store.release_claims("first") == 2
        assert held(store) == {"a": "second"}

    def test_claims_are_listed_by_a_prefix_to_the_letter(self, store: LatencyStore) -> None:
        store.claim(["net_1", "net%2", "NET_3", "other"], "first", 60)
        assert list(held(store)) == ["NET_3", "net%2", "net_1", "other"]
        assert list(held(store, "net")) == ["net%2", "net_1"]
        assert list(held(store, "net_")) == ["net_1"]

    def test_many_claims_at_once(self, store: LatencyStore) -> None:
        keys = [f"key-{number}" for number in range(2000)]
        assert store.claim(keys[::2], "first", 60) == keys[::2]
        assert store.claim(keys, "second", 60) == keys[1::2]
        assert store.release_claims("second", keys) == 1000

    @pytest.mark.parametrize(("owner", "lasts_s"), [("", 60), ("me", 0), ("me", -1), ("me", float("nan"))])
    def test_a_claim_without_an_owner_or_an_end_is_refused(
        self, store: LatencyStore, owner: str, lasts_s: float
    ) -> None:
        with pytest.raises(InvalidInputError):
            store.claim(["a"], owner, lasts_s)
        with pytest.raises(InvalidInputError):
            store.renew_claims(owner, lasts_s)
        assert store.claims() == []


class CampaignContract:
    """Campaigns and what happened in them."""

    def test_equal_name_and_settings_are_one_campaign(self, store: LatencyStore) -> None:
        first = store.open_campaign("dataset", SETTINGS)
        assert store.open_campaign("dataset", dict(reversed(SETTINGS.items()))) == first
        assert store.open_campaign("other", SETTINGS) != first
        assert store.open_campaign("dataset", {}) != first
        assert [(record.name, record.settings) for record in store.campaign_records()] == [
            ("dataset", SETTINGS),
            ("other", SETTINGS),
            ("dataset", {}),
        ]
        assert store.campaign_records()[0].id == first

    def test_the_journal_comes_back_in_order_and_goes_on_after_an_entry(self, store: LatencyStore) -> None:
        campaign, other = store.open_campaign("dataset", {}), store.open_campaign("other", {})
        store.add_event(campaign, "started", "two phones")
        store.add_event(other, "started", "another one")
        store.add_event(campaign, "gone", "R58M is unplugged", "android:R58M/gpu")
        store.add_event(campaign, "back", "R58M answers", "android:R58M/gpu")
        events = store.events(campaign)
        assert [(event.kind, event.device) for event in events] == [
            ("started", ""),
            ("gone", "android:R58M/gpu"),
            ("back", "android:R58M/gpu"),
        ]
        assert store.events(campaign, after_id=events[0].id) == events[1:]
        assert store.events(campaign, after_id=events[-1].id) == []
        assert store.events(campaign, kinds={"gone", "started"}) == events[:2]
        assert store.events(campaign, kinds=[]) == []
        assert events[0].at <= events[1].at <= events[2].at
        assert events[0].at.utcoffset() == timedelta(0)

    def test_a_journal_needs_its_campaign(self, store: LatencyStore) -> None:
        with pytest.raises(NotFoundError, match="open_campaign"):
            store.add_event(77, "started", "")
        with pytest.raises(InvalidInputError, match="name"):
            store.open_campaign("", {})
        with pytest.raises(InvalidInputError, match="JSON"):
            store.open_campaign("dataset", {"device": object()})


def replayed(number: int) -> StoredResult:
    return StoredResult(model(number), measurement(number, identity=REPLAYED), alias(number), flops=10 + number)


class BulkContract:
    """Many results at once."""

    def test_every_result_is_there_as_if_added_alone(self, store: LatencyStore) -> None:
        failed = StoredResult(model(9), None, alias(9), failure="refused", device=REPLAYED, epoch=EPOCH, failed_at=NOON)
        store.add_all([*(replayed(number) for number in range(5)), failed, replayed(0)])
        store.add_all([replayed(4), replayed(5), failed])
        store.add_all([])
        assert [store.find(f"key-{number}", REPLAYED, EPOCH) for number in range(6)] == [
            [replayed(number).measurement] for number in range(6)
        ]
        (failure,) = store.failures("key-9")
        assert (failure.stage, failure.reason, failure.alias) == ("run", "refused", alias(9))
        assert (failure.device, failure.epoch, failure.failed_at) == (REPLAYED, EPOCH, NOON)
        assert store.resolve(alias(3)) == "key-3"
        assert list(store.to_frame()["flops"]) == [10, 11, 12, 13, 14, 15]

    def test_measured_results_never_come_in_groups(self, store: LatencyStore) -> None:
        for wrong in (
            StoredResult(model(1), measurement(1)),
            StoredResult(model(1), failure="refused", device=DEVICE, epoch=EPOCH),
        ):
            with pytest.raises(InvalidInputError, match="never commit in groups"):
                store.add_all([replayed(0), wrong])
        assert (store.info().models, store.info().measurements, store.info().failures) == (0, 0, 0)

    @pytest.mark.parametrize(
        "wrong",
        [
            StoredResult(model(1)),
            replace(replayed(1), failure="refused"),
            StoredResult(model(1), failure="refused", device=REPLAYED),
            StoredResult(model(2), replayed(1).measurement),
            StoredResult(model(1), replace(measurement(1, identity=REPLAYED), first_run_ms=float("nan"))),
        ],
    )
    def test_one_bad_result_refuses_all(self, store: LatencyStore, wrong: StoredResult) -> None:
        with pytest.raises(InvalidInputError):
            store.add_all([replayed(0), wrong])
        assert store.info().models == 0

    def test_a_cell_that_stands_for_another_model_refuses_all(self, store: LatencyStore) -> None:
        store.add_alias(alias(1), model(7))
        with pytest.raises(StoreError, match="key-7"):
            store.add_all([replayed(0), replayed(1)])
        with pytest.raises(StoreError, match="key-2"):
            store.add_all([replayed(2), replace(replayed(3), alias=alias(2))])
        assert (store.info().models, store.info().measurements) == (1, 0)


class SharedStoreContract(ClaimContract, CampaignContract, BulkContract):
    """Everything that several hosts need."""
