"""The parts that a campaign is made of, each alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign import building
from leti_opt.campaign.building import Builders, on_cores
from leti_opt.campaign.claims import Claims, claim_key
from leti_opt.campaign.columns import cell_columns
from leti_opt.campaign.events import EventLog
from leti_opt.campaign.feed import Feed
from leti_opt.campaign.interference import check_interference, measured_interference, taking_turns
from leti_opt.campaign.local import free_cores
from leti_opt.campaign.progress import EVERYTHING_ELSE, DeviceProgress
from leti_opt.campaign.standing import LACKING, Lookup, item_states, lacking
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.model import MeasurableModel
from leti_opt.device.pool import DeviceReport
from leti_opt.device.resource_lock import hold, is_held
from leti_opt.errors import DeviceError, InfeasibleError, StoreError
from leti_opt.host_cores import usable_cores
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.answers import Answer, Source
from leti_opt.objective.measuring import MeasuringService
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.standings import State
from tests.campaign.campaigns import quick_campaign
from tests.contracts.scripted_device import ScriptedDevice
from tests.store.samples import DEVICE, EPOCH

CELLS = ["0-1:", "0-1,1-2:maxpool3x3", "0-1,0-2,1-2:conv1x1-bn-relu", "0-1,1-2,2-3:conv3x3-bn-relu,maxpool3x3"]


def table(texts: list[str] = CELLS) -> ArchitectureTable:
    return ArchitectureTable.from_architectures(map(Architecture.parse, texts))


# -- the feed -----------------------------------------------------------------------------------------------------


def test_a_feed_never_holds_more_than_it_may() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with Feed(source, ahead=3) as feed:
        taken = iter(feed)
        assert next(taken) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1, "one was taken, three are kept, and one waits for room"
        assert list(taken) == list(range(1, 50))


def test_a_feed_hands_on_the_error_of_its_source_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("no more")

    with Feed(source, ahead=2) as feed:
        taken = iter(feed)
        assert next(taken) == 1
        with pytest.raises(KeyError, match="no more"):
            next(taken)


def test_a_feed_that_nobody_empties_ends_when_it_is_closed() -> None:
    before = threading.active_count()
    with Feed(lambda: iter(range(1000)), ahead=1):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


# -- claims -------------------------------------------------------------------------------------------------------


def test_a_network_is_taken_only_with_all_its_places() -> None:
    with LatencyStore(":memory:") as store, Claims(store, "a") as first, Claims(store, "b") as second:
        assert first.take([["x", "y"], ["z"]]) == [True, True]
        assert second.take([["y", "w"], ["v"]]) == [False, True]
        assert [claim.key for claim in store.claims() if claim.owner == "b"] == ["v"], "w was given back"
        first.release(["x", "y"])
        assert second.take([["y", "w"]]) == [True]


def test_claims_are_renewed_until_they_are_closed_and_then_given_back() -> None:
    with LatencyStore(":memory:") as store:
        with Claims(store, "a", lasts_s=0.4) as claims, Claims(store, "b", lasts_s=0.4) as other:
            claims.take([["x"]])
            [begun] = store.claims()
            time.sleep(1.0)
            [later] = store.claims()
            assert later.expires_at > begun.expires_at
            assert other.take([["x"]]) == [False]
        assert store.claims() == []


def test_claims_of_a_device_that_is_away_run_out_so_that_an_equal_one_takes_over() -> None:
    is_there = True
    with (
        LatencyStore(":memory:") as store,
        Claims(store, "b", lasts_s=0.4) as other,
        Claims(store, "a", lasts_s=0.4, is_there=lambda: is_there) as claims,
    ):
        claims.take([["x"]])
        time.sleep(0.6)
        assert other.take([["x"]]) == [False], "it is there, and its claims are renewed"
        is_there = False
        time.sleep(0.8)
        assert other.take([["x"]]) == [True]


def test_a_store_that_cannot_be_written_is_told_to_whoever_claims_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with LatencyStore(":memory:") as store, Claims(store, "a", lasts_s=0.1) as claims:
        renewed = threading.Event()

        def fail(*_arguments: object) -> int:
            renewed.set()
            raise StoreError("the disk is full")

        monkeypatch.setattr(store, "renew_claims", fail)
        assert renewed.wait(5)
        time.sleep(0.05)
        with pytest.raises(StoreError, match="the disk is full"):
            claims.take([["x"]])


def test_equal_devices_claim_different_places_and_one_device_the_same() -> None:
    other = DeviceEpoch("linux 6.1", "", "another unit")
    keys = {claim_key((DEVICE, epoch), "net", cell) for epoch in (EPOCH, other) for cell in ("a", "b")}
    assert len(keys) == 4
    assert claim_key((DEVICE, EPOCH), "net", "a") in keys


# -- building -----------------------------------------------------------------------------------------------------


def test_builders_give_networks_in_order_and_errors_in_their_place() -> None:
    cells = table()
    built = Builders({"backend": "threading"}, 2).build(cells, NetworkConfig.small(filters=8))
    assert [one.name for one in built if isinstance(one, MeasurableModel)] == [str(cell) for cell in cells]


def test_what_cannot_be_built_has_its_reason_in_its_place_and_a_machines_fault_is_no_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults: list[Exception] = [ValueError("negative size"), OSError("no space left"), DeviceError("lock folder")]

    def fail(*_arguments: object) -> MeasurableModel:
        raise faults.pop(0)

    monkeypatch.setattr(building, "cell_model", fail)
    built = Builders({"backend": "sequential"}, 1).build(table()[:3], NetworkConfig.small())
    assert isinstance(built[0], InfeasibleError)
    assert "negative size" in str(built[0])
    assert built[1:] == [None, None], "to be built where they are measured"


def test_a_builder_that_is_killed_leaves_its_networks_to_be_built_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_arguments: object) -> None:
        raise BrokenProcessPool("a worker was killed for its memory")

    monkeypatch.setattr(building, "build_networks", die)
    assert Builders({"backend": "sequential"}, 1).build(table(), NetworkConfig.small()) == [None] * len(CELLS)


@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_building_stays_on_its_cores_and_does_not_wait_for_a_measurement_on_another() -> None:
    first, second = usable_cores()[:2]
    done = threading.Event()
    seen: list[list[int]] = []

    def build() -> None:
        with on_cores([second]):
            seen.append(usable_cores())
            Builders({"backend": "sequential"}, 1, [second]).build(table(), NetworkConfig.small(filters=8))
        seen.append(usable_cores())
        done.set()

    with hold([f"host-cpu:{first}"]):
        building = threading.Thread(target=build)
        building.start()
        assert done.wait(60), "it does not wait for the core that is being measured"
    building.join()
    assert seen == [[second], usable_cores()]


def test_free_cores_are_those_that_no_device_measures_on() -> None:
    cores = usable_cores()
    device = HostCpu(cores=cores[:1])
    taken = {int(resource.split(":")[1]) for resource in device.resources}
    assert free_cores([device]) == [core for core in cores if core not in taken]
    assert free_cores([HostCpu()]) == []


# -- states -------------------------------------------------------------------------------------------------------


def test_states_are_those_of_the_store_in_the_order_of_the_items(tmp_path: Path) -> None:
    networks = ["small", {"preset": "small", "filters": 8}]
    campaign = quick_campaign(
        tmp_path, devices=["replay:formula?infeasible=0.3&unstable=0.3"], networks=networks, protocol={}
    )
    campaign.run()
    with campaign._opened(writes=False) as (work, [device], store):
        states = item_states(work, store, device.identity, device.epoch, 300)
        service = MeasuringService(device, store, work.protocol)
        for item in range(len(work)):
            known = service.known(work.question(item))
            assert known is not None
            expected = {"simulated": State.MEASURED, "provisional": State.UNSTABLE, "infeasible": State.INFEASIBLE}
            assert states[item] == expected[known.status]
        assert set(states.tolist()) == {0, 1, 2}
        assert len(lacking(work, states)) == 0
        assert len(lacking(work, states, [State.UNSTABLE])) == (states == State.UNSTABLE).sum()
        other = item_states(work, store, DEVICE, EPOCH, 300)
        assert (other == LACKING).all()
        assert (lacking(work, other) == work.order).all()


def test_cells_that_share_a_hash_are_told_apart_by_their_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = quick_campaign(tmp_path, devices=["replay:formula"])
    campaign.run()
    with campaign._opened(writes=False) as (work, [device], store):
        assert Lookup(work).by_hash
        digests = work.cells.graph_digests.copy()
        digests[1] = digests[0]
        monkeypatch.setitem(vars(work.cells), "graph_digests", digests)
        assert not Lookup(work).by_hash
        states = item_states(work, store, device.identity, device.epoch, 5)
    assert (states == State.MEASURED).all()


# -- progress -----------------------------------------------------------------------------------------------------


def test_a_rate_is_of_what_the_device_answered_and_not_of_what_was_known() -> None:
    now = [0.0]
    progress = DeviceProgress("device", 10, clock=lambda: now[0])
    progress.begin_round(np.full(10, LACKING, dtype=np.int8), np.arange(10))
    for item in range(4):
        now[0] += 2.0
        progress.add(item, Answer(Source.DEVICE, failure="no"))
    progress.add(4, Answer(Source.STORE, failure="no"))
    row = progress.row()
    assert (row.infeasible, row.new, row.lacking) == (5, 4, 5)
    assert row.per_hour == pytest.approx(1800)
    assert row.left_s == pytest.approx(10)


def test_time_that_no_device_counted_is_shown_too() -> None:
    now = [0.0]
    progress = DeviceProgress("device", 1, clock=lambda: now[0])
    progress.begin_round(np.array([LACKING], dtype=np.int8), np.arange(1))
    now[0] = 10.0
    progress.finish([DeviceReport("device", "ready", 1, 0, {"timed runs": 8.5})])
    assert progress.row().seconds == {"timed runs": 8.5, EVERYTHING_ELSE: 1.5}


# -- host devices side by side ------------------------------------------------------------------------------------


@pytest.mark.needs("litert")
@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_two_host_devices_on_different_cores_are_checked_and_it_is_recorded(tmp_path: Path) -> None:
    first, second = (HostCpu(cores=[core]) for core in usable_cores()[:2])
    with LatencyStore(tmp_path / "a.db") as store, first, second:
        found = measured_interference(first, second)
        assert found.slowdown > 0
        events = EventLog(store, store.open_campaign("a", {}), "a")
        groups = check_interference([first, second, ScriptedDevice()], events)
        [event] = store.events(1)
    assert "takes" in event.text
    assert ("take turns" in event.text) == bool(groups)


def test_host_devices_that_share_a_core_take_turns_without_a_check_and_that_is_recorded(tmp_path: Path) -> None:
    core = usable_cores()[0]
    with LatencyStore(tmp_path / "a.db") as store:
        events = EventLog(store, store.open_campaign("a", {}), "a")
        assert check_interference([HostCpu(cores=[core]), HostCpu(cores=[core], delegate="none")], events) == []
        [event] = store.events(1)
    assert f"share host-cpu:{core}" in event.text
    assert event.text.endswith("they take turns")


def test_devices_that_take_turns_hold_each_others_cores() -> None:
    core = usable_cores()[0]
    first, second = HostCpu(cores=[core]), HostCpu(cores=usable_cores()[-1:])
    own = second.resources
    with taking_turns([first, second]):
        assert second.resources == first.resources == own | {f"host-cpu:{core}"}
        with hold(first.resources):
            assert all(is_held(resource) for resource in own)
    assert second.resources == own


# -- columns ------------------------------------------------------------------------------------------------------


def test_columns_say_what_the_cells_are_in_the_order_of_the_table() -> None:
    cells = table(CELLS[::-1])
    columns = {name: column.to_pylist() for name, column in cell_columns(cells).items()}
    for row, cell in enumerate(cells):
        assert Architecture.parse(columns["cell"][row]) == cell
        assert columns["graph_hash"][row] == cell.graph_hash
        assert columns["adjacency"][row] == cell.adjacency.tolist()
        assert columns["operations"][row] == list(cell.operations)


def test_columns_of_no_cells_are_empty() -> None:
    columns = cell_columns(table()[:0])
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(columns, 0)
