"""Links between epochs, also of devices that differ in their runtime alone, and what is served over them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise, permutations
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import EpochWarning, InvalidInputError
from leti_opt.store import EpochLink, LatencyStore
from leti_opt.store.links import served_epochs
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, NOON, measurement, model

NEWER = replace(DEVICE, runtime="litert 2.4")
THIRD_EPOCH = DeviceEpoch("linux 6.3", "", "unit-a")
Check = tuple[int, int, bool]


@pytest.fixture
def store() -> LatencyStore:
    return LatencyStore(":memory:")


def link(
    first: DeviceEpoch,
    second: DeviceEpoch,
    agrees: bool = True,
    minutes: float = 0,
    first_device: DeviceIdentity | None = None,
    second_device: DeviceIdentity | None = None,
) -> EpochLink:
    moment = NOON + timedelta(minutes=minutes)
    return EpochLink(first, second, agrees, 1.01, 0.995, 20, moment, first_device, second_device)


def test_a_new_runtime_is_served_nothing_until_a_panel_agrees(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add(model(1), measurement(1, identity=NEWER))
    assert store.find("key-0", NEWER, EPOCH) == []
    store.add_link(NEWER, link(EPOCH, EPOCH, first_device=DEVICE))
    assert store.find("key-0", NEWER, EPOCH) == [measurement()]
    assert store.find("key-0", NEWER, EPOCH)[0].device == DEVICE
    assert store.find("key-1", DEVICE, EPOCH) == [measurement(1, identity=NEWER)]
    assert store.find("key-0", NEWER, LATER_EPOCH) == []
    assert store.find("key-0", NEWER) == []


def test_a_new_runtime_that_disagrees_is_served_nothing(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add_link(NEWER, link(EPOCH, LATER_EPOCH, agrees=False, first_device=DEVICE))
    assert store.find("key-0", NEWER, LATER_EPOCH) == []


def test_links_lead_from_epoch_to_runtime_and_on(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add(model(), measurement(identity=NEWER, epoch=THIRD_EPOCH, minutes=9))
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH))
    store.add_link(NEWER, link(LATER_EPOCH, LATER_EPOCH, first_device=DEVICE))
    assert store.find("key-0", NEWER, LATER_EPOCH) == [measurement()]
    store.add_link(NEWER, link(LATER_EPOCH, THIRD_EPOCH))
    assert [found.device for found in store.find("key-0", NEWER, THIRD_EPOCH)] == [NEWER, DEVICE]
    assert [found.device for found in store.find("key-0", DEVICE, EPOCH)] == [NEWER, DEVICE]


def test_withdrawn_measurements_of_a_linked_runtime_answer_nothing(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add_link(NEWER, link(EPOCH, EPOCH, first_device=DEVICE))
    assert store.suspect(DEVICE, EPOCH, since=NOON - timedelta(hours=1), reason="canary") == ["key-0"]
    assert store.find("key-0", NEWER, EPOCH) == []


def test_a_link_comes_back_from_the_side_that_asks(store: LatencyStore) -> None:
    given_link = link(EPOCH, LATER_EPOCH, first_device=DEVICE)
    store.add_link(NEWER, given_link)
    assert store.links(NEWER) == [given_link]
    assert store.links(DEVICE) == [replace(given_link, first_device=None, second_device=NEWER)]
    third = replace(DEVICE, runtime="litert 2.5")
    assert store.links(third) == [replace(given_link, second_device=NEWER)]


@pytest.mark.parametrize(
    "change", [{"hardware": "i7"}, {"options": (("threads", "4"),)}, {"origin": "simulated"}, {"kind": "android"}]
)
def test_devices_that_differ_in_more_than_the_runtime_are_not_linked(
    store: LatencyStore, change: dict[str, object]
) -> None:
    other = replace(DEVICE, runtime="litert 2.4", **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="runtime alone"):
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, second_device=other))
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, second_device=NEWER))
    assert store.links(other) == []


def test_an_epoch_of_one_device_is_not_linked_with_itself(store: LatencyStore) -> None:
    with pytest.raises(InvalidInputError, match="two epochs"):
        store.add_link(DEVICE, link(EPOCH, EPOCH, first_device=DEVICE))


def test_a_failure_goes_for_its_epoch_and_linked_ones_but_for_no_other_runtime(store: LatencyStore) -> None:
    store.add_failure("refused", stage="run", model=model(), device=DEVICE, epoch=EPOCH)
    assert store.failures("key-0", identity=DEVICE)[0].reason == "refused"
    assert store.failures("key-0", identity=DEVICE, epoch=LATER_EPOCH) == []
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH))
    store.add_link(NEWER, link(EPOCH, LATER_EPOCH, first_device=DEVICE))
    assert store.failures("key-0", identity=DEVICE, epoch=LATER_EPOCH)[0].reason == "refused"
    assert store.failures("key-0", identity=NEWER, epoch=LATER_EPOCH) == []


def test_a_failure_to_build_goes_for_every_epoch(store: LatencyStore) -> None:
    store.add_failure("no such layer", stage="build", model=model())
    store.add_failure("too large", stage="load", model=model(), device=DEVICE)
    assert len(store.failures("key-0", identity=DEVICE, epoch=LATER_EPOCH)) == 2


def test_epochs_are_listed_with_what_holds_last_measured_first(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add(model(), measurement(minutes=1))
    store.add(model(1), measurement(1, stable=False))
    store.add(model(2), replace(measurement(2), source="other.parquet"))
    store.add(model(3), measurement(3, identity=NEWER, epoch=LATER_EPOCH, minutes=5))
    store.add(model(4), measurement(4, identity=replace(NEWER, hardware="i7")))
    store.add(model(5), measurement(5), role="canary")
    found = [(one.device, one.epoch, one.networks, one.own) for one in store.epochs(DEVICE)]
    assert found == [(NEWER, LATER_EPOCH, 1, 1), (DEVICE, EPOCH, 2, 1)]
    assert store.epochs(DEVICE)[1].last_measured == NOON + timedelta(minutes=1)


def test_epochs_in_which_anything_was_measured_are_those_of_the_device_itself_last_stored_first(
    store: LatencyStore,
) -> None:
    assert store.measured_epochs(DEVICE) == []
    store.add(model(), measurement(minutes=9))
    store.add(model(1), measurement(1, stable=False, epoch=LATER_EPOCH))
    store.add(model(2), measurement(2, identity=NEWER, epoch=THIRD_EPOCH))
    assert store.measured_epochs(DEVICE) == [LATER_EPOCH, EPOCH]
    store.add(model(3), measurement(3))
    assert store.measured_epochs(DEVICE) == [EPOCH, LATER_EPOCH]
    assert store.measured_epochs(NEWER) == [THIRD_EPOCH]


# -- tables ---------------------------------------------------------------------------------------------------------


def two_epochs(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add(model(1), measurement(1, epoch=LATER_EPOCH))


def test_a_table_of_epochs_that_nobody_linked_warns_and_names_them(store: LatencyStore) -> None:
    two_epochs(store)
    with pytest.warns(EpochWarning, match=r"linux 6\.1.*\(1 rows\); .*linux 6\.2"):
        frame = store.to_frame()
    assert frame["epoch_group"].nunique() == 2
    assert len(frame) == 2


def test_a_table_of_runtimes_that_nobody_linked_warns(store: LatencyStore) -> None:
    store.add(model(), measurement())
    store.add(model(1), measurement(1, identity=NEWER))
    with pytest.warns(EpochWarning, match=r"litert 2\.3.*litert 2\.4"):
        store.to_frame()


def test_linked_epochs_share_a_group_and_warn_nobody(store: LatencyStore) -> None:
    two_epochs(store)
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH))
    assert store.to_frame()["epoch_group"].nunique() == 1
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=False, minutes=5))
    assert store.to_frame(epoch="any")["epoch_group"].nunique() == 2


def test_a_table_of_one_epoch_holds_what_is_served_there(store: LatencyStore) -> None:
    two_epochs(store)
    store.add(model(2), measurement(2, identity=NEWER, epoch=THIRD_EPOCH))
    store.add_failure("refused", stage="run", model=model(3), device=DEVICE, epoch=EPOCH)
    store.add_failure("no layer", stage="build", model=model(4))
    frame = store.to_frame(identity=DEVICE, epoch=LATER_EPOCH, include_failures=True)
    assert list(frame["model_key"]) == ["key-1", "key-4"]
    store.add_link(DEVICE, link(THIRD_EPOCH, LATER_EPOCH, first_device=NEWER))
    assert list(store.to_frame(identity=DEVICE, epoch=LATER_EPOCH)["model_key"]) == ["key-1", "key-2"]


def test_an_epoch_without_its_device_is_refused(store: LatencyStore) -> None:
    with pytest.raises(InvalidInputError, match="identity"):
        store.to_frame(epoch=EPOCH)


def test_an_export_of_every_epoch_says_which_belong_together(store: LatencyStore, tmp_path: Path) -> None:
    two_epochs(store)
    with pytest.warns(EpochWarning):
        store.export(tmp_path / "warned.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.export(tmp_path / "all.csv", epoch="any")
    groups = pd.read_csv(tmp_path / "all.csv")["epoch_group"]
    assert groups.nunique() == 2


def test_a_group_never_holds_epochs_that_disagree(store: LatencyStore) -> None:
    two_epochs(store)
    store.add(model(2), measurement(2, epoch=THIRD_EPOCH))
    store.add_link(DEVICE, link(EPOCH, LATER_EPOCH))
    store.add_link(DEVICE, link(LATER_EPOCH, THIRD_EPOCH))
    store.add_link(DEVICE, link(EPOCH, THIRD_EPOCH, agrees=False))
    first, second, third = store.to_frame(epoch="any")["epoch_group"]
    assert first == second != third


# -- the graph of links ---------------------------------------------------------------------------------------------

checks = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()).filter(lambda check: check[0] != check[1]),
    max_size=12,
)


@given(checks, st.integers(0, 4))
def test_served_epochs_are_those_that_the_slow_way_finds(found: list[Check], here: int) -> None:
    assert served_epochs(found, here) == slowly_served(found, here)


def slowly_served(found: list[Check], here: int) -> set[int]:
    """Every path over the five epochs is tried."""

    def verdict(first: int, second: int) -> bool | None:
        return next((agrees for a, b, agrees in found if {a, b} == {first, second}), None)

    allowed = [place for place in range(5) if place != here and verdict(here, place) is not False]
    served = {here}
    for length in range(1, len(allowed) + 1):
        for path in permutations(allowed, length):
            stops = (here, *path)
            if all(verdict(a, b) for a, b in pairwise(stops)):
                served.add(path[-1])
    return served


@given(checks)
def test_what_is_served_without_a_refusal_is_served_both_ways(found: list[Check]) -> None:
    agreeing = [(first, second, True) for first, second, _ in found]
    assert all(
        (there in served_epochs(agreeing, here)) == (here in served_epochs(agreeing, there))
        for here in range(5)
        for there in range(5)
    )
