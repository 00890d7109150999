"""Claims against the plainest reference, and between processes."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.store import LatencyStore
from tests.store.samples import NOON
from tests.store.test_processes import release, start

OWNERS, KEYS = ("ada", "bob", "cyd"), ("a", "b", "c", "d")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("claim"), st.sampled_from(OWNERS), st.lists(st.sampled_from(KEYS), max_size=5), st.integers(1, 9)
        ),
        st.tuples(st.just("renew"), st.sampled_from(OWNERS), st.integers(1, 9)),
        st.tuples(st.just("release"), st.sampled_from(OWNERS), st.lists(st.sampled_from(KEYS), max_size=2)),
        st.tuples(st.just("release all"), st.sampled_from(OWNERS)),
        st.tuples(st.just("wait"), st.integers(1, 6)),
    ),
    max_size=25,
)


class Reference:
    """Claims as a dictionary."""

    def __init__(self) -> None:
        self.now = NOON
        self.claims: dict[str, tuple[str, datetime]] = {}

    def ends(self, seconds: int) -> datetime:
        return self.now + timedelta(seconds=seconds)

    def claim(self, owner: str, keys: list[str], seconds: int) -> list[str]:
        given_ = []
        for key in keys:
            holder, ends = self.claims.get(key, (owner, self.now))
            if (holder == owner or ends <= self.now) and key not in given_:
                self.claims[key] = (owner, self.ends(seconds))
                given_.append(key)
        return given_

    def own(self, owner: str) -> list[str]:
        return [key for key, (holder, _) in self.claims.items() if holder == owner]

    def renew(self, owner: str, seconds: int) -> int:
        self.claims.update({key: (owner, self.ends(seconds)) for key in self.own(owner)})
        return len(self.own(owner))

    def release(self, owner: str, keys: list[str]) -> int:
        return sum(self.claims.pop(key, None) is not None for key in self.own(owner) if key in keys)


@pytest.fixture(scope="module")
def shared() -> Any:
    with LatencyStore(":memory:") as store:
        yield store


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_no_two_owners_ever_hold_one_key_and_all_else_is_as_in_a_dictionary(
    shared: LatencyStore, steps: list[tuple[Any, ...]]
) -> None:
    reference = Reference()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared._database, "now", lambda _: reference.now)
        for owner in OWNERS:
            shared.release_claims(owner)
        for step, *arguments in steps:
            if step == "claim":
                owner, keys, seconds = arguments
                others = {key for key, (by, ends) in reference.claims.items() if by != owner and ends > reference.now}
                taken = shared.claim(keys, owner, seconds)
                assert not others & set(taken)
                assert taken == reference.claim(owner, keys, seconds)
            elif step == "renew":
                assert shared.renew_claims(*arguments) == reference.renew(*arguments)
            elif step == "release":
                assert shared.release_claims(*arguments) == reference.release(*arguments)
            elif step == "release all":
                assert shared.release_claims(*arguments) == reference.release(*arguments, list(KEYS))
            else:
                reference.now += timedelta(seconds=arguments[0])
            assert {claim.key: (claim.owner, claim.expires_at) for claim in shared.claims()} == reference.claims


CLAIMER = """
import sys
from leti_opt.store import LatencyStore
url, owner = sys.argv[1], sys.argv[2]
sys.stdin.readline()
with LatencyStore(url) as store:
    for number in range(60):
        for key in store.claim([f"key-{number}"], owner, 600):
            print(key, flush=True)
"""


def claimed_at_once(url: str) -> list[list[str]]:
    """What each of three processes got that claim the same keys at the same time."""
    claimers = [start(CLAIMER, url, f"owner {number}") for number in range(3)]
    release(claimers)
    got = [claimer.communicate(timeout=120)[0].split() for claimer in claimers]
    assert [claimer.returncode for claimer in claimers] == [0, 0, 0]
    return got


def test_processes_that_claim_at_once_get_every_key_once(tmp_path: Path) -> None:
    got = claimed_at_once(str(tmp_path / "latency.db"))
    assert sorted(key for keys in got for key in keys) == sorted(f"key-{number}" for number in range(60))
