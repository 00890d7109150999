"""Claims that run out while their device stands still: it sees that others may have taken over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from leti_opt.campaign import pulling
from leti_opt.campaign.claims import Claims
from leti_opt.campaign.local import owner_of
from leti_opt.campaign.progress import ProgressRow
from leti_opt.errors import DeviceError
from leti_opt.store.latency_store import LatencyStore
from tests.campaign.campaigns import COUNT, QUICK, measurements_of_each_model, quick_campaign, scripted, use_devices

LASTS_S = 0.4
OTHER = "an equal device on another host"


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_claims_that_are_renewed_are_sure() -> None:
    with LatencyStore(":memory:") as store, Claims(store, "me", LASTS_S) as claims:
        assert claims.are_sure, "there is none"
        assert claims.take([["a"], ["b"]]) == [True, True]
        ends = time.monotonic() + 3 * LASTS_S
        while time.monotonic() < ends:
            time.sleep(0.01)
        assert claims.are_sure


def test_claims_that_ran_out_are_not_sure_until_they_are_taken_again_or_given_back() -> None:
    there = [False]
    with LatencyStore(":memory:") as store, Claims(store, "me", LASTS_S, is_there=lambda: there[0]) as claims:
        claims.take([["a"], ["b"], ["c"]])
        wait_for(lambda: not claims.are_sure)
        wait_for(lambda: store.claim(["b"], OTHER, 60))
        there[0] = True
        time.sleep(LASTS_S)
        assert not claims.are_sure, "a renewal that comes too late tells nothing of what is left"
        assert claims.take([["a"], ["b"]]) == [True, False]
        claims.release(["c"])
        assert claims.are_sure


def test_a_device_that_was_away_leaves_alone_what_an_equal_one_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "Claims", partial(Claims, lasts_s=LASTS_S))
    device = scripted(failing=[None, None, DeviceError("scripted:one is unplugged")])
    taken: list[str] = []
    stored: list[int] = []
    left_alone: list[int] = []

    def contact() -> None:
        """Back only when another has taken over all that it had claimed."""
        with LatencyStore(tmp_path / "latency.db") as store:
            keys = [claim.key for claim in store.claims() if claim.owner != OTHER]
            wait_for(lambda: len(store.claim(keys, OTHER, 600)) == len(keys))
            taken.extend(keys)
            stored.append(len(measurements_of_each_model(tmp_path / "latency.db")))

    monkeypatch.setattr(device, "contact", contact)
    use_devices(monkeypatch, device)
    execution = {**QUICK["execution"], "ahead": 5}
    campaign = quick_campaign(tmp_path, devices=["scripted:one"], execution=execution)

    def give_back(rows: Sequence[ProgressRow]) -> None:
        if rows[0].state == "waiting for other devices" and not left_alone:
            left_alone.append(COUNT - len(measurements_of_each_model(tmp_path / "latency.db")))
            with LatencyStore(tmp_path / "latency.db") as store:
                store.release_claims(OTHER)

    summary = campaign.run(on_tick=give_back)
    assert len(taken) > 2, "it was away, and another took over"
    assert left_alone == [len(taken) - stored[0] - 2], "all but what it had in its hands already"
    assert summary.is_complete
    assert measurements_of_each_model(tmp_path / "latency.db") == [1] * COUNT


def test_a_device_is_the_same_owner_after_a_restart_and_another_for_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = owner_of(1, "host-cpu")
    assert owner_of(1, "host-cpu") == owner
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert owner_of(1, "host-cpu") != owner
